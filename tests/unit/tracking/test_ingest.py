from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from handrail.tracking import ExecutionEvent, SqliteTrackingStore, State
from handrail.tracking.wire import Execution, StartExecution
from tests.unit.tracking.conftest import Clock

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


def event(key: str, state: str, second: float = 0, **fields: object) -> ExecutionEvent:
    return ExecutionEvent.model_validate(
        {
            "key": key,
            "pipeline": "nightly",
            "state": state,
            "at": NOON + timedelta(seconds=second),
            **fields,
        }
    )


def by_key(store: SqliteTrackingStore) -> dict[str, Execution]:
    return {execution.key: execution for execution in store.executions().executions}


def test_events_make_executions_and_pipelines(store: SqliteTrackingStore) -> None:
    reply = store.ingest(
        "engine",
        4,
        [
            event("r1", "running", 0, metadata={"a": 1}),
            event("r1/load", "running", 1, pipeline="Nightly/load", parent_key="r1"),
            event("r1/load", "succeeded", 3, pipeline="Nightly/load", metrics={"inserts": 4}),
            event("r1", "failed", 4, error={"type": "ValueError", "message": "no"}),
        ],
    )
    assert (reply.cursor, reply.created_count, reply.updated_count) == (4, 2, 2)
    found = by_key(store)
    run, task = found["r1"], found["r1/load"]
    assert (run.state, run.duration_seconds, run.execution_metadata) == ("failed", 4.0, {"a": 1})
    assert run.error is not None
    assert run.error.message == "no"
    assert (task.parent_execution_id, task.inserts, task.state) == (run.id, 4, "succeeded")
    assert [view.name for view in store.pipelines()] == ["nightly", "nightly/load"]
    assert [child.id for child in store.execution(run.id).children] == [task.id]


def test_a_child_may_come_before_its_parent_and_a_successor_before_its_first(
    store: SqliteTrackingStore,
) -> None:
    store.ingest("engine", 1, [event("child", "running", parent_key="r", continues_key="old")])
    store.ingest("engine", 2, [event("r", "running"), event("old", "failed")])
    found = by_key(store)
    assert found["child"].parent_execution_id == found["r"].id
    assert found["child"].continues_execution_id == found["old"].id


def test_a_batch_delivered_again_changes_nothing(store: SqliteTrackingStore) -> None:
    batch = [event("r", "running"), event("r", "succeeded", 2)]
    store.ingest("engine", 2, batch)
    before = store.executions()
    again = store.ingest("engine", 2, batch)
    assert (again.cursor, again.created_count, again.updated_count) == (2, 0, 0)
    store.ingest("engine", 3, batch)
    assert store.executions() == before


def test_a_producer_that_died_between_writing_and_reading_its_cursor_goes_on(
    store: SqliteTrackingStore,
) -> None:
    journal = [event(f"r{n // 2}", "succeeded" if n % 2 else "running", n) for n in range(20)]
    for overlap, died_after in enumerate((3, 8, 8, 15, 20)):
        # A batch begins where the store stands, or before it if the cursor was read too early.
        position = max(0, store.cursor("engine") - overlap % 3)
        store.ingest("engine", died_after, journal[position:died_after])
    assert store.cursor("engine") == 20
    found = by_key(store)
    assert len(found) == 10
    assert {execution.state for execution in found.values()} == {State.SUCCEEDED}


