"""What bodies ask the engine to do next."""

from __future__ import annotations

from typing import Any

import pytest

from handrail import (
    CycleLimitExceeded,
    ExecutionContext,
    MissingParameterError,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    Task,
    TaskExecutionContext,
    TaskGraph,
    UnknownTaskError,
    WorkflowEngine,
    chain,
    parallel,
    task,
)
from handrail.contracts.expr import Composable

ran: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def run(*parts: Composable) -> Any:
    graph = TaskGraph()
    for part in parts:
        graph.include(part)
    with WorkflowEngine() as engine:
        return engine.execute(ExecutionContext(graph))


def note(name: str, handler: str = "direct") -> Task:
    def body() -> str:
        ran.append(name)
        return name

    return task(name, handler=handler)(body)


def test_a_new_task_runs_besides_what_follows() -> None:
    extra = note("extra")

    @task(inject_context=True)
    def first(context: TaskExecutionContext) -> None:
        context.next_task(extra)

    run(first >> note("after"))
    assert sorted(ran) == ["after", "extra"]


def test_goto_with_a_new_task_leaves_out_what_follows() -> None:
    extra = note("extra")

    @task(inject_context=True)
    def first(context: TaskExecutionContext) -> None:
        context.next_task(extra, goto=True)

    run(first >> note("after"))
    assert ran == ["extra"]


def test_a_task_of_the_workflow_is_jumped_to() -> None:
    recover = note("recover")

    @task(inject_context=True)
    def first(context: TaskExecutionContext) -> None:
        context.next_task(recover)

    run(first >> note("skipped") >> recover >> note("end"))
    assert ran == ["recover", "end"]


def test_jumping_back_runs_everything_after_the_target_again() -> None:
    rounds: list[int] = []

    @task(inject_context=True)
    def judge(context: TaskExecutionContext) -> int:
        rounds.append(1)
        if len(rounds) < 3:
            context.next_task("work")
        return len(rounds)

    work = note("work")
    run(work >> parallel(note("left"), note("right")) >> judge >> note("end"))
    assert sorted(ran) == sorted(["work", "left", "right"] * 3 + ["end"])


def test_an_unknown_name_is_refused_in_the_body() -> None:
    @task(inject_context=True)
    def first(context: TaskExecutionContext) -> None:
        context.next_task("nobody")

    with pytest.raises(RunFailed) as caught:
        run(first)
    assert isinstance(caught.value.cause, UnknownTaskError)


def test_an_iteration_gets_the_data_and_what_follows_runs_after_the_last() -> None:
    seen: list[Any] = []

    @task(inject_context=True)
    def improve(context: TaskExecutionContext, value: int = 1) -> int:
        seen.append((value, context.cycle_count))
        if value < 8:
            context.next_iteration(value * 2)
        return value

    @task
    def after(improve: int) -> int:
        return improve + 1

    assert run(improve >> after) == 9
    assert seen == [(1, 1), (2, 2), (4, 3), (8, 4)]


def test_iterations_are_bounded_by_ten_unless_said_otherwise() -> None:
    @task(inject_context=True)
    def endless(context: TaskExecutionContext) -> None:
        ran.append("x")
        context.next_iteration()

    with pytest.raises(CycleLimitExceeded, match="max_cycles=10") as caught:
        run(endless)
    assert caught.value.task_id == "endless"
    assert len(ran) == 10


def test_a_task_can_ask_whether_it_may_iterate() -> None:
    @task(inject_context=True, max_cycles=4)
    def careful(context: TaskExecutionContext) -> int:
        if context.can_iterate():
            context.next_iteration()
        return int(context.cycle_count)

    assert run(careful) == 4


def test_terminate_ends_the_run_as_a_success_with_the_tasks_result() -> None:
    @task(inject_context=True)
    def stop(context: TaskExecutionContext) -> str:
        context.terminate_workflow("enough")
        return "stopped"

    assert run(note("a") >> stop >> note("never")) == "stopped"
    assert ran == ["a"]


