"""A tracker in trouble, for tests: handed in through the socket."""

from __future__ import annotations

from collections.abc import Callable

from handrail.errors import WatcherNetworkError
from handrail.tracking import EmbeddedTransport, SqliteTrackingStore
from handrail.tracking.wire import (
    EndExecution,
    ExecutionEnded,
    ExecutionStarted,
    Heartbeat,
    HeartbeatAnswered,
    StartExecution,
)


class TroubledTransport(EmbeddedTransport):
    """Raises `error` from the calls named in `broken`; with `late`, after having done them."""

    def __init__(
        self,
        store: SqliteTrackingStore,
        *broken: str,
        late: bool = False,
        error: Callable[[], Exception] = lambda: WatcherNetworkError("tracker is away"),
    ) -> None:
        super().__init__(store)
        self.broken = set(broken)
        self.late = late
        self.error = error
        self.calls: list[str] = []

    def _before(self, call: str) -> None:
        self.calls.append(call)
        if call in self.broken and not self.late:
            raise self.error()

    def _after(self, call: str) -> None:
        if call in self.broken and self.late:
            raise self.error()

    def start_execution(self, request: StartExecution) -> ExecutionStarted:
        self._before("start")
        reply = super().start_execution(request)
        self._after("start")
        return reply

    def end_execution(self, request: EndExecution) -> ExecutionEnded:
        self._before("end")
        reply = super().end_execution(request)
        self._after("end")
        return reply

    def heartbeat(self, request: Heartbeat) -> HeartbeatAnswered:
        self._before("heartbeat")
        return super().heartbeat(request)
