from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from handrail import CachePolicy, RunFailed, task, workflow
from handrail.app import Runtime
from handrail.cli.text import moment
from handrail.cli.why import Reasons
from handrail.run.history import EpochHistory, RunHistory, TaskHistory
from tests.unit.cli.histories import ERROR, a_run, a_task, an_attempt

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call

SINCE = {"run": "r0", "attempt": "r0-1-4", "kept_at": 5_000}
THEN = moment(5_000)


def reason(run: RunHistory, name: str = "work") -> str:
    found = run.task(name)
    assert found is not None
    return Reasons(run).of(found)


def ran(*, why: dict[str, Any] | None = None, **facts: Any) -> str:
    """About a task that ran once and succeeded."""
    known = {"why": why, "result": "1", "storage": "data", **facts}
    return reason(a_run(a_task("work", an_attempt(10_000, 11_000), **known)))


def missed(*changed: str, **facts: Any) -> dict[str, Any]:
    return {"cache": "miss", "changed": list(changed), "since": SINCE, **facts}


# With a cache


def test_a_task_without_a_cache_ran() -> None:
    assert ran() == "ran: no cache is declared"


def test_a_first_result() -> None:
    why = {"cache": "miss", "changed": ["first"]}
    assert ran(why=why) == "ran: no result of it is kept yet"


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (missed("code"), "its code changed"),
        (missed("version"), "its cache has another version"),
        (missed("params.level"), "'level' is another value"),
        (missed("params.a", "params.b"), "'a' and 'b' are other values"),
        (missed("files"), "its files are others"),
        (missed("files", folder="raw"), "the files under raw/ are others"),
        (
            missed("code", "params.a", "files"),
            "its code changed, 'a' is another value and its files are others",
        ),
        (
            missed(*(f"params.{name}" for name in "abcde")),
            "'a', 'b', 'c' and 2 more are other values",
        ),
    ],
)
def test_what_changed_is_told_with_the_attempt_that_it_is_compared_to(
    why: dict[str, Any], words: str
) -> None:
    assert ran(why=why) == f"ran: {words} since attempt r0-1-4 of {THEN}"


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (missed("expired", ttl_seconds=2), f"the result of {THEN} had expired 3.0 s before"),
        (missed("output"), "the files that attempt r0-1-4 left are gone"),
        (missed("result"), "the result of attempt r0-1-4 cannot be read any more"),
        ({"cache": "fault"}, "what is kept of it could not be read"),
        (
            {"cache": "unclear", "because": ["params.frame"]},
            "'frame' cannot be compared with earlier values, having no form as data",
        ),
        (
            {"cache": "unclear", "because": ["code"]},
            "its function has no code that could be compared",
        ),
    ],
)
def test_other_reasons_for_running(why: dict[str, Any], words: str) -> None:
    assert ran(why=why) == f"ran: {words}"


def test_a_reused_result() -> None:
    head = f"reused the result of run r0, attempt r0-1-4, of {THEN}: "
    hit = {"cache": "hit"}
    assert ran(why=hit, reused=SINCE) == f"{head}code and parameters are the same"
    with_files = ran(why=hit, reused=SINCE, input_ref="a" * 64)
    assert with_files == f"{head}code, parameters and files are the same"


def test_a_result_that_is_not_kept() -> None:
    why = {"cache": "miss", "changed": ["first"]}
    assert ran(why=why, storage="memory") == (
        "ran: no result of it is kept yet; its result is in memory only, and not kept to be reused"
    )


# Epochs, tries, rounds


def resumed(*attempts: Any, **facts: Any) -> str:
    epochs = (EpochHistory(1, "host:1", 0), EpochHistory(2, "host:2", 100))
    if "changed" in facts:
        changed, policy = facts.pop("changed"), facts.pop("policy")
        epochs = (epochs[0], replace(epochs[1], changed=changed, policy=policy))
    return reason(a_run(a_task("work", *attempts, **facts), epochs=epochs))


def test_what_a_resume_kept() -> None:
    assert resumed(an_attempt(1, 2)) == "kept from epoch 1: it had finished"
    assert resumed(an_attempt(1, 2), changed=("work",), policy="continue") == (
        "kept from epoch 1: it had finished, although its code has changed"
    )
    assert resumed(an_attempt(1, 2), reused=SINCE).startswith(
        "kept from epoch 1: it had finished; reused the result of run r0"
    )


