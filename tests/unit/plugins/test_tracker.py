from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from handrail.contracts.event import (
    RUN_FINISHED,
    RUN_RESUMED,
    RUN_STARTED,
    TASK_FAILED,
    TASK_RETRIED,
    TASK_STARTED,
    TASK_SUCCEEDED,
    Event,
    StoredEvent,
)
from handrail.contracts.values import encode
from handrail.plugins.tracker import executions_of
from handrail.run.failure import describe
from handrail.tracking import watermark
from handrail.tracking.news import News
from handrail.tracking.store import SqliteTrackingStore

OPENING: dict[str, Any] = {
    "workflow": "etl",
    "pipeline": "songs",
    "target": "songs@main",
    "base_ref": "c0",
    "watermark": encode(date(2024, 1, 1)),
    "next_watermark": encode(date(2024, 1, 2)),
}
MILLISECONDS = int(datetime(2024, 5, 1, tzinfo=UTC).timestamp() * 1000)
AT = MILLISECONDS * 1000


def stored(
    kind: str, task: str = "", attempt: str = "", epoch: int = 1, **data: Any
) -> StoredEvent:
    return StoredEvent("r", epoch, 0, Event(kind, MILLISECONDS, task, attempt, data))


def told(*events: StoredEvent, **changes: Any) -> list[News]:
    opening = {**OPENING, **changes}
    events = tuple(
        stored._replace(event=stored.event._replace(data=opening))
        if stored.event.kind == RUN_STARTED
        else stored
        for stored in events
    )
    return executions_of(events, lambda run_id: opening, lambda run_id: events)


def only(*events: StoredEvent, **changes: Any) -> News:
    (found,) = told(*events, **changes)
    return found


def test_a_run_is_an_execution_of_its_pipeline() -> None:
    found = only(stored(RUN_STARTED))
    assert (found.key, found.pipeline, found.state) == ("r.1", "songs", "running")
    assert (found.at, found.started_at, found.ended_at) == (AT, AT, None)
    assert found.columns == {
        "watermark": watermark.dump(date(2024, 1, 1)),
        "next_watermark": watermark.dump(date(2024, 1, 2)),
    }
    assert found.metadata == {
        "run": "r",
        "workflow": "etl",
        "workspace": "songs@main",
        "input_ref": "c0",
    }


def test_its_end_tells_state_and_commit() -> None:
    found = only(stored(RUN_FINISHED, state="succeeded", ref="c1"))
    assert (found.key, found.state, found.ended_at) == ("r.1", "succeeded", AT)
    assert "error_type" not in found.columns
    assert found.metadata is not None
    assert found.metadata["output_ref"] == "c1"
    failed = only(stored(RUN_FINISHED, state="failed", reason="task 'a' failed"))
    assert (failed.state, failed.columns["error_message"]) == ("failed", "task 'a' failed")


def test_a_resume_continues_and_closes_what_crashed() -> None:
    crashed, resumed = told(stored(RUN_RESUMED, epoch=2, before="running"))
    assert (crashed.key, crashed.state, crashed.ended_at) == ("r.1", "crashed", AT)
    assert (resumed.key, resumed.state, resumed.continues_key) == ("r.2", "running", "r.1")


def test_an_epoch_that_ended_by_itself_is_not_told_to_have_crashed() -> None:
    (resumed,) = told(stored(RUN_RESUMED, epoch=2, before="failed"))
    assert (resumed.key, resumed.continues_key) == ("r.2", "r.1")


def test_an_epoch_that_waited_is_superseded_by_the_one_that_goes_on() -> None:
    waiting = only(stored(RUN_FINISHED, state="waiting"))
    assert (waiting.state, waiting.ended_at) == ("waiting", None)
    superseded, _ = told(stored(RUN_RESUMED, epoch=2, before="waiting"))
    assert (superseded.key, superseded.state) == ("r.1", "superseded")


def test_start_and_end_of_an_attempt_are_one_record() -> None:
    found = only(
        stored(TASK_STARTED, "load", "r-1-1", handler="process", ref="c0"),
        stored(TASK_SUCCEEDED, "load", "r-1-1", result="1", ref="c1"),
    )
    assert (found.state, found.started_at, found.ended_at) == ("succeeded", AT, AT)
    assert found.metadata == {"handler": "process", "input_ref": "c0", "output_ref": "c1"}


def test_an_attempt_is_an_execution_below_its_run() -> None:
    found = only(stored(TASK_STARTED, "load", "r-1-1", handler="process", ref="c0"))
    assert (found.key, found.pipeline, found.pipeline_type_name) == ("r-1-1", "etl/load", "task")
    assert (found.parent_key, found.state, found.started_at) == ("r.1", "running", AT)
    assert found.metadata == {"handler": "process", "input_ref": "c0"}


def test_a_success_tells_metrics_and_commit() -> None:
    found = only(
        stored(TASK_SUCCEEDED, "load", "r-1-1", result="1", ref="c1", metrics={"inserts": 3})
    )
    assert (found.state, found.ended_at, found.columns) == ("succeeded", AT, {"inserts": 3})
    assert found.metadata == {"output_ref": "c1"}
    adopted = only(stored(TASK_SUCCEEDED, "load", "r-2-1", result="1", adopted="r-1-1"))
    assert adopted.metadata == {"adopted": "r-1-1"}


@pytest.mark.parametrize("kind", [TASK_FAILED, TASK_RETRIED])
def test_a_failure_tells_its_error(kind: str) -> None:
    found = only(stored(kind, "load", "r-1-1", error=describe(KeyError("x")), delay_seconds=1))
    columns = found.columns
    assert (found.state, columns["error_type"], columns["error_message"]) == (
        "failed",
        "KeyError",
        "'x'",
    )


