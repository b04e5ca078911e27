from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from handrail import TaskExecutionContext, task, workflow
from handrail.app import Runtime
from handrail.cli.questions import how_to_answer, summary
from handrail.errors import RunWaiting
from handrail.run.waits import Wait

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call


def asking() -> workflow:
    @task(inject_context=True)
    def ask(context: TaskExecutionContext) -> bool:
        return context.request_approval("Publish [it]?")

    @task(inject_context=True)
    def why(context: TaskExecutionContext) -> str:
        return context.request_text_input("Why?")

    @task(inject_context=True)
    def tell(context: TaskExecutionContext) -> Any:
        return context.request_feedback("Anything?")

    return workflow("asking", ask | why | tell)


@pytest.fixture
def waiting(runtime: Runtime) -> str:
    """The id of a run that waits for three answers."""
    with pytest.raises(RunWaiting) as caught:
        runtime.execute(asking())
    return caught.value.run_id


def answers(runtime: Runtime, run_id: str) -> Any:
    return runtime.resume(run_id, asking())


def test_without_a_value_the_questions_are_listed(handrail: Call, waiting: str) -> None:
    result = handrail("answer", waiting)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[1].split("  ")[0] == "ask"
    assert "Publish [it]?" in lines[1]
    assert "yes or no" in lines[1]
    assert f"handrail answer {waiting} --wait why VALUE" in result.stderr
    listed = json.loads(handrail("answer", waiting, "--json").stdout)
    assert [wait["kind"] for wait in listed] == ["approval", "text", "feedback"]


def test_answers_are_read_as_their_questions_want(
    handrail: Call, waiting: str, runtime: Runtime
) -> None:
    assert handrail("answer", waiting, "no", "--wait", "ask").exit_code == 0
    assert handrail("answer", waiting, "42", "--wait", "why").exit_code == 0
    last = handrail("answer", waiting, '{"stars": [1, 2]}', "--by", "Ada")
    assert last.exit_code == 0
    assert f"handrail resume {waiting}" in last.stderr
    assert answers(runtime, waiting) == {"ask": False, "why": "42", "tell": {"stars": [1, 2]}}


def test_an_answer_tells_what_is_still_open(handrail: Call, waiting: str) -> None:
    result = handrail("answer", waiting, "yes", "--wait", "ask", "--json")
    told = json.loads(result.stdout)
    assert told["answered"]["task"] == "ask"
    assert [wait["task"] for wait in told["open"]] == ["why", "tell"]
    assert told["is_running"] is False


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("perhaps", "--wait", "ask"), "yes or no"),
        (("yes",), "3 questions that fit"),
        (("yes", "--wait", "nobody"), "0 questions that fit"),
    ],
)
def test_what_is_no_answer_is_refused_as_a_wrong_word(
    handrail: Call, waiting: str, words: tuple[str, ...], message: str
) -> None:
    result = handrail("answer", waiting, *words)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_a_run_that_asks_nothing_says_so(handrail: Call, songs: str) -> None:
    result = handrail("answer", songs)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "asks nothing" in result.stderr
    assert json.loads(handrail("answer", songs, "--json").stdout) == []


def test_runs_and_show_tell_what_is_asked(handrail: Call, waiting: str) -> None:
    assert "3 questions: ask, why, tell" in handrail("runs").stdout
    (listed,) = json.loads(handrail("runs", "--json").stdout)
    assert (listed["state"], len(listed["waits"])) == ("waiting", 3)
    shown = handrail("show", waiting).stdout
    assert "ask asks: Publish [it]? (yes or no)" in shown
    assert f"Continue:  handrail resume {waiting}" in shown
    assert len(json.loads(handrail("show", waiting, "--json").stdout)["waits"]) == 3


def test_questions_of_one_task_are_named_by_their_ids() -> None:
    waits = [Wait(f"run/ask#{number}", "text", "What?", "ask") for number in (1, 2)]
    assert how_to_answer("r", waits)[1] == "Answer:    handrail answer r --wait 'run/ask#2' VALUE"
    assert how_to_answer("r", waits[:1]) == ["Answer:    handrail answer r VALUE"]
    assert summary(waits[:1]) == "ask asks: What?"