@pytest.mark.parametrize(
    ("before", "facts", "words"),
    [
        ({"state": "crashed"}, {}, "it had not finished"),
        ({"state": "failed"}, {}, "it had failed"),
        ({"state": "cancelled"}, {}, "it was cancelled"),
        ({"state": "waiting"}, {}, "it waited for an answer"),
        ({"storage": "memory"}, {}, "its result was in memory only"),
        ({}, {"changed": ("work",), "policy": "rerun"}, "its code has changed"),
        (
            {},
            {"changed": ("load",), "policy": "rerun"},
            "it follows 'load', whose code has changed",
        ),
    ],
)
def test_why_a_resume_ran_it_again(
    before: dict[str, Any], facts: dict[str, Any], words: str
) -> None:
    attempts = an_attempt(1, 2, **before), an_attempt(101, 102, epoch=2)
    assert resumed(*attempts, **facts) == f"ran: no cache is declared; again in epoch 2: {words}"


def test_tries_and_rounds_are_told() -> None:
    tries = [
        an_attempt(1, 2, state="failed", error=ERROR),
        an_attempt(3, 4, state="failed", error=ERROR, try_number=2),
        an_attempt(5, 6, try_number=3),
    ]
    assert reason(a_run(a_task("work", *tries))) == (
        "ran: no cache is declared; third try, after ValueError: no <data>"
    )
    rounds = [an_attempt(1, 2), an_attempt(3, 4)]
    assert reason(a_run(a_task("work", *rounds))) == "ran: no cache is declared; second round"


def test_an_adopted_result() -> None:
    assert ran(adopted="r1-1-2") == "took over what attempt r1-1-2 had left"


# What did not succeed


@pytest.mark.parametrize(
    ("task_", "words"),
    [
        (
            a_task("work", an_attempt(1, 2, state="failed", error=ERROR), error=ERROR),
            "failed: ValueError: no <data>",
        ),
        (
            a_task("work", an_attempt(1, 2, state="failed", try_number=11), error=ERROR),
            "failed on the 11th try: ValueError: no <data>",
        ),
        (
            a_task("work", state="failed", error=ERROR),
            "failed before it began: ValueError: no <data>",
        ),
        (a_task("work", an_attempt(1, 2, state="crashed")), "its process died while it ran"),
        (a_task("work", an_attempt(1, 2, state="cancelled")), "was cancelled while it ran"),
        (a_task("work", an_attempt(1, None, state="running")), "is running"),
        (
            a_task("work", an_attempt(1, 2, state="waiting")),
            "asked a question and waits for the answer",
        ),
        (
            a_task("work", an_attempt(1, 2, state="failed"), state="waiting", error=ERROR),
            "waits for its next try: ValueError: no <data>",
        ),
    ],
)
def test_tasks_that_did_not_succeed(task_: TaskHistory, words: str) -> None:
    assert reason(a_run(task_)) == words


def before_work(state: str, run_state: str, **facts: Any) -> str:
    """About a task that comes after `load`, which is in that state, by way of a group."""
    load = a_task("load", state=state)
    edges = facts.pop("edges", (("load", "group"), ("group", "work")))
    return reason(a_run(load, a_task("work"), edges=edges, state=run_state, **facts))


def test_what_kept_a_task_from_starting() -> None:
    assert before_work("failed", "failed") == "never started: 'load' failed"
    assert before_work("crashed", "crashed") == "never started: 'load' crashed"
    assert before_work("cancelled", "cancelled") == "never started: 'load' was cancelled"
    assert before_work("waiting", "waiting") == "not started yet: 'load' waits for an answer"
    assert before_work("running", "running") == "waits for 'load'"
    assert before_work("waiting", "running") == "waits for 'load'"
    assert before_work("succeeded", "running") == "is about to start"
    assert before_work("succeeded", "crashed") == "never started: the run crashed first"
    assert before_work("skipped", "succeeded") == "never started: the run took another way"
    judged = before_work("failed", "failed", groups={"group": "failed"})
    assert judged == "never started: 'group' failed"


def test_several_tasks_that_kept_one_from_starting() -> None:
    tasks = [a_task("a", state="failed"), a_task("b", state="failed"), a_task("work")]
    run = a_run(*tasks, edges=(("a", "work"), ("b", "work")), state="failed")
    assert reason(run) == "never started: 'a' and 'b' failed"


def test_the_first_cause_is_found_through_tasks_that_never_started() -> None:
    tasks = [a_task("a", state="failed"), a_task("b"), a_task("work")]
    edges = (("a", "b"), ("b", "work"), ("work", "a"))
    assert reason(a_run(*tasks, edges=edges, state="failed")) == "never started: 'a' failed"


