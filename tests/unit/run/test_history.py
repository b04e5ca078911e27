from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from handrail.contracts import event as kinds
from handrail.contracts.event import Event, StoredEvent
from handrail.contracts.values import encode
from handrail.keep.base import RunRecord
from handrail.run.history import AttemptHistory, RunHistory, TaskHistory

RECORD = RunRecord("r1", "songs", "charts:flow", "2026-11", "running", 1, 100)
ERROR = {"type": "KeyError", "message": "'x'", "traceback": "..."}
OPENING: dict[str, Any] = {
    "workflow": "songs",
    "reference": "charts:flow",
    "key": "2026-11",
    "owner": "host:1",
    "inputs": '{"year":2026}',
    "target": "songs@main",
    "base_ref": "a" * 64,
    "pipeline": "charts",
    "watermark": '"2025"',
    "next_watermark": '"2026"',
    "tasks": ["load", "store"],
    "handlers": {"load": "process", "store": "direct"},
    "edges": [["load", "store"]],
}


class Journal:
    """Writes down a run, one event each second."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.epoch = 0

    def add(self, kind: str, task: str = "", attempt: str = "", **data: Any) -> Journal:
        at = 1000 * (len(self.events) + 1)
        event = Event(kind, at, task, attempt, data)
        self.events.append(StoredEvent("r1", self.epoch, len(self.events), event))
        return self

    def open(self, owner: str = "host:1") -> Journal:
        self.epoch += 1
        if self.epoch > 1:
            return self.add(kinds.RUN_RESUMED, owner=owner)
        return self.add(kinds.RUN_STARTED, **OPENING)

    def start(self, task: str, attempt: str, number: int = 1, **data: Any) -> Journal:
        return self.add(
            kinds.TASK_STARTED, task, attempt, **{"handler": "direct", "try": number, **data}
        )

    def succeed(self, task: str, attempt: str, value: Any = None, **data: Any) -> Journal:
        return self.add(kinds.TASK_SUCCEEDED, task, attempt, result=encode(value), **data)

    def end(self, state: str, **data: Any) -> Journal:
        return self.add(kinds.RUN_FINISHED, state=state, **data)

    def history(self, state: str = "running") -> RunHistory:
        return RunHistory.of(replace(RECORD, state=state), self.events)


def task(history: RunHistory, name: str) -> TaskHistory:
    found = history.task(name)
    assert found is not None
    return found


def states(history: RunHistory) -> dict[str, str]:
    return {task.name: task.state for task in history.tasks}


def test_a_run_that_just_began_has_its_tasks_queued_in_the_plans_order() -> None:
    history = Journal().open().history()

    assert states(history) == {"load": "queued", "store": "queued"}
    assert task(history, "load").handler == "process"
    assert (history.run_id, history.workflow, history.key) == ("r1", "songs", "2026-11")
    assert (history.target, history.base_ref) == ("songs@main", "a" * 64)
    assert (history.watermark, history.next_watermark) == ('"2025"', '"2026"')
    assert history.edges == (("load", "store"),)
    assert history.inputs == '{"year":2026}'
    assert [(epoch.number, epoch.owner, epoch.opened_at) for epoch in history.epochs] == [
        (1, "host:1", 1000)
    ]


def test_a_task_that_runs_shows_its_attempt() -> None:
    history = Journal().open().start("load", "a1", ref="c0").history()

    load = task(history, "load")
    assert (load.state, load.tries, load.handler, load.input_ref) == ("running", 1, "direct", "c0")
    assert load.duration_seconds is None
    assert load.attempts == (AttemptHistory("a1", 1, 1, "running", 2000, None, None, "c0"),)


def test_a_success_shows_result_time_refs_and_metrics() -> None:
    history = (
        Journal()
        .open()
        .start("load", "a1", ref="c0")
        .succeed("load", "a1", [1], ref="c1", metrics={"inserts": 3})
        .history()
    )

    load = task(history, "load")
    assert (load.state, load.result, load.storage) == ("succeeded", "[1]", "data")
    assert (load.input_ref, load.output_ref, load.metrics) == ("c0", "c1", {"inserts": 3})
    assert (load.started_at, load.finished_at, load.duration_seconds) == (2000, 3000, 1.0)
    assert load.attempts[0].state == "succeeded"


def test_a_retry_waits_and_its_tries_are_told_apart() -> None:
    journal = Journal().open().start("load", "a1")
    journal.add(kinds.TASK_RETRIED, "load", "a1", error=ERROR, delay_seconds=5)
    waiting = task(journal.history(), "load")
    assert (waiting.state, waiting.error) == ("waiting", ERROR)

    journal.start("load", "a2", 2).succeed("load", "a2")
    load = task(journal.history(), "load")

    assert [(a.attempt_id, a.try_number, a.state, a.error) for a in load.attempts] == [
        ("a1", 1, "failed", ERROR),
        ("a2", 2, "succeeded", None),
    ]
    assert (load.state, load.error, load.duration_seconds) == ("succeeded", None, 3.0)


def test_a_failed_run_keeps_error_reason_and_what_did_not_begin() -> None:
    journal = Journal().open().start("load", "a1")
    journal.add(kinds.TASK_FAILED, "load", "a1", error=ERROR).end("failed", reason="load failed")
    history = journal.history("failed")

    assert states(history) == {"load": "failed", "store": "queued"}
    assert task(history, "load").error == ERROR
    assert task(history, "load").attempts[0].error == ERROR
    epoch = history.epochs[0]
    assert (epoch.state, epoch.reason, epoch.finished_at) == ("failed", "load failed", 4000)


def test_a_task_that_was_refused_before_it_began_failed_without_an_attempt() -> None:
    journal = Journal().open().add(kinds.TASK_FAILED, "load", "", error=ERROR)

    load = task(journal.history(), "load")
    assert (load.state, load.tries, load.started_at) == ("failed", 0, None)


def test_attempts_that_an_epoch_left_behind_are_crashed() -> None:
    journal = Journal().open().start("load", "a1").open("host:2").start("load", "b1")
    load = task(journal.history(), "load")

    assert [(a.attempt_id, a.epoch, a.state) for a in load.attempts] == [
        ("a1", 1, "crashed"),
        ("b1", 2, "running"),
    ]
    assert (load.state, load.started_at) == ("running", 4000)
    assert [(e.owner, e.state) for e in journal.history().epochs] == [
        ("host:1", "crashed"),
        ("host:2", "running"),
    ]


def test_attempts_of_a_run_that_is_known_to_be_gone_are_crashed() -> None:
    journal = Journal().open().start("load", "a1")

    history = journal.history("crashed")

    assert states(history) == {"load": "crashed", "store": "queued"}
    assert history.epochs[0].state == "crashed"


def test_attempts_that_an_interrupt_ended_are_cancelled() -> None:
    journal = Journal().open().start("load", "a1").end("cancelled", reason="interrupted")

    load = task(journal.history("cancelled"), "load")
    assert (load.state, load.attempts[0].state, load.finished_at) == ("cancelled",) * 2 + (3000,)


def test_a_retry_that_the_end_forestalled_failed() -> None:
    journal = Journal().open().start("load", "a1")
    journal.add(kinds.TASK_RETRIED, "load", "a1", error=ERROR).end("failed")

    load = task(journal.history("failed"), "load")
    assert (load.state, load.finished_at, load.error) == ("failed", 3000, ERROR)


def test_a_resume_keeps_what_succeeded_and_queues_the_rest_again() -> None:
    journal = Journal().open().start("load", "a1").succeed("load", "a1", 7)
    journal.start("store", "a2").add(kinds.TASK_FAILED, "store", "a2", error=ERROR).end("failed")
    journal.open("host:2")
    history = journal.history()

    assert states(history) == {"load": "succeeded", "store": "queued"}
    assert (task(history, "store").tries, task(history, "store").error) == (1, None)
    journal.start("store", "b1").succeed("store", "b1").end("succeeded", ref="c" * 64)
    assert states(journal.history("succeeded")) == {"load": "succeeded", "store": "succeeded"}
    assert journal.history("succeeded").ref == "c" * 64


def test_a_succeeded_run_skipped_what_did_not_begin() -> None:
    journal = Journal().open().start("load", "a1").succeed("load", "a1").end("succeeded")

    assert states(journal.history("succeeded"))["store"] == "skipped"


def test_a_result_that_was_adopted_names_the_attempt_that_made_it() -> None:
    journal = Journal().open().start("load", "b1").succeed("load", "b1", 1, adopted="a1")

    assert task(journal.history(), "load").adopted == "a1"


def test_how_a_result_is_kept_is_told() -> None:
    journal = Journal().open().start("load", "a1").succeed("load", "a1", {1, 2})
    journal.start("store", "a2").succeed("store", "a2", lambda: 1)
    history = journal.history()

    assert [task.storage for task in history.tasks] == ["data", "pickle"]


def test_tasks_that_the_plan_does_not_name_come_last() -> None:
    history = Journal().open().start("made", "a1").history()

    assert [task.name for task in history.tasks] == ["load", "store", "made"]


def test_a_loop_keeps_every_round() -> None:
    journal = Journal().open()
    for number in range(3):
        journal.start("load", f"a{number}").succeed("load", f"a{number}", number)

    load = task(journal.history(), "load")
    assert (load.tries, load.result) == (3, "2")
    assert (load.started_at, load.finished_at) == (2000, 7000)


def test_json_shows_values_as_data_and_pickles_without_their_bytes() -> None:
    journal = Journal().open().start("load", "a1").succeed("load", "a1", (1, 2))
    journal.start("store", "a2").succeed("store", "a2", [lambda: 1]).end("succeeded")

    shown = journal.history("succeeded").to_json()

    assert json.loads(json.dumps(shown)) == shown
    assert (shown["inputs"], shown["watermark"]) == ({"year": 2026}, "2025")
    load, store = shown["tasks"]
    assert load["result"] == {"!": "tuple", "v": [1, 2]}
    assert (load["tries"], load["duration_seconds"]) == (1, 1.0)
    assert load["attempts"][0]["attempt_id"] == "a1"
    assert store["result"] == [{"!": "pickle", "of": "builtins:function"}]
    assert shown["epochs"][0]["owner"] == "host:1"
    assert shown["edges"] == [["load", "store"]]


def test_a_run_without_events_is_what_its_record_says() -> None:
    history = RunHistory.of(RECORD, [])

    assert (history.state, history.started_at, history.tasks) == ("running", 100, ())
    assert history.to_json()["inputs"] == {}


def test_a_task_that_is_not_of_the_run_is_none() -> None:
    assert Journal().open().history().task("nowhere") is None


def test_twenty_thousand_rounds_are_folded_in_no_time() -> None:
    journal = Journal().open()
    for number in range(20_000):
        journal.start("load", f"a{number}").succeed("load", f"a{number}")
    started = time.thread_time()

    assert task(journal.history(), "load").tries == 20_000
    assert time.thread_time() - started < 2.0  # some 0.2 s are seen; quadratic work takes longer


# Groups, maps, loops, questions


def test_the_plan_tells_groups_and_loops() -> None:
    opening = {"within": {"load": "both"}, "loops": [["store", "load"]]}
    journal = Journal().add(kinds.RUN_STARTED, **{**OPENING, **opening})
    run = RunHistory.of(RECORD, journal.events)
    assert run.within == {"load": "both"}
    assert run.loops == (("store", "load"),)


def test_an_old_journal_without_them_is_read() -> None:
    run = RunHistory.of(RECORD, Journal().open().events)
    assert (run.within, run.loops, run.groups) == ({}, (), {})


def test_the_verdict_on_a_group_is_no_task() -> None:
    journal = Journal().open().add(kinds.GROUP_FINISHED, "both", state="failed", failed={})
    run = RunHistory.of(RECORD, journal.events)
    assert run.groups == {"both": "failed"}
    assert [task.name for task in run.tasks] == ["load", "store"]


def test_where_bodies_sent_the_run_is_told() -> None:
    then = [["next", "made", None, "{}", False], ["goto", "store"], ["again", "1"]]
    journal = Journal().open().start("load", "a1").succeed("load", "a1", then=then)
    run = RunHistory.of(RECORD, journal.events)
    assert run.edges == (("load", "store"), ("load", "made"))
    assert run.loops == (("load", "store"), ("load", "load"))


def test_a_question_ends_the_attempt_and_its_task_waits() -> None:
    journal = Journal().open().start("load", "a1").add(kinds.WAIT_ASKED, "load", "a1")
    task = RunHistory.of(RECORD, journal.end("waiting").events).tasks[0]
    assert (task.state, task.attempts[0].state) == ("waiting", "waiting")
    assert task.attempts[0].finished_at == 3000


def test_a_mapped_task_is_told_by_its_items() -> None:
    journal = Journal().open().start("load[0]", "a1").start("load[1]", "a2")
    journal.succeed("load[0]", "a1", 1)
    running = RunHistory.of(RECORD, journal.events).tasks[0]
    assert (running.name, running.state, running.finished_at) == ("load", "running", None)
    journal.succeed("load[1]", "a2", 2)
    done = RunHistory.of(RECORD, journal.events).tasks[0]
    assert (done.state, done.started_at, done.finished_at) == ("succeeded", 2000, 5000)
    assert (done.tries, done.result) == (0, None)


def test_a_mapped_task_is_as_its_worst_item() -> None:
    journal = Journal().open().start("load[0]", "a1").start("load[1]", "a2")
    journal.succeed("load[0]", "a1", 1).add(kinds.TASK_FAILED, "load[1]", "a2", error=ERROR)
    assert RunHistory.of(RECORD, journal.events).tasks[0].state == "failed"


def test_a_reused_result_tells_whose_it_was_and_why() -> None:
    whose = {"run": "r0", "attempt": "r0-1-1", "kept_at": 7}
    journal = Journal().open().start("load", "r1-1-1")
    journal.succeed("load", "r1-1-1", 3, reused=whose, why={"cache": "hit"})

    load = task(journal.history(), "load")

    assert (load.state, load.reused, load.why) == ("succeeded", whose, {"cache": "hit"})
    assert journal.history().to_json()["tasks"][0]["reused"] == whose


def test_a_task_that_runs_again_forgets_whose_result_it_had_reused() -> None:
    journal = Journal().open().start("load", "r1-1-1")
    journal.succeed("load", "r1-1-1", 3, reused={"run": "r0"}, why={"cache": "hit"})
    journal.start("load", "r1-1-2").succeed("load", "r1-1-2", 4)

    load = task(journal.history(), "load")

    assert (load.reused, load.why) == (None, None)
    assert [attempt.storage for attempt in load.attempts] == ["data", "data"]


def test_an_epoch_tells_which_code_had_changed_and_what_became_of_it() -> None:
    journal = Journal().open().end("failed").open()
    journal.events[-1] = journal.events[-1]._replace(
        event=journal.events[-1].event._replace(
            data={"owner": "host:2", "changed": ["load"], "policy": "rerun"}
        )
    )

    first, second = journal.history().epochs

    assert (first.changed, first.policy) == ((), None)
    assert (second.changed, second.policy) == (("load",), "rerun")


def test_an_attempt_tells_the_folder_that_it_worked_in() -> None:
    journal = Journal().open().start("load", "a1", ref="a" * 64, prefix="raw").start("store", "a2")
    history = RunHistory.of(RECORD, journal.events)
    assert [task.attempts[0].prefix for task in history.tasks] == ["raw", "/"]
