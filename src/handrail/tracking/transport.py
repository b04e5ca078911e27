"""The socket between the tracking client and a tracker, and the tracker in this process."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from handrail.errors import StoreError, WatcherError
from handrail.tracking.declared import AddressLineage
from handrail.tracking.store import SqliteTrackingStore
from handrail.tracking.wire import (
    AddressLineageSynced,
    EndExecution,
    ExecutionDetail,
    ExecutionEnded,
    ExecutionEvent,
    ExecutionPage,
    ExecutionStarted,
    Heartbeat,
    HeartbeatAnswered,
    Ingested,
    PipelineSynced,
    PipelineView,
    Reaped,
    StartExecution,
    State,
    SyncAddressLineage,
    SyncPipeline,
    UpdateNextWatermark,
    UpdatePipeline,
)


class TrackingTransport(ABC):
    """Calls to a tracker. Any thread may make them; a write may be repeated with its key.

    Every method raises `WatcherAPIError` for a refusal, `WatcherNetworkError` for a tracker out
    of reach, and `WatcherError` for other trouble.
    """

    @property
    @abstractmethod
    def where(self) -> str:
        """Which tracker this is: ids of two transports with one `where` mean the same."""

    @abstractmethod
    def sync_pipeline(self, request: SyncPipeline) -> PipelineSynced:
        """Creates or updates a pipeline by name."""

    @abstractmethod
    def update_pipeline(self, request: UpdatePipeline) -> PipelineView:
        """Changes the fields of a pipeline that the request sets."""

    @abstractmethod
    def update_pipeline_next_watermark(self, request: UpdateNextWatermark) -> PipelineView:
        """Sets where a pipeline, and its open execution, will have gone."""

    @abstractmethod
    def sync_address_lineage(self, request: SyncAddressLineage) -> AddressLineageSynced:
        """Replaces the lineage of a pipeline."""

    @abstractmethod
    def start_execution(self, request: StartExecution) -> ExecutionStarted:
        """Records that an execution has started."""

    @abstractmethod
    def end_execution(self, request: EndExecution) -> ExecutionEnded:
        """Records how an execution ended."""

    @abstractmethod
    def heartbeat(self, request: Heartbeat) -> HeartbeatAnswered:
        """Renews the leases of open executions."""

    @abstractmethod
    def ingest(self, producer: str, cursor: int, records: Sequence[ExecutionEvent]) -> Ingested:
        """Applies a producer's events and moves its cursor."""

    @abstractmethod
    def cursor(self, producer: str) -> int:
        """The position up to which a producer has delivered."""

    @abstractmethod
    def execution(self, execution_id: int) -> ExecutionDetail:
        """One execution with its children."""

    @abstractmethod
    def executions(
        self,
        pipeline: int | str | None = None,
        state: State | str | None = None,
        parent: int | None = None,
        *,
        limit: int = 50,
        before: int | None = None,
    ) -> ExecutionPage:
        """Executions, latest first."""

    @abstractmethod
    def pipelines(self) -> tuple[PipelineView, ...]:
        """All pipelines, by name."""

    @abstractmethod
    def pipeline(self, which: int | str) -> PipelineView:
        """One pipeline, by id or name."""

    @abstractmethod
    def address_lineage(self, pipeline_id: int) -> AddressLineage:
        """The stored lineage of a pipeline."""

    @abstractmethod
    def reap(self) -> Reaped:
        """Judges crashed the executions whose lease has expired."""


@contextmanager
def _told_as_tracking() -> Iterator[None]:
    try:
        yield
    except StoreError as exc:
        raise WatcherError(str(exc)) from exc


class EmbeddedTransport(TrackingTransport):
    """A tracker in this process: each call is a transaction on the store.

    Reading executions or pipelines first judges those whose lease has expired, as there is no
    server that would do it.
    """

    def __init__(self, store: SqliteTrackingStore) -> None:
        self.store = store

    @property
    def where(self) -> str:
        return str(self.store.path)

    def sync_pipeline(self, request: SyncPipeline) -> PipelineSynced:
        with _told_as_tracking():
            return self.store.sync_pipeline(request)

    def update_pipeline(self, request: UpdatePipeline) -> PipelineView:
        with _told_as_tracking():
            return self.store.update_pipeline(request)

    def update_pipeline_next_watermark(self, request: UpdateNextWatermark) -> PipelineView:
        with _told_as_tracking():
            return self.store.update_pipeline_next_watermark(request)

    def sync_address_lineage(self, request: SyncAddressLineage) -> AddressLineageSynced:
        with _told_as_tracking():
            return self.store.sync_address_lineage(request)

    def start_execution(self, request: StartExecution) -> ExecutionStarted:
        with _told_as_tracking():
            return self.store.start_execution(request)

    def end_execution(self, request: EndExecution) -> ExecutionEnded:
        with _told_as_tracking():
            return self.store.end_execution(request)

    def heartbeat(self, request: Heartbeat) -> HeartbeatAnswered:
        with _told_as_tracking():
            return self.store.heartbeat(request)

    def ingest(self, producer: str, cursor: int, records: Sequence[ExecutionEvent]) -> Ingested:
        with _told_as_tracking():
            return self.store.ingest(producer, cursor, records)

    def cursor(self, producer: str) -> int:
        with _told_as_tracking():
            return self.store.cursor(producer)

    def execution(self, execution_id: int) -> ExecutionDetail:
        with _told_as_tracking():
            self.store.reap()
            return self.store.execution(execution_id)

    def executions(
        self,
        pipeline: int | str | None = None,
        state: State | str | None = None,
        parent: int | None = None,
        *,
        limit: int = 50,
        before: int | None = None,
    ) -> ExecutionPage:
        with _told_as_tracking():
            self.store.reap()
            return self.store.executions(pipeline, state, parent, limit=limit, before=before)

    def pipelines(self) -> tuple[PipelineView, ...]:
        with _told_as_tracking():
            self.store.reap()
            return self.store.pipelines()

    def pipeline(self, which: int | str) -> PipelineView:
        with _told_as_tracking():
            self.store.reap()
            return self.store.pipeline(which)

    def address_lineage(self, pipeline_id: int) -> AddressLineage:
        with _told_as_tracking():
            return self.store.address_lineage(pipeline_id)

    def reap(self) -> Reaped:
        with _told_as_tracking():
            return self.store.reap()


class _HomeTrackers:
    """One embedded tracker for each home folder of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[Path, EmbeddedTransport] = {}

    def get(self) -> TrackingTransport:
        home = Path(os.environ.get("HANDRAIL_HOME") or ".handrail")
        path = (home / "tracking.db").absolute()
        with self._lock:
            opened = self._opened.get(path)
            if opened is None or not path.exists():
                if opened is not None:
                    opened.store.close()
                with _told_as_tracking():
                    opened = self._opened[path] = EmbeddedTransport(SqliteTrackingStore(path))
            return opened


_make_default: Callable[[], TrackingTransport] = _HomeTrackers().get
_home_trackers = _make_default


def default_transport() -> TrackingTransport:
    """The tracker used by `Watcher()`.

    Without `use_default_transport` it is the embedded one in `HANDRAIL_HOME`, or else in
    `.handrail` of the working folder.
    """
    return _make_default()


def use_default_transport(
    make: Callable[[], TrackingTransport] | None,
) -> Callable[[], TrackingTransport] | None:
    """Sets what `Watcher()` uses (None: the embedded tracker of the home).

    `make` is called once by each `Watcher`, at its first use. Returns what was set before.
    """
    global _make_default
    before = None if _make_default is _home_trackers else _make_default
    _make_default = _home_trackers if make is None else make
    return before