def test_attempts_that_were_under_way_end_with_their_epoch() -> None:
    killed = told(
        stored(TASK_STARTED, "load", "r-1-1"),
        stored(TASK_SUCCEEDED, "load", "r-1-1", result="1"),
        stored(TASK_STARTED, "save", "r-1-2"),
        stored(RUN_RESUMED, epoch=2, before="running"),
        stored(TASK_STARTED, "save", "r-2-1", epoch=2),
    )
    states = {found.key: found.state for found in killed if "-" in found.key}
    assert states == {"r-1-1": "succeeded", "r-1-2": "crashed", "r-2-1": "running"}
    cancelled = told(stored(TASK_STARTED, "load", "r-1-1"), stored(RUN_FINISHED, state="cancelled"))
    assert [found.state for found in cancelled] == ["cancelled", "cancelled"]


def test_an_attempt_that_asked_gives_its_place_to_another() -> None:
    found = only(
        stored(TASK_STARTED, "ask", "r-1-1"), stored("wait.asked", "ask", "r-1-1", prompt="?")
    )
    assert (found.state, found.ended_at) == ("superseded", AT)


def test_other_news_is_left_out() -> None:
    assert (
        told(stored("channel.changed", "load", "", key="x"), stored("task.later", "load", "r-1-1"))
        == []
    )
    # A task that failed before an attempt was made of it: the run tells of it.
    assert told(stored(TASK_FAILED, "load", "", error=describe(KeyError("x")))) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        ("2024", "2024"),
        (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
        (1.5, "1.5"),
        (True, "true"),
        ([1, 2], "[1,2]"),
    ],
)
def test_watermarks_are_told_as_they_are_or_as_text(value: Any, expected: Any) -> None:
    found = only(stored(RUN_STARTED), watermark=encode(value))
    assert found.columns["watermark"] == watermark.dump(expected)


def test_news_that_tracking_could_not_take_is_never_sent() -> None:
    memory = '{"!":"memory","of":"lock","why":"no"}'
    found = only(stored(RUN_STARTED), next_watermark=memory)
    assert found.columns["next_watermark"] == watermark.dump(memory)
    counts = {"inserts": 2**70, "updates": 2, "of_another_release": 1}
    huge = stored(TASK_SUCCEEDED, "a", "r-1-1", result="1", metrics=counts)
    assert only(huge).columns == {"updates": 2}
    odd = only(stored(TASK_FAILED, "x" * 500, "r-1-1", error=describe(ValueError("\ud800\0"))))
    assert odd.columns["error_message"] == "\\ud800\\x00"


def test_a_run_whose_start_is_not_among_the_events_is_asked_for_once() -> None:
    asked: list[str] = []

    def opening(run_id: str) -> dict[str, Any]:
        asked.append(run_id)
        return OPENING

    later = [stored(TASK_STARTED, "load", f"r-1-{number}") for number in range(3)]
    executions_of(later, opening, lambda run_id: later)
    assert asked == ["r"]
    start = stored(RUN_STARTED, **OPENING)
    executions_of([start, *later], opening, lambda run_id: later)
    assert asked == ["r"]


# Into a store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteTrackingStore]:
    made = SqliteTrackingStore(tmp_path / "tracking.db")
    yield made
    made.close()


def test_news_that_is_told_twice_changes_nothing(store: SqliteTrackingStore) -> None:
    news = told(
        stored(RUN_STARTED),
        stored(TASK_STARTED, "load", "r-1-1", handler="direct"),
        stored(TASK_SUCCEEDED, "load", "r-1-1", result="1"),
        stored(RUN_FINISHED, state="succeeded"),
    )
    assert store.ingest("journal", 4, news).created_count == 2
    assert store.ingest("journal", 5, news).created_count == 0
    assert store.ingest("journal", 5, news).cursor == 5


def test_a_run_is_told_the_same_at_once_and_event_by_event(tmp_path: Path) -> None:
    error = describe(KeyError("x"))
    events = [
        stored(RUN_STARTED, **OPENING),
        stored(TASK_STARTED, "load", "r-1-1", handler="process", ref="c0"),
        stored(TASK_STARTED, "save", "r-1-2", handler="direct"),
        stored(TASK_SUCCEEDED, "load", "r-1-1", result="1", ref="c1", metrics={"inserts": 3}),
        stored(TASK_RETRIED, "save", "r-1-2", error=error, delay_seconds=1),
        stored(RUN_RESUMED, epoch=2, before="running"),
        stored(TASK_STARTED, "save", "r-2-1", epoch=2),
        stored(RUN_FINISHED, epoch=2, state="succeeded", ref="c2"),
    ]
    clock = datetime(2024, 5, 2, tzinfo=UTC)

    def rows(name: str, size: int) -> list[dict[str, Any]]:
        with SqliteTrackingStore(tmp_path / name, now=lambda: clock) as store:
            for place in range(0, len(events), size):
                batch = events[place : place + size]
                news = executions_of(batch, lambda run_id: OPENING, lambda run_id: events)
                store.ingest("journal", place + size, news)
            return [found.model_dump() for found in store.executions().executions]

    assert rows("at_once.db", len(events)) == rows("one_by_one.db", 1)


def test_an_end_stays_what_it_was_when_the_run_is_resumed(store: SqliteTrackingStore) -> None:
    store.ingest("journal", 1, told(stored(RUN_STARTED), stored(RUN_FINISHED, state="failed")))
    store.ingest("journal", 2, told(stored(RUN_RESUMED, epoch=2)))
    states = {page.key: page.state for page in store.executions().executions}
    assert states == {"r.1": "failed", "r.2": "running"}
