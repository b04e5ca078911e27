from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from handrail.errors import WatcherAPIError
from handrail.tracking import SqliteTrackingStore, State
from handrail.tracking.wire import (
    CLIENT_IDS,
    EndExecution,
    ErrorDetail,
    Heartbeat,
    StartExecution,
    SyncPipeline,
    UpdateNextWatermark,
    UpdatePipeline,
)
from tests.unit.tracking.conftest import Clock

MakePipeline = Callable[..., int]


def start(store: SqliteTrackingStore, pipeline_id: int, **fields: object) -> int:
    request = StartExecution.model_validate({"pipeline_id": pipeline_id, **fields})
    return store.start_execution(request).id


def end(execution_id: int, success: bool = True, **fields: object) -> EndExecution:
    return EndExecution.model_validate(
        {"execution_id": execution_id, "completed_successfully": success, **fields}
    )


def watermark_of(store: SqliteTrackingStore, pipeline_id: int) -> object:
    return store.pipeline(pipeline_id).watermark


# One execution


def test_an_execution_is_shown_with_all_it_told(
    store: SqliteTrackingStore, pipeline: MakePipeline, clock: Clock
) -> None:
    execution_id = start(store, pipeline(), watermark=1, next_watermark=2)
    clock.forward(2.5)
    reply = store.end_execution(
        end(execution_id, inserts=10, updates=0, total_rows=5, execution_metadata={"a": [1]})
    )
    assert (reply.state, reply.superseded, reply.watermark_promoted) == ("succeeded", False, True)
    shown = store.execution(execution_id)
    assert (shown.id, shown.pipeline_name, shown.state) == (execution_id, "orders", "succeeded")
    assert (shown.started_at, shown.ended_at) == (clock.now - timedelta(seconds=2.5), clock.now)
    assert (shown.duration_seconds, shown.throughput) == (2.5, 2.0)
    assert (shown.inserts, shown.updates, shown.soft_deletes, shown.total_rows) == (10, 0, None, 5)
    assert (shown.watermark, shown.next_watermark) == (1, 2)
    assert shown.execution_metadata == {"a": [1]}
    assert (shown.error, shown.children, shown.children_count) == (None, (), 0)


def test_a_failure_keeps_its_error(store: SqliteTrackingStore, pipeline: MakePipeline) -> None:
    execution_id = start(store, pipeline())
    error = ErrorDetail(type="OSError", message="disk \udcff", traceback="Traceback ...")
    store.end_execution(end(execution_id, success=False, error=error))
    shown = store.execution(execution_id)
    assert shown.state is State.FAILED
    assert shown.error == error
    (listed,) = store.executions().executions
    assert listed.error == ErrorDetail(type="OSError", message="disk \\udcff")


def test_ids_are_small_integers(store: SqliteTrackingStore, pipeline: MakePipeline) -> None:
    pipeline_id = pipeline()
    start(store, pipeline_id, client_execution_id=CLIENT_IDS[5])
    assert [start(store, pipeline_id) for _ in range(2)] == [2, 3]


def test_told_times_are_kept_within_reason(
    store: SqliteTrackingStore, pipeline: MakePipeline, clock: Clock
) -> None:
    yesterday = clock.now - timedelta(days=1)
    execution_id = start(store, pipeline(), start_date=yesterday.replace(tzinfo=None).isoformat())
    store.end_execution(end(execution_id, end_date=clock.now + timedelta(days=1)))
    shown = store.execution(execution_id)
    assert (shown.started_at, shown.ended_at) == (yesterday, clock.now)


@pytest.mark.parametrize("call", ["execution", "end", "start below"])
def test_an_unknown_execution_is_named(
    store: SqliteTrackingStore, pipeline: MakePipeline, call: str
) -> None:
    calls: dict[str, Callable[[], object]] = {
        "execution": lambda: store.execution(77),
        "end": lambda: store.end_execution(end(77)),
        "start below": lambda: start(store, pipeline(), parent_id=77),
    }
    with pytest.raises(WatcherAPIError, match="No execution 77") as caught:
        calls[call]()
    assert caught.value.status_code == 404