def test_a_batch_that_fails_leaves_neither_rows_nor_cursor(store: SqliteTrackingStore) -> None:
    def batch() -> list[ExecutionEvent]:
        return [event("r", "running")]

    class Breaking(list[ExecutionEvent]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield from batch()
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        store.ingest("engine", 1, Breaking())
    assert (store.cursor("engine"), by_key(store)) == (0, {})
    store.ingest("engine", 1, batch())
    assert list(by_key(store)) == ["r"]


def test_producers_have_a_cursor_each(store: SqliteTrackingStore) -> None:
    store.ingest("one", 7, [])
    assert (store.cursor("one"), store.cursor("two")) == (7, 0)


def test_a_final_state_never_changes(store: SqliteTrackingStore) -> None:
    store.ingest("engine", 1, [event("r", "succeeded", 2, metrics={"inserts": 1})])
    store.ingest(
        "engine", 2, [event("r", "failed", 3, metrics={"inserts": 2}), event("r", "running", 4)]
    )
    found = by_key(store)["r"]
    assert (found.state, found.inserts) == (State.SUCCEEDED, 1)


def test_of_two_open_states_the_later_one_counts(store: SqliteTrackingStore) -> None:
    store.ingest("engine", 1, [event("r", "waiting", 5), event("r", "running", 1)])
    found = by_key(store)["r"]
    assert (found.state, found.started_at) == (State.WAITING, NOON + timedelta(seconds=1))
    store.ingest("engine", 2, [event("r", "running", 6)])
    found = by_key(store)["r"]
    assert (found.state, found.started_at) == (State.RUNNING, NOON + timedelta(seconds=1))


def test_a_success_moves_the_copy_of_the_watermark_once(store: SqliteTrackingStore) -> None:
    succeeded = event("r", "succeeded", next_watermark="2024-02")
    store.ingest("engine", 1, [event("r", "running", watermark="2024-01"), succeeded])
    assert store.pipeline("nightly").watermark == "2024-02"
    store.ingest("engine", 2, [event("s", "succeeded", next_watermark="2024-03")])
    store.ingest("engine", 3, [succeeded, event("t", "failed", next_watermark="2024-04")])
    assert store.pipeline("nightly").watermark == "2024-03"
    assert by_key(store)["r"].watermark_promoted


def test_a_leased_event_is_judged_and_a_late_end_kept(
    store: SqliteTrackingStore, clock: Clock
) -> None:
    store.ingest("engine", 1, [event("r", "running", lease_seconds=10)])
    clock.forward(8)
    store.ingest("engine", 2, [event("r", "running", 8, lease_seconds=10)])
    clock.forward(8)
    assert store.reap().execution_ids == ()
    clock.forward(8)
    assert len(store.reap().execution_ids) == 1
    store.ingest("engine", 3, [event("r", "succeeded", 30, metrics={"inserts": 3})])
    found = by_key(store)["r"]
    assert found.state is State.CRASHED
    assert found.superseded_end is not None
    assert found.superseded_end["completed_successfully"] is True
    assert found.superseded_end["inserts"] == 3


def test_an_older_state_that_says_nothing_else_changes_nothing(
    store: SqliteTrackingStore,
) -> None:
    store.ingest("engine", 1, [event("r", "waiting", 5)])
    before = store.executions()
    reply = store.ingest("engine", 2, [event("r", "waiting", 1)])
    assert (reply.created_count, reply.updated_count) == (0, 1)
    assert store.executions() == before


def test_a_large_batch_is_what_its_events_are_one_by_one(tmp_path: Path, clock: Clock) -> None:
    batch = [event("r", "running", 0)]
    for number in range(600):
        name = {"pipeline": f"Nightly/{number % 300}", "parent_key": "r"}
        batch.append(event(f"t{number}", "running", number, **name))
        state = ("succeeded", "failed", "waiting")[number % 3]
        inserts = {"metrics": {"inserts": number % 7}} if number % 2 else {}
        batch.append(event(f"t{number}", state, number + 1, **name, **inserts))

    def rows(name: str, size: int) -> list[dict[str, object]]:
        with SqliteTrackingStore(tmp_path / name, now=clock) as opened:
            for place in range(0, len(batch), size):
                opened.ingest("engine", place + size, batch[place : place + size])
            found = [*opened.executions(limit=1000).executions, *opened.pipelines()]
            return [view.model_dump() for view in found]

    assert rows("at_once.db", len(batch)) == rows("one_by_one.db", 1)


def test_ids_go_on_where_the_calls_of_others_left_them(
    store: SqliteTrackingStore, pipeline: Callable[..., int]
) -> None:
    def start() -> int:
        return store.start_execution(StartExecution(pipeline_id=pipeline())).id

    assert start() == 1
    store.ingest("engine", 1, [event("a", "running"), event("b", "running", pipeline="other")])
    assert (by_key(store)["b"].id, store.pipeline("other").id) == (3, 3)
    assert (start(), pipeline("last")) == (4, 4)


@pytest.mark.parametrize("link", ["parent_key", "continues_key"])
def test_an_execution_is_not_its_own_parent(link: str) -> None:
    with pytest.raises(ValidationError, match="cannot be its own parent or predecessor"):
        event("r", "running", 0, **{link: "r"})
