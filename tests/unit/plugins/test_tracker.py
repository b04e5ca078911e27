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
from handrail.tracking.store import SqliteTrackingStore
from handrail.tracking.wire import ExecutionEvent

OPENING: dict[str, Any] = {
    "workflow": "etl",
    "pipeline": "songs",
    "target": "songs@main",
    "base_ref": "c0",
    "watermark": encode(date(2024, 1, 1)),
    "next_watermark": encode(date(2024, 1, 2)),
}
AT = datetime(2024, 5, 1, tzinfo=UTC)
MILLISECONDS = int(AT.timestamp() * 1000)


def stored(
    kind: str, task: str = "", attempt: str = "", epoch: int = 1, **data: Any
) -> StoredEvent:
    return StoredEvent("r", epoch, 0, Event(kind, MILLISECONDS, task, attempt, data))


def told(*events: StoredEvent, **changes: Any) -> list[ExecutionEvent]:
    return executions_of(events, lambda run_id: {**OPENING, **changes}, lambda run_id: events)


def only(*events: StoredEvent, **changes: Any) -> ExecutionEvent:
    (found,) = told(*events, **changes)
    return found


def test_a_run_is_an_execution_of_its_pipeline() -> None:
    found = only(stored(RUN_STARTED))
    assert (found.key, found.pipeline, found.state) == ("r.1", "songs", "running")
    assert (found.at, found.started_at, found.ended_at) == (AT, AT, None)
    assert (found.watermark, found.next_watermark) == (date(2024, 1, 1), date(2024, 1, 2))
    assert found.metadata == {
        "run": "r",
        "workflow": "etl",
        "workspace": "songs@main",
        "input_ref": "c0",
    }


def test_its_end_tells_state_and_commit() -> None:
    found = only(stored(RUN_FINISHED, state="succeeded", ref="c1"))
    assert (found.key, found.state, found.ended_at, found.error) == ("r.1", "succeeded", AT, None)
    assert found.metadata is not None
    assert found.metadata["output_ref"] == "c1"
    failed = only(stored(RUN_FINISHED, state="failed", reason="task 'a' failed"))
    assert failed.error is not None
    assert (failed.state, failed.error.message) == ("failed", "task 'a' failed")


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
    assert (found.state, found.ended_at, found.metrics.inserts) == ("succeeded", AT, 3)
    assert found.metadata == {"output_ref": "c1"}
    adopted = only(stored(TASK_SUCCEEDED, "load", "r-2-1", result="1", adopted="r-1-1"))
    assert adopted.metadata == {"adopted": "r-1-1"}


@pytest.mark.parametrize("kind", [TASK_FAILED, TASK_RETRIED])
def test_a_failure_tells_its_error(kind: str) -> None:
    found = only(stored(kind, "load", "r-1-1", error=describe(KeyError("x")), delay_seconds=1))
    assert found.error is not None
    assert (found.state, found.error.type, found.error.message) == ("failed", "KeyError", "'x'")


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
    assert only(stored(RUN_STARTED), watermark=encode(value)).watermark == expected


def test_news_that_tracking_could_not_take_is_never_sent() -> None:
    memory = '{"!":"memory","of":"lock","why":"no"}'
    assert only(stored(RUN_STARTED), next_watermark=memory).next_watermark == memory
    huge = stored(
        TASK_SUCCEEDED, "a", "r-1-1", result="1", metrics={"inserts": 2**70, "updates": 2}
    )
    assert (only(huge).metrics.inserts, only(huge).metrics.updates) == (None, 2)
    odd = describe(ValueError("\ud800\0"))
    assert only(stored(TASK_FAILED, "x" * 500, "r-1-1", error=odd)).error is not None


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


def test_an_end_stays_what_it_was_when_the_run_is_resumed(store: SqliteTrackingStore) -> None:
    store.ingest("journal", 1, told(stored(RUN_STARTED), stored(RUN_FINISHED, state="failed")))
    store.ingest("journal", 2, told(stored(RUN_RESUMED, epoch=2)))
    states = {page.key: page.state for page in store.executions().executions}
    assert states == {"r.1": "failed", "r.2": "running"}
