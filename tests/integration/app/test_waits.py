"""Questions to people: the run is given back and goes on with the answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handrail import (
    Runtime,
    RunWaiting,
    TaskExecutionContext,
    TaskInputError,
    load_settings,
    parallel,
    task,
    workflow,
)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(load_settings(flags={"home": tmp_path / ".handrail"}, environment={}))
    yield made
    made.close()


def asking(kind: str = "approval", **more: Any) -> tuple[workflow, list[str]]:
    ran: list[str] = []

    @task
    def before() -> None:
        ran.append("before")

    @task(inject_context=True)
    def ask(context: TaskExecutionContext) -> Any:
        ran.append("ask")
        if kind == "approval":
            return context.request_approval("Publish?", **more)
        if kind == "selection":
            return context.request_selection("Which?", ["red", "blue"], **more)
        if kind == "text":
            return context.request_text_input("Why?", **more)
        return context.request_feedback("Tell", **more)

    @task
    def after(ask: Any) -> Any:
        ran.append("after")
        return ask

    return workflow("asking", before >> ask >> after), ran


def suspended(runtime: Runtime, flow: workflow) -> str:
    with pytest.raises(RunWaiting, match="handrail answer") as caught:
        runtime.execute(flow)
    return caught.value.run_id


def test_a_question_gives_the_run_back_and_the_answer_lets_it_go_on(runtime: Runtime) -> None:
    flow, ran = asking()
    run_id = suspended(runtime, flow)
    assert runtime.journal.run(run_id).state == "waiting"
    assert [wait.prompt for wait in runtime.waits(run_id)] == ["Publish?"]
    runtime.answer(run_id, "yes", by="me")
    assert runtime.waits(run_id) == []
    assert runtime.resume(run_id, flow) is True
    assert ran == ["before", "ask", "ask", "after"]


def test_resuming_without_an_answer_waits_again(runtime: Runtime) -> None:
    flow, _ = asking()
    run_id = suspended(runtime, flow)
    with pytest.raises(RunWaiting):
        runtime.resume(run_id, flow)
    assert len(runtime.waits(run_id)) == 1


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [("approval", "perhaps", False), ("selection", "green", "blue"), ("text", 3, "so"),
     ("feedback", object(), {"a": [1]})],
)  # fmt: skip
def test_an_answer_must_fit_its_question(
    runtime: Runtime, kind: str, wrong: Any, right: Any
) -> None:
    flow, _ = asking(kind)
    run_id = suspended(runtime, flow)
    with pytest.raises(TaskInputError, match="is no answer"):
        runtime.answer(run_id, wrong)
    runtime.answer(run_id, right)
    assert runtime.resume(run_id, flow) == right


def test_an_answer_that_comes_in_time_needs_no_resume(runtime: Runtime) -> None:
    flow, _ = asking(timeout=20)

    def answer() -> None:
        while True:
            runs = runtime.journal.runs()
            if runs and runtime.waits(runs[0].run_id):
                runtime.answer(runs[0].run_id, True)
                return
            threading.Event().wait(0.01)

    helper = threading.Thread(target=answer)
    helper.start()
    assert runtime.execute(flow) is True
    helper.join()


def test_a_waiting_member_is_no_success_of_its_group(runtime: Runtime) -> None:
    ran: list[str] = []

    @task(inject_context=True)
    def ask(context: TaskExecutionContext) -> bool:
        return context.request_approval("Deploy?")

    @task
    def other() -> int:
        return 1

    @task
    def deploy(g: Any) -> Any:
        ran.append("deploy")
        return g

    group = parallel(ask, other, name="g").with_execution(policy="best_effort")
    flow = workflow("deploying", group >> deploy)
    run_id = suspended(runtime, flow)
    assert ran == []
    runtime.answer(run_id, False)
    assert runtime.resume(run_id, flow) == {"ask": False, "other": 1}


def test_two_questions_of_one_body_are_two_answers(runtime: Runtime) -> None:
    @task(inject_context=True)
    def ask(context: TaskExecutionContext) -> list[str]:
        return [context.request_text_input("First?"), context.request_text_input("Second?")]

    flow = workflow("two", ask)
    run_id = suspended(runtime, flow)
    runtime.answer(run_id, "a")
    with pytest.raises(RunWaiting, match="Second"):
        runtime.resume(run_id, flow)
    runtime.answer(run_id, "b")
    assert runtime.resume(run_id, flow) == ["a", "b"]


def test_an_answer_nobody_asked_for_is_refused(runtime: Runtime) -> None:
    @task
    def quiet() -> None: ...

    runtime.execute(workflow("quiet", quiet))
    with pytest.raises(TaskInputError, match="0 questions"):
        runtime.answer(runtime.journal.runs()[0].run_id, True)