def test_a_mapped_task() -> None:
    items = [
        a_task("work[0]", an_attempt(1, 2), reused=SINCE),
        a_task("work[1]", an_attempt(1, 2)),
    ]
    run = a_run(a_task("work", state="succeeded"), *items)
    assert reason(run) == "mapped over 2 items, 1 of them reused"
    assert reason(run, "work[1]") == "ran: no cache is declared"
    items[1] = a_task("work[1]", state="failed", error=ERROR)
    failed = a_run(a_task("work", state="failed"), *items)
    assert reason(failed) == "mapped over 2 items, 1 of them reused, 1 failed"
    nothing = a_run(a_task("work", state="succeeded", result="[]"))
    assert reason(nothing) == "ran: there was nothing to map over"


# The command


@pytest.fixture
def reused(runtime: Runtime) -> str:
    """The id of a run of which one task was reused."""
    with workflow("squares") as flow:

        @task(cache=CachePolicy(version="1"))
        def square(x: int) -> int:
            return x * x

        @task
        def after(square: int) -> int:
            return square + 1

        square >> after

    runtime.execute(flow, inputs={"x": 3})
    _, context = runtime.execute(flow, inputs={"x": 3}, ret_context=True)
    return str(context.run_id)


def test_the_reasons_of_a_run_are_shown(handrail: Call, reused: str) -> None:
    result = handrail("show", reused, "--why")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert f"run       {reused}" in lines
    (square,) = [line for line in lines if line.startswith("square")]
    assert "succeeded  reused the result of run " in square
    assert square.endswith(": code and parameters are the same")
    assert "after   succeeded  ran: no cache is declared" in lines


def test_the_reason_of_one_task_is_shown(handrail: Call, reused: str) -> None:
    lines = handrail("show", f"{reused}/after", "--why").stdout.splitlines()
    assert lines == ["TASK   STATE      WHY", "after  succeeded  ran: no cache is declared"]


def test_reasons_are_told_as_json(handrail: Call, reused: str) -> None:
    run = json.loads(handrail("show", reused, "--why", "--json").stdout)
    assert run["tasks"][1]["because"] == "ran: no cache is declared"
    assert run["tasks"][0]["why"] == {"cache": "hit"}
    task_ = json.loads(handrail("show", f"{reused}/square", "--json", "--why").stdout)
    assert task_["because"].startswith("reused")
    assert "because" not in json.loads(handrail("show", reused, "--json").stdout)["tasks"][0]


def test_a_reused_result_is_marked_where_results_are_shown(handrail: Call, reused: str) -> None:
    assert "9 (reused)" in handrail("show", reused).stdout
    assert "reused   what attempt " in handrail("show", f"{reused}/square").stdout


def test_reasons_of_a_failed_run(handrail: Call, storm: str) -> None:
    shown = handrail("show", storm, "--why").stdout
    assert "b[r]eak  failed     failed: ValueError: too [high]\\x1b[2J" in shown


def test_reasons_of_many_tasks_are_cut(handrail: Call, runtime: Runtime) -> None:
    def body(x: int) -> int:
        return x

    flow = workflow("many", task("each")(body).map(list(range(120))))
    _, context = runtime.execute(flow, ret_context=True)
    cut = handrail("show", context.run_id, "--why").stdout.splitlines()
    assert cut[-1] == f"All of them: handrail show {context.run_id} --why --all"
    assert len(cut) < 110
    assert len(handrail("show", context.run_id, "--why", "--all").stdout.splitlines()) > 120


def test_a_resumed_run_says_what_was_kept(handrail: Call, runtime: Runtime) -> None:
    is_broken = [True]

    @task
    def first() -> int:
        return 1

    @task
    def second(first: int) -> int:
        if is_broken[0]:
            raise ValueError("not yet")
        return first + 1

    @task
    def third(second: int) -> int:
        return second + 1

    flow = workflow("mended", first >> second >> third)
    with pytest.raises(RunFailed) as failed:
        runtime.execute(flow)
    run_id = failed.value.run_id
    assert "third   queued     never started: 'second' failed" in (
        handrail("show", run_id, "--why").stdout
    )
    is_broken[0] = False
    runtime.resume(run_id, flow)
    shown = handrail("show", run_id, "--why").stdout
    assert "first   succeeded  kept from epoch 1: it had finished" in shown
    assert "second  succeeded  ran: no cache is declared; again in epoch 2: it had failed" in shown
    assert "third   succeeded  ran: no cache is declared\n" in shown
