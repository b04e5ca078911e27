"""The tracking service over one SQLite file, for one machine and any number of processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from handrail.tracking import executions, ingest, leases, listing, pipelines, refusals
from handrail.tracking.database import Database
from handrail.tracking.declared import AddressLineage
from handrail.tracking.news import News
from handrail.tracking.rows import micros
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
    Record,
    StartExecution,
    State,
    SyncAddressLineage,
    SyncPipeline,
    UpdateNextWatermark,
    UpdatePipeline,
)

_Reply = TypeVar("_Reply", bound=Record)

#: How long a repeated request is answered with the first reply, where the rows do not tell it.
ANSWERS_KEPT = timedelta(days=7)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SqliteTrackingStore:
    """Tracking in the file `path`, made private to its owner if it is not there.

    All methods may be called from any thread. A write with the key of an earlier one gets the
    earlier reply and changes nothing.

    Args:
        path: the database file; missing folders are made.
        now: the clock, in any time zone; the store's times come from it.
        busy_seconds: how long a write waits for other processes.

    Raises:
        StoreVersionError: a newer Handrail wrote the file.
        StoreCorruptError: the file is damaged, or something else than a tracking database.
        StoreReadOnlyError: the file may not be written.
        StoreError: by any method, if the file cannot be used.
        WatcherAPIError: by any method, for a request that is refused; `status_code` is 404 for
            what does not exist, 409 for an end that contradicts history, 422 for other mistakes.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        now: Callable[[], datetime] = _utc_now,
        busy_seconds: float = 30.0,
    ) -> None:
        self.path = Path(path).absolute()
        self._clock = now
        self._database = Database(self.path, busy_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def _now(self) -> int:
        return micros(self._clock())

    def _once(
        self,
        request: SyncPipeline | UpdatePipeline | UpdateNextWatermark | SyncAddressLineage,
        reply_type: type[_Reply],
        act: Callable[[sqlite3.Connection, int], _Reply],
    ) -> _Reply:
        """Acts, or repeats the reply to an earlier request with the same key."""
        call, now = type(request).__name__, self._now()
        with self._database.writing() as connection:
            query = "SELECT call, reply FROM answers WHERE key = ?"
            answered = connection.execute(query, (request.key,)).fetchone()
            if answered is not None:
                if answered["call"] != call:
                    raise refusals.key_of_another_call(request.key, call)
                return reply_type.model_validate_json(answered["reply"])
            reply = act(connection, now)
            too_old = now - ANSWERS_KEPT // timedelta(microseconds=1)
            connection.execute("DELETE FROM answers WHERE at < ?", (too_old,))
            connection.execute(
                "INSERT INTO answers (key, call, reply, at) VALUES (?, ?, ?, ?)",
                (request.key, call, reply.model_dump_json(), now),
            )
            return reply

    # Pipelines

    def sync_pipeline(self, request: SyncPipeline) -> PipelineSynced:
        """Creates or updates a pipeline by name, and tells its id and watermark."""
        return self._once(request, PipelineSynced, lambda c, now: pipelines.sync(c, request, now))

    def update_pipeline(self, request: UpdatePipeline) -> PipelineView:
        """Changes the fields of a pipeline that the request sets."""
        return self._once(request, PipelineView, lambda c, now: pipelines.update(c, request, now))

    def update_pipeline_next_watermark(self, request: UpdateNextWatermark) -> PipelineView:
        """Sets where a pipeline, and its open execution, will have gone."""

        def act(connection: sqlite3.Connection, now: int) -> PipelineView:
            executions.update_next_watermark(connection, request, now)
            return pipelines.view(connection, request.pipeline_id)

        return self._once(request, PipelineView, act)

    def pipelines(self) -> tuple[PipelineView, ...]:
        """All pipelines, by name."""
        with self._database.reading() as connection:
            return pipelines.views(connection)

    def pipeline(self, which: int | str) -> PipelineView:
        """One pipeline, by id or name."""
        with self._database.reading() as connection:
            return pipelines.view(connection, which)

    def sync_address_lineage(self, request: SyncAddressLineage) -> AddressLineageSynced:
        """Replaces the lineage of a pipeline."""
        return self._once(
            request, AddressLineageSynced, lambda c, now: pipelines.sync_lineage(c, request, now)
        )

    def address_lineage(self, pipeline_id: int) -> AddressLineage:
        """The stored lineage of a pipeline."""
        with self._database.reading() as connection:
            return pipelines.lineage(connection, pipeline_id)

    # Executions

    def start_execution(self, request: StartExecution) -> ExecutionStarted:
        """Records that an execution has started, and gives its id."""
        with self._database.writing() as connection:
            return executions.start(connection, request, self._now())

    def end_execution(self, request: EndExecution) -> ExecutionEnded:
        """Records how an execution ended; a success may move its pipeline's watermark."""
        with self._database.writing() as connection:
            return executions.end(connection, request, self._now())

    def heartbeat(self, request: Heartbeat) -> HeartbeatAnswered:
        """Renews leases, and tells which executions are over."""
        with self._database.writing() as connection:
            return leases.heartbeat(connection, request, self._now())

    def reap(self, now: datetime | None = None) -> Reaped:
        """Judges crashed the open executions whose lease has expired at `now`."""
        moment = self._now() if now is None else micros(now)
        with self._database.reading() as connection:
            if not leases.any_expired(connection, moment):
                return Reaped(execution_ids=())
        with self._database.writing() as connection:
            return Reaped(execution_ids=leases.reap(connection, moment))

    def execution(self, execution_id: int) -> ExecutionDetail:
        """One execution with its traceback and its children (the first 200)."""
        with self._database.reading() as connection:
            return listing.detail(connection, execution_id)

    def executions(
        self,
        pipeline: int | str | None = None,
        state: State | str | None = None,
        parent: int | None = None,
        *,
        limit: int = 50,
        before: int | None = None,
    ) -> ExecutionPage:
        """Executions, latest first, 1 to 1000 at a time.

        Pass `next_before` of a page as `before` of the next.
        """
        with self._database.reading() as connection:
            return listing.page(
                connection,
                pipeline=pipeline,
                state=None if state is None else State(state),
                parent=parent,
                limit=max(1, min(limit, 1000)),
                before=before,
            )

    # Producers

    def cursor(self, producer: str) -> int:
        """The position that the producer has delivered up to; 0 at first."""
        with self._database.reading() as connection:
            return ingest.cursor(connection, producer)

    def ingest(
        self, producer: str, cursor: int, records: Iterable[ExecutionEvent | News]
    ) -> Ingested:
        """Applies events and moves the producer's cursor there, in one transaction.

        A batch that ends at or behind the cursor has been delivered before and changes nothing.
        """
        with self._database.writing() as connection:
            return ingest.ingest(connection, producer, cursor, records, self._now())
