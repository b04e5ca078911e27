from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from handrail.errors import WatcherAPIError, WatcherNetworkError
from handrail.tracking import SqliteTrackingStore
from handrail.tracking.keeper import LeaseKeeper, is_refusal
from handrail.tracking.wire import EndExecution, Heartbeat, HeartbeatAnswered, StartExecution
from tests.unit.tracking.fakes import TroubledTransport

MakePipeline = Callable[..., int]
SOON = 0.03
LONG = 10.0


class Listening(TroubledTransport):
    """Lets a test wait for heartbeats."""

    def __init__(self, store: SqliteTrackingStore, *broken: str) -> None:
        super().__init__(store, *broken)
        self.beats: list[tuple[int, ...]] = []
        self.beaten = threading.Semaphore(0)

    def heartbeat(self, request: Heartbeat) -> HeartbeatAnswered:
        self.beats.append(request.execution_ids)
        self.beaten.release()
        return super().heartbeat(request)

    def wait_for_beats(self, count: int) -> None:
        for _ in range(count):
            assert self.beaten.acquire(timeout=LONG)


def running(store: SqliteTrackingStore, pipeline_id: int) -> int:
    request = StartExecution(pipeline_id=pipeline_id, lease_seconds=30)
    return store.start_execution(request).id


def test_what_is_held_is_beaten_for_until_released(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline
) -> None:
    transport, first, second = Listening(store), running(store, pipeline()), 0
    keeper.hold(transport, first, SOON)
    transport.wait_for_beats(3)
    second = running(store, pipeline())
    keeper.hold(transport, second, SOON)
    keeper.release(transport, first)
    transport.beats.clear()
    transport.wait_for_beats(4)
    assert set(transport.beats[-1]) == {second}
    keeper.release(transport, second)


def test_failing_heartbeats_go_on(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline
) -> None:
    transport = Listening(store, "heartbeat")
    execution_id = running(store, pipeline())
    keeper.hold(transport, execution_id, SOON)
    transport.wait_for_beats(3)
    keeper.release(transport, execution_id)


def test_what_is_over_is_no_longer_beaten_for(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline
) -> None:
    transport, over, open_ = Listening(store), running(store, pipeline()), 0
    store.end_execution(EndExecution(execution_id=over, completed_successfully=True))
    open_ = running(store, pipeline())
    keeper.hold(transport, over, SOON)
    transport.wait_for_beats(1)
    keeper.hold(transport, open_, SOON)
    transport.wait_for_beats(3)
    assert transport.beats[-1] == (open_,)
    keeper.release(transport, open_)


def test_what_is_owed_is_delivered_in_the_background(keeper: LeaseKeeper) -> None:
    tries: list[int] = []
    delivered = threading.Event()

    def deliver() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise WatcherNetworkError("away")
        delivered.set()

    keeper.owe("debtor", SOON, deliver)
    assert delivered.wait(LONG)
    assert len(tries) == 3
    assert keeper.deliver_owed() == 0


def test_what_is_refused_is_owed_no_more(keeper: LeaseKeeper) -> None:
    def deliver() -> None:
        raise WatcherAPIError("no", status_code=409)

    keeper.owe("debtor", LONG, deliver)
    assert keeper.deliver_owed() == 0


def test_a_settled_debt_is_not_delivered(keeper: LeaseKeeper) -> None:
    keeper.owe("debtor", LONG, lambda: pytest.fail("delivered"))
    keeper.settle("debtor")
    assert keeper.deliver_owed() == 0


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (WatcherAPIError("", status_code=404), True),
        (WatcherAPIError("", status_code=409), True),
        (WatcherAPIError("", status_code=408), False),
        (WatcherAPIError("", status_code=429), False),
        (WatcherAPIError("", status_code=503), False),
        (WatcherAPIError(""), False),
        (OSError(), False),
    ],
)
def test_only_what_would_be_said_again_is_a_refusal(error: Exception, refusal: bool) -> None:
    assert is_refusal(error) is refusal


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_keeps_nothing_of_its_parent_alive(
    store: SqliteTrackingStore, keeper: LeaseKeeper, pipeline: MakePipeline
) -> None:
    keeper.owe("debtor", LONG, lambda: os._exit(1))
    child = os.fork()
    if child == 0:
        keeper.owe("mine", LONG, lambda: None)
        os._exit(keeper.deliver_owed())
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    keeper.settle("debtor")


def test_without_a_thread_leases_run_out_and_nothing_else(
    store: SqliteTrackingStore,
    keeper: LeaseKeeper,
    pipeline: MakePipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_room(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_room)
        keeper.owe("debtor", LONG, lambda: None)
    assert keeper.deliver_owed() == 0
    transport, execution_id = Listening(store), running(store, pipeline())
    keeper.hold(transport, execution_id, SOON)
    transport.wait_for_beats(1)
    keeper.release(transport, execution_id)
