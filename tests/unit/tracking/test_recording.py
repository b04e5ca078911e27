from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handrail.errors import WatcherAPIError
from handrail.tracking import (
    EmbeddedTransport,
    ETLResults,
    SqliteTrackingStore,
    State,
    TrackingTransport,
    Watcher,
    WatcherExecutionContext,
    child_of,
)
from handrail.tracking.keeper import LeaseKeeper
from handrail.tracking.wire import CLIENT_IDS, StartExecution, SyncPipeline
from tests.unit.tracking.conftest import Clock
from tests.unit.tracking.fakes import TroubledTransport

MakePipeline = Callable[..., int]
DONE = ETLResults(completed_successfully=True, inserts=3)


def returns() -> ETLResults:
    return DONE


def raises() -> ETLResults:
    raise KeyError("mine")


def call(
    transport: TrackingTransport, keeper: LeaseKeeper, pipeline_id: int, func: Any = returns
) -> Any:
    watcher = Watcher(transport=transport, keeper=keeper)
    tracked: Any = watcher.track_pipeline_execution(pipeline_id, True)(func)
    return tracked()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("broken", [("start",), ("end",), ("start", "end")])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("error", [OSError, WatcherAPIError, MemoryError])
def test_trouble_of_the_tracker_changes_nothing_for_the_caller(
    store: SqliteTrackingStore,
    keeper: LeaseKeeper,
    pipeline: MakePipeline,
    caplog: pytest.LogCaptureFixture,
    broken: tuple[str, ...],
    late: bool,
    error: type[Exception],
) -> None:
    transport = TroubledTransport(store, *broken, late=late, error=lambda: error("trouble"))
    output = call(transport, keeper, pipeline())
    assert output.results is DONE
    assert len(warnings_of(caplog)) == 1
    caplog.clear()
    with pytest.raises(KeyError) as caught:
        call(transport, keeper, pipeline(), raises)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert len(warnings_of(caplog)) == 1


def test_without_a_start_the_function_runs_under_an_id_of_its_own(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline
) -> None:
    seen: list[WatcherExecutionContext] = []

    def load(watcher_context: WatcherExecutionContext) -> ETLResults:
        seen.append(watcher_context)
        return DONE

    transport = TroubledTransport(store, "start")
    output = call(transport, keeper, pipeline(), load)
    assert output.execution_id in CLIENT_IDS
    assert seen[0].execution_id == output.execution_id
    transport.broken.clear()
    assert keeper.deliver_owed() == 0
    recorded = store.execution(output.execution_id)
    assert (recorded.state, recorded.inserts) == (State.SUCCEEDED, 3)
    assert len(store.executions().executions) == 1


def test_a_start_that_failed_is_made_up_for_at_the_end(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline, clock: Clock
) -> None:
    transport = TroubledTransport(store, "start")

    def load() -> ETLResults:
        transport.broken.clear()
        return DONE

    output = call(transport, keeper, pipeline(), load)
    assert store.execution(output.execution_id).state is State.SUCCEEDED
    assert keeper.deliver_owed() == 0


def test_a_lost_reply_to_a_start_makes_no_second_execution(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline
) -> None:
    transport = TroubledTransport(store, "start", late=True)

    def load() -> ETLResults:
        transport.broken.clear()
        return DONE

    output = call(transport, keeper, pipeline(), load)
    assert output.execution_id in CLIENT_IDS
    (only,) = store.executions().executions
    assert (only.client_execution_id, only.state) == (output.execution_id, State.SUCCEEDED)


@pytest.mark.parametrize("late", [False, True])
def test_an_end_that_was_lost_is_delivered_later_as_it_was(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline, late: bool
) -> None:
    transport = TroubledTransport(store, "end", late=late)
    output = call(transport, keeper, pipeline())
    assert keeper.deliver_owed() == 1
    transport.broken.clear()
    assert keeper.deliver_owed() == 0
    assert store.execution(output.execution_id).state is State.SUCCEEDED


def test_a_refusal_is_not_asked_again(
    store: SqliteTrackingStore, keeper: LeaseKeeper, caplog: pytest.LogCaptureFixture
) -> None:
    transport = TroubledTransport(store)
    assert call(transport, keeper, 404).results is DONE
    assert transport.calls == ["start"]
    assert keeper.deliver_owed() == 0
    (message,) = warnings_of(caplog)
    assert "returns" in message
    assert "No pipeline 404" in message


def test_a_tracker_that_cannot_be_opened_changes_nothing(
    tmp_path: Path, keeper: LeaseKeeper, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")

    class Unopened(Watcher):
        @property
        def transport(self) -> TrackingTransport:
            return EmbeddedTransport(SqliteTrackingStore(tmp_path / "file" / "tracking.db"))

    watcher = Unopened(keeper=keeper)

    @watcher.track_pipeline_execution(1, True)
    def outer() -> ETLResults:
        return DONE

    output = outer()
    assert output is not None
    assert output.execution_id in CLIENT_IDS
    assert len(warnings_of(caplog)) == 1


def test_children_of_an_unrecorded_parent_find_it_later(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline
) -> None:
    transport = TroubledTransport(store, "start")

    def parent() -> ETLResults:
        transport.broken.clear()
        call(transport, keeper, pipeline("child"))
        return DONE

    output = call(transport, keeper, pipeline(), parent)
    (child,) = store.execution(output.execution_id).children
    assert child.pipeline_name == "child"


def test_an_end_after_the_verdict_is_told_in_the_log(
    store: SqliteTrackingStore,
    keeper: LeaseKeeper,
    pipeline: MakePipeline,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def load() -> ETLResults:
        store.reap(clock.forward(60))
        return DONE

    output = call(EmbeddedTransport(store), keeper, pipeline(), load)
    assert output.results is DONE
    recorded = store.execution(output.execution_id)
    assert recorded.state is State.CRASHED
    assert recorded.superseded_end is not None
    assert "ended after it was judged crashed" in warnings_of(caplog)[0]


def test_code_of_another_tracker_has_no_parent_here(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline, tmp_path: Path
) -> None:
    with SqliteTrackingStore(tmp_path / "other.db") as other:
        there = EmbeddedTransport(other)
        elsewhere = other.sync_pipeline(SyncPipeline(name="p", pipeline_type_name="t")).id

        def middle() -> ETLResults:
            call(EmbeddedTransport(store), keeper, pipeline("inner"))
            return DONE

        def outer() -> ETLResults:
            call(there, keeper, elsewhere, middle)
            return DONE

        output = call(EmbeddedTransport(store), keeper, pipeline("outer"), outer)
        assert [c.pipeline_name for c in store.execution(output.execution_id).children] == ["inner"]
        (alone,) = other.executions().executions
        assert alone.parent_execution_id is None


def test_an_engine_may_name_the_parent_by_its_key(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline
) -> None:
    with child_of("attempt-1"):
        output = call(EmbeddedTransport(store), keeper, pipeline())
    parent = store.start_execution(StartExecution(pipeline_id=pipeline(), key="attempt-1"))
    assert [c.id for c in store.execution(parent.id).children] == [output.execution_id]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_inside_the_function_does_not_end_its_execution(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline
) -> None:
    def load() -> ETLResults:
        child = os.fork()
        if child == 0:
            raise SystemExit(0)
        os.waitpid(child, 0)
        return DONE

    parent_process = os.getpid()
    try:
        output = call(EmbeddedTransport(store), keeper, pipeline(), load)
    finally:
        if os.getpid() != parent_process:
            os._exit(0)
    assert store.execution(output.execution_id).state is State.SUCCEEDED