@pytest.mark.parametrize("execution_id", [0, -1, CLIENT_IDS.stop, 2**80])
def test_a_number_that_is_no_id_is_an_unknown_execution(
    store: SqliteTrackingStore, execution_id: int
) -> None:
    with pytest.raises(WatcherAPIError, match=f"No execution {execution_id}"):
        store.execution(execution_id)


def test_an_unknown_pipeline_is_named(store: SqliteTrackingStore) -> None:
    for call in (
        lambda: start(store, 9),
        lambda: store.pipeline(2**70),
        lambda: store.pipeline("x"),
    ):
        with pytest.raises(WatcherAPIError, match="No pipeline") as caught:
            call()
        assert caught.value.status_code == 404


# Repeating


def test_a_start_repeated_with_its_key_is_the_same_execution(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    request = StartExecution(pipeline_id=pipeline(), next_watermark=5)
    assert store.start_execution(request) == store.start_execution(request)
    assert len(store.executions().executions) == 1


def test_an_end_repeated_is_answered_as_before_and_changes_nothing(
    store: SqliteTrackingStore, pipeline: MakePipeline, clock: Clock
) -> None:
    execution_id = start(store, pipeline(), next_watermark=5)
    request = end(execution_id, inserts=1)
    reply, shown = store.end_execution(request), store.execution(execution_id)
    clock.forward(60)
    assert store.end_execution(request) == reply
    assert store.end_execution(end(execution_id, inserts=1)) == reply
    assert store.execution(execution_id) == shown


@pytest.mark.parametrize("told", [end(1, success=False), end(1, inserts=2)])
def test_a_contradicting_end_is_refused_and_changes_nothing(
    store: SqliteTrackingStore, pipeline: MakePipeline, told: EndExecution
) -> None:
    execution_id = start(store, pipeline(), next_watermark=5)
    store.end_execution(end(execution_id, inserts=1))
    shown = store.execution(execution_id)
    with pytest.raises(WatcherAPIError, match="has ended as succeeded") as caught:
        store.end_execution(told)
    assert caught.value.status_code == 409
    assert store.execution(execution_id) == shown


def test_a_late_failure_does_not_undo_the_watermark(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()
    execution_id = start(store, pipeline_id, next_watermark=5)
    store.end_execution(end(execution_id))
    with pytest.raises(WatcherAPIError):
        store.end_execution(end(execution_id, success=False))
    assert watermark_of(store, pipeline_id) == 5


def test_a_synchronisation_repeated_with_its_key_has_its_first_reply(
    store: SqliteTrackingStore,
) -> None:
    request = SyncPipeline(name="p", pipeline_type_name="t")
    reply = store.sync_pipeline(request)
    assert reply.created
    store.update_pipeline(UpdatePipeline(id=reply.id, watermark=9))
    assert store.sync_pipeline(request) == reply
    assert store.sync_pipeline(request.model_copy(update={"key": "other"})).watermark == 9


def test_a_key_serves_one_kind_of_request(store: SqliteTrackingStore) -> None:
    store.sync_pipeline(SyncPipeline(key="k", name="p", pipeline_type_name="t"))
    with pytest.raises(WatcherAPIError, match="Key 'k' was used for another call") as caught:
        store.update_pipeline(UpdatePipeline(key="k", name="p", active=False))
    assert caught.value.status_code == 422


def test_replies_are_forgotten_after_a_week(store: SqliteTrackingStore, clock: Clock) -> None:
    request = SyncPipeline(name="p", pipeline_type_name="t")
    store.sync_pipeline(request)
    clock.forward(8 * 86400)
    store.sync_pipeline(SyncPipeline(name="q", pipeline_type_name="t"))
    assert not store.sync_pipeline(request).created


# Client-made ids


def test_an_execution_is_found_by_the_id_its_client_made(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    client_id = CLIENT_IDS[123]
    execution_id = start(store, pipeline(), client_execution_id=client_id)
    store.end_execution(end(client_id))
    shown = store.execution(client_id)
    assert (shown.id, shown.client_execution_id, shown.state) == (
        execution_id,
        client_id,
        State.SUCCEEDED,
    )


def test_a_client_that_lost_the_reply_may_go_on_with_its_own_id(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    request = StartExecution(pipeline_id=pipeline())
    lost = store.start_execution(request)
    child = start(store, pipeline(), parent_id=CLIENT_IDS[9])
    again = request.model_copy(update={"client_execution_id": CLIENT_IDS[9]})
    assert store.start_execution(again) == lost
    assert store.execution(CLIENT_IDS[9]).id == lost.id
    assert store.execution(child).parent_execution_id == lost.id


def test_a_parent_may_be_told_after_its_child(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    by_id = start(store, pipeline(), parent_execution_id=CLIENT_IDS[9])
    by_key = start(store, pipeline(), parent_key="parent")
    assert store.execution(by_id).parent_execution_id is None
    parent = start(store, pipeline(), key="parent", client_execution_id=CLIENT_IDS[9])
    assert [child.id for child in store.execution(parent).children] == [by_id, by_key]


# Watermarks


def test_the_watermark_promoted_is_the_one_of_the_execution_that_succeeded(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    first = start(store, pipeline(next_watermark="W1"))
    second = start(store, pipeline(next_watermark="W2"))
    store.end_execution(end(first))
    assert store.pipeline("orders").watermark == "W1"
    store.end_execution(end(second, success=False))
    assert store.pipeline("orders").watermark == "W1"


def test_a_success_without_a_next_watermark_leaves_the_watermark(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()
    store.update_pipeline(UpdatePipeline(id=pipeline_id, watermark=41))
    reply = store.end_execution(end(start(store, pipeline_id)))
    assert not reply.watermark_promoted
    assert watermark_of(store, pipeline_id) == 41


def test_a_next_watermark_is_used_up_by_its_promotion(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline(next_watermark=5)
    store.end_execution(end(start(store, pipeline_id)))
    assert store.pipeline(pipeline_id).next_watermark is None
    store.update_pipeline(UpdatePipeline(id=pipeline_id, watermark=8))
    store.end_execution(end(start(store, pipeline_id)))
    assert watermark_of(store, pipeline_id) == 8


def test_a_compared_promotion_is_left_out_if_the_pipeline_moved(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()
    slow = start(store, pipeline_id, next_watermark=5, compare_watermark=True)
    store.end_execution(end(start(store, pipeline_id, next_watermark=9)))
    assert not store.end_execution(end(slow)).watermark_promoted
    assert store.execution(slow).state is State.SUCCEEDED
    assert watermark_of(store, pipeline_id) == 9


def test_an_execution_starts_where_its_pipeline_stands(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    def started_from(**fields: object) -> object:
        request = StartExecution.model_validate({"pipeline_id": pipeline(), **fields})
        return store.start_execution(request).watermark

    assert started_from() is None
    assert started_from(default_watermark=1) == 1
    store.update_pipeline(UpdatePipeline(name="orders", watermark=4))
    assert started_from(default_watermark=1) == 4
    assert started_from(watermark=2, default_watermark=1) == 2


def test_a_next_watermark_told_while_running_belongs_to_the_only_open_execution(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()
    only = start(store, pipeline_id, next_watermark=1)
    view = store.update_pipeline_next_watermark(
        UpdateNextWatermark(pipeline_id=pipeline_id, next_watermark=2)
    )
    assert view.next_watermark == 2
    store.end_execution(end(only))
    assert watermark_of(store, pipeline_id) == 2


def test_a_next_watermark_told_while_several_run_needs_the_execution(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()
    first, second = start(store, pipeline_id), start(store, pipeline_id)
    for execution_id in (None, second):
        store.update_pipeline_next_watermark(
            UpdateNextWatermark(
                pipeline_id=pipeline_id, next_watermark=2, execution_id=execution_id
            )
        )
    store.end_execution(end(first))
    assert watermark_of(store, pipeline_id) is None
    store.end_execution(end(second))
    assert watermark_of(store, pipeline_id) == 2


def test_a_next_watermark_is_not_told_to_another_pipelines_execution(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    request = UpdateNextWatermark(
        pipeline_id=pipeline("other"), next_watermark=2, execution_id=start(store, pipeline())
    )
    with pytest.raises(WatcherAPIError, match="does not belong to pipeline"):
        store.update_pipeline_next_watermark(request)
    assert store.pipeline("other").next_watermark is None


def test_an_end_may_tell_the_next_watermark(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()
    store.end_execution(end(start(store, pipeline_id, next_watermark=1), next_watermark=3))
    assert watermark_of(store, pipeline_id) == 3


# Leases


def test_a_lease_that_passes_is_a_crash(
    store: SqliteTrackingStore, pipeline: MakePipeline, clock: Clock
) -> None:
    execution_id = start(store, pipeline(), lease_seconds=30)
    expires_at = clock.now + timedelta(seconds=30)
    assert store.reap(expires_at - timedelta(microseconds=1)).execution_ids == ()
    clock.forward(45)
    assert store.reap().execution_ids == (execution_id,)
    shown = store.execution(execution_id)
    assert (shown.state, shown.ended_at) == (State.CRASHED, expires_at)
    assert shown.error is not None
    assert shown.error.type == "LeaseExpired"
    assert store.reap().execution_ids == ()


def test_heartbeats_renew_a_lease(
    store: SqliteTrackingStore, pipeline: MakePipeline, clock: Clock
) -> None:
    execution_id = start(store, pipeline(), lease_seconds=30)
    for _ in range(5):
        clock.forward(20)
        answered = store.heartbeat(Heartbeat(execution_ids=(execution_id, 99)))
        assert answered.states == {execution_id: State.RUNNING}
        assert store.reap().execution_ids == ()
    clock.forward(31)
    assert store.reap().execution_ids == (execution_id,)
    answered = store.heartbeat(Heartbeat(execution_ids=(execution_id,)))
    assert answered.states == {execution_id: State.CRASHED}
    assert store.execution(execution_id).lease_expires_at is None


def test_what_asked_for_no_lease_is_never_judged(
    store: SqliteTrackingStore, pipeline: MakePipeline, clock: Clock
) -> None:
    execution_id = start(store, pipeline())
    store.heartbeat(Heartbeat(execution_ids=(execution_id,)))
    finished = start(store, pipeline(), lease_seconds=1)
    store.end_execution(end(finished))
    clock.forward(1e6)
    assert store.reap().execution_ids == ()
    assert store.execution(execution_id).state is State.RUNNING


def test_a_late_end_is_kept_beside_the_verdict(
    store: SqliteTrackingStore, pipeline: MakePipeline, clock: Clock
) -> None:
    pipeline_id = pipeline()
    execution_id = start(store, pipeline_id, lease_seconds=1, next_watermark=5)
    store.reap(clock.forward(2))
    late = end(execution_id, inserts=3)
    reply = store.end_execution(late)
    assert (reply.state, reply.superseded) == (State.CRASHED, True)
    assert store.end_execution(late) == reply
    assert store.end_execution(end(execution_id, inserts=3)) == reply
    shown = store.execution(execution_id)
    assert (shown.state, shown.inserts) == (State.CRASHED, None)
    assert shown.superseded_end is not None
    assert shown.superseded_end["inserts"] == 3
    assert watermark_of(store, pipeline_id) is None
    with pytest.raises(WatcherAPIError):
        store.end_execution(end(execution_id, success=False))


# Lists


def test_pages_follow_each_other_without_gaps_while_executions_are_added(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()
    known = [start(store, pipeline_id) for _ in range(7)]
    seen: list[int] = []
    before = None
    while True:
        page = store.executions(limit=3, before=before)
        seen += [execution.id for execution in page.executions]
        start(store, pipeline_id)
        before = page.next_before
        if before is None:
            break
    assert seen == known[::-1]


def test_executions_are_listed_by_pipeline_state_and_parent(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    def listed(**fields: object) -> list[int]:
        return [e.id for e in store.executions(**fields).executions]  # type: ignore[arg-type]

    orders, items = pipeline("Orders"), pipeline("items")
    parent = start(store, orders)
    children = [start(store, items, parent_id=parent) for _ in range(2)]
    store.end_execution(end(children[0], success=False))
    assert listed(pipeline=orders) == listed(pipeline="ORDERS ") == [parent]
    assert listed(parent=parent) == children[::-1]
    assert listed(state="failed") == listed(state=State.FAILED, pipeline="items") == [children[0]]
    assert listed(pipeline=orders, state="failed") == []
    assert [c.id for c in store.execution(parent).children] == children
    assert store.execution(parent).children_count == 2
    with pytest.raises(ValueError, match="nonsense"):
        store.executions(state="nonsense")


def test_more_children_than_are_shown_are_counted_and_listed(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    parent = start(store, pipeline())
    for _ in range(205):
        start(store, pipeline(), parent_id=parent)
    shown = store.execution(parent)
    assert (len(shown.children), shown.children_count) == (200, 205)
    assert len(store.executions(parent=parent, limit=1000).executions) == 205


# Pipelines


def test_pipelines_are_one_by_name_and_updated_when_they_differ(
    store: SqliteTrackingStore, pipeline: MakePipeline, clock: Clock
) -> None:
    pipeline_id = pipeline("Orders", pipeline_metadata={"b": 1, "a": 2})
    made_at = clock.now
    clock.forward(60)
    assert pipeline(" orders ", pipeline_metadata={"b": 1, "a": 2}) == pipeline_id
    assert store.pipeline(pipeline_id).updated_at == made_at
    assert pipeline("orders", freshness_number=2, freshness_datepart="day") == pipeline_id
    view = store.pipeline("ORDERS")
    assert (view.updated_at, view.created_at) == (clock.now, made_at)
    assert (view.freshness_number, view.freshness_datepart) == (2, "day")
    assert view.pipeline_metadata == {"b": 1, "a": 2}
    assert pipeline("orders", pipeline_metadata=None) == pipeline_id
    assert store.pipeline("orders").pipeline_metadata is None


def test_a_pipeline_shows_its_latest_execution_and_writes(
    store: SqliteTrackingStore, pipeline: MakePipeline, clock: Clock
) -> None:
    pipeline_id = pipeline()
    assert store.pipeline(pipeline_id).last_execution_id is None
    ended = clock.forward(60)
    store.end_execution(end(start(store, pipeline_id), inserts=1, updates=0))
    clock.forward(60)
    running = start(store, pipeline_id)
    (view,) = store.pipelines()
    assert (view.last_execution_id, view.last_state) == (running, State.RUNNING)
    assert view.last_started_at == clock.now
    assert (view.last_target_insert, view.last_target_update) == (ended, None)


def test_a_stored_watermark_is_told_also_without_a_next_one(store: SqliteTrackingStore) -> None:
    store.sync_pipeline(SyncPipeline(name="p", pipeline_type_name="t"))
    store.update_pipeline(UpdatePipeline(name="p", watermark=datetime(2024, 1, 1, tzinfo=UTC)))
    reply = store.sync_pipeline(SyncPipeline(name="p", pipeline_type_name="t"))
    assert reply.watermark == datetime(2024, 1, 1, tzinfo=UTC)


def test_a_pipeline_can_be_made_inactive(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()
    assert not store.update_pipeline(UpdatePipeline(name="Orders", active=False)).active
    reply = store.sync_pipeline(SyncPipeline(name="orders", pipeline_type_name="extraction"))
    assert (reply.id, reply.active) == (pipeline_id, False)
    assert not store.update_pipeline(UpdatePipeline(id=pipeline_id, active=None)).active