def test_cancel_cancels_the_run() -> None:
    @task(inject_context=True)
    def stop(context: TaskExecutionContext) -> None:
        context.cancel_workflow("no money")

    with pytest.raises(RunCancelled, match="no money"):
        run(note("a") >> stop >> note("never"))
    assert ran == ["a"]


def test_a_loop_ends_when_a_body_terminates_it() -> None:
    @task(inject_context=True, max_cycles=10)
    def body(context: TaskExecutionContext) -> int:
        if context.cycle_count == 3:
            context.terminate_workflow()
        return int(context.cycle_count)

    assert run(body >> note("back") >> body) == 3
    assert ran == ["back", "back"]


def test_a_failed_attempts_wishes_are_forgotten() -> None:
    tries: list[int] = []
    extra = note("extra")

    @task(inject_context=True, retry_policy=RetryPolicy(max_retries=1, initial_interval=0))
    def first(context: TaskExecutionContext) -> None:
        tries.append(1)
        if len(tries) == 1:
            context.next_task(extra)
            raise ValueError("once")

    run(first)
    assert ran == []


def test_wishes_of_a_body_elsewhere_are_obeyed() -> None:
    @task(inject_context=True, handler="process")
    def first(context: TaskExecutionContext) -> str:
        context.terminate_workflow("far away")
        return "done"

    assert run(first >> note("never")) == "done"
    assert ran == []


def test_a_long_chain_of_new_tasks_runs() -> None:
    def link(number: int) -> Task:
        @task(id=f"link{number}", inject_context=True)
        def body(context: TaskExecutionContext) -> None:
            ran.append("link")
            if number:
                context.next_task(link(number - 1))

        return body

    run(chain(link(300)))
    assert len(ran) == 301


def test_terminating_does_not_wait_for_retries_or_answers() -> None:
    @task(inject_context=True)
    def stop(context: TaskExecutionContext) -> str:
        context.terminate_workflow()
        return "stopped"

    @task(retry_policy=RetryPolicy(max_retries=1, initial_interval=3600))
    def flaky() -> None:
        raise ValueError("later")

    @task(inject_context=True)
    def ask(context: TaskExecutionContext) -> None:
        context.request_approval("Well?")

    assert run(parallel(flaky, ask, stop)) == "stopped"


def test_a_jump_goes_to_a_task_that_the_start_left_out() -> None:
    recover = note("recover")

    @task(inject_context=True)
    def check(context: TaskExecutionContext) -> None:
        context.next_task(recover)

    graph = TaskGraph()
    graph.include(note("before") >> check >> note("skipped"))
    graph.include(recover >> note("end"))
    with WorkflowEngine() as engine:
        assert engine.execute(ExecutionContext(graph), start="check") == "end"
    assert ran == ["recover", "end"]


def test_a_new_task_that_lacks_an_argument_fails_the_task_that_asked() -> None:
    @task
    def needy(nowhere: int) -> int:
        return nowhere

    @task(inject_context=True)
    def first(context: TaskExecutionContext) -> None:
        context.next_task(needy)

    with pytest.raises(RunFailed) as caught:
        run(first >> note("never"))
    assert caught.value.task_id == "first"
    assert isinstance(caught.value.cause, MissingParameterError)
    assert ran == []


def test_the_result_is_that_of_what_ran() -> None:
    big, small = note("big"), note("small")

    @task(inject_context=True)
    def choose(context: TaskExecutionContext) -> None:
        context.next_task("big")

    assert run(choose >> big, choose >> small) == "big"


def test_after_a_goto_to_a_new_task_its_result_is_the_runs() -> None:
    extra = note("extra")

    @task(inject_context=True)
    def first(context: TaskExecutionContext) -> None:
        context.next_task(extra, goto=True)

    assert run(first >> note("after")) == "extra"
