"""The client of tracking: `Watcher`.

Its methods have the names and arguments of the ETL Watcher SDK.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from handrail.errors import RuntimeConfigError
from handrail.tracking import rules
from handrail.tracking.declared import (
    AddressLineage,
    ETLResults,
    ExecutionResult,
    Pipeline,
    PipelineConfig,
    SyncedPipeline,
    SyncedPipelineConfig,
)
from handrail.tracking.keeper import LeaseKeeper, process_keeper
from handrail.tracking.recording import current_parent, recording_of
from handrail.tracking.track import TrackingDecorator
from handrail.tracking.transport import (
    EmbeddedTransport,
    TrackingTransport,
    default_transport,
    use_default_transport,
)
from handrail.tracking.watermark import Position
from handrail.tracking.wire import (
    EndExecution,
    ExecutionDetail,
    PipelineView,
    StartExecution,
    SyncAddressLineage,
    SyncPipeline,
    UpdateNextWatermark,
    new_key,
)

__all__ = [
    "EmbeddedTransport",
    "TrackingTransport",
    "Watcher",
    "default_transport",
    "use_default_transport",
]


@dataclass
class _Synced:
    """What one synchronisation said, for the executions declared after it."""

    default_watermark: Position | None = None
    next_watermark: Position | None = None


class Watcher:
    """Tracks pipelines and their executions.

    `Watcher()` tracks in the home folder (`HANDRAIL_HOME`, or `.handrail` of the working folder),
    which is opened at the first use.

    Args:
        base_url: address of a tracking server.
        auth: token for that server.
        transport: the tracker to use; it stands in for `base_url` and `auth`.
        lease_seconds: an execution of a tracked function is judged crashed if its process is
            silent for that long; None: never.
        keeper: who renews the leases; by default one thread for the whole process.

    Raises:
        RuntimeConfigError: `base_url` or `auth` is given without a `transport`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        auth: str | None = None,
        *,
        transport: TrackingTransport | None = None,
        lease_seconds: float | None = 30.0,
        keeper: LeaseKeeper | None = None,
    ) -> None:
        if transport is None and (base_url is not None or auth is not None):
            raise RuntimeConfigError(
                "Tracking servers are not supported by this version. Leave out base_url and auth "
                "to use the embedded tracker: Watcher()"
            )
        self.base_url = base_url
        self.lease_seconds = lease_seconds
        self._given = transport
        self._keeper = keeper or process_keeper
        self._synced: dict[int, _Synced] = {}

    @cached_property
    def transport(self) -> TrackingTransport:
        """The tracker in use."""
        return self._given or default_transport()

    # Pipelines

    def sync_pipeline_config(self, config: PipelineConfig) -> SyncedPipelineConfig:
        """Makes a pipeline and its lineage known, and gives its id and current watermark.

        The watermark is the one of the last success, or else `config.default_watermark`. An
        inactive pipeline gets a warning, no watermark, and its lineage is left as it is.

        Raises:
            WatcherError: the tracker cannot be used, or refuses.
        """
        lineage = config.address_lineage
        declared = {name: getattr(config.pipeline, name) for name in Pipeline.model_fields}
        reply = self.transport.sync_pipeline(
            SyncPipeline(
                **declared,
                next_watermark=config.next_watermark,
                lineage_digest=lineage and _digest(lineage),
            )
        )
        self._synced[reply.id] = _Synced(config.default_watermark, config.next_watermark)
        watermark = config.default_watermark if reply.watermark is None else reply.watermark
        if not reply.active:
            watermark = None
            warnings.warn(
                f"Pipeline '{config.pipeline.name}' is not active: its executions are skipped.",
                UserWarning,
                stacklevel=2,
            )
        elif lineage is not None and reply.load_lineage:
            self._sync_lineage(reply.id, lineage)
        return SyncedPipelineConfig(
            pipeline=SyncedPipeline(**declared, id=reply.id, active=reply.active),
            address_lineage=lineage,
            default_watermark=config.default_watermark,
            next_watermark=config.next_watermark,
            watermark=watermark,
        )

    def _sync_lineage(self, pipeline_id: int, lineage: AddressLineage) -> None:
        self.transport.sync_address_lineage(
            SyncAddressLineage(
                pipeline_id=pipeline_id,
                source_addresses=tuple(lineage.source_addresses),
                target_addresses=tuple(lineage.target_addresses),
            )
        )

    def update_pipeline_next_watermark(
        self, pipeline_id: int, next_watermark: Position, *, execution_id: int | None = None
    ) -> PipelineView:
        """Sets the watermark that the pipeline's execution will promote if it succeeds.

        The execution is the one named, or the one around the call, or else the pipeline's only
        open one. If there is none, the watermark waits for the execution that starts next.

        Raises:
            WatcherError: the tracker cannot be used, or refuses.
        """
        request = UpdateNextWatermark(
            pipeline_id=pipeline_id, next_watermark=next_watermark, execution_id=execution_id
        )
        around = recording_of(pipeline_id) if execution_id is None else None
        if around is not None:
            recorded_id = around.move_next_watermark(request.next_watermark)
            request = request.model_copy(update={"execution_id": recorded_id})
        elif pipeline_id in self._synced:
            self._synced[pipeline_id].next_watermark = request.next_watermark
        return self.transport.update_pipeline_next_watermark(request)

    # Functions

    def track_pipeline_execution(
        self,
        pipeline_id: int,
        active: bool,
        parent_execution_id: int | None = None,
        watermark: Position | None = None,
        next_watermark: Position | None = None,
        *,
        compare_watermark: bool = False,
    ) -> TrackingDecorator:
        """Decorates a function, sync or async, so that each call is an execution.

        The function returns `ETLResults`; calling it gives `ExecutionResult`, or None with a
        warning if `active` is False. A parameter called `watcher_context` is filled in. Whatever
        the function raises is recorded and raised again; trouble of the tracker is logged.

        Args:
            parent_execution_id: by default the tracked function around the call.
            watermark: where executions start from; by default where the pipeline stands.
            next_watermark: what a success promotes; by default what the synchronisation said.
            compare_watermark: promote only if the pipeline still stands where the execution
                started from.
        """
        template = StartExecution(
            pipeline_id=pipeline_id,
            parent_execution_id=parent_execution_id,
            watermark=watermark,
            next_watermark=next_watermark,
            compare_watermark=compare_watermark,
            lease_seconds=self.lease_seconds,
        )
        start = self._starts(template, self._synced.get(pipeline_id))
        return TrackingDecorator(lambda: self.transport, start, active, self._keeper)

    def _starts(
        self, template: StartExecution, synced: _Synced | None
    ) -> Callable[[], StartExecution]:
        def start() -> StartExecution:
            update: dict[str, Any] = {"key": new_key()}
            if synced is not None:
                update["default_watermark"] = synced.default_watermark
                if template.next_watermark is None:
                    update["next_watermark"] = synced.next_watermark
            return template.model_copy(update=update)

        return start

    def track_child_pipeline_execution(
        self,
        pipeline_id: int,
        active: bool,
        parent_execution_id: int | None,
        func: Callable[..., ETLResults],
        watermark: Position | None = None,
        next_watermark: Position | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> ExecutionResult | None:
        """Calls `func` now as an execution below another; gives a coroutine if `func` is async."""
        track = self.track_pipeline_execution(
            pipeline_id, active, parent_execution_id, watermark, next_watermark
        )
        return track(func)(*args, **kwargs)

    # By hand

    def start_pipeline_execution(
        self,
        pipeline_id: int,
        start_date: datetime | None = None,
        watermark: Position | None = None,
        next_watermark: Position | None = None,
        parent_execution_id: int | None = None,
        *,
        compare_watermark: bool = False,
        lease_seconds: float | None = None,
        key: str | None = None,
    ) -> int:
        """Records that an execution has started, and gives its id.

        Args:
            start_date: by default now; without a time zone it is UTC.
            parent_execution_id: by default the tracked function around the call.
            lease_seconds: judge it crashed unless heartbeats come; by default never.
            key: repeating the call with the same key gives the same execution.

        Raises:
            WatcherError: the tracker cannot be used, or refuses.
        """
        template = StartExecution(
            key=key or new_key(),
            pipeline_id=pipeline_id,
            started_at=start_date,
            watermark=watermark,
            next_watermark=next_watermark,
            parent_execution_id=parent_execution_id,
            compare_watermark=compare_watermark,
            lease_seconds=lease_seconds,
        )
        update: dict[str, Any] = {"key": template.key}
        around = current_parent()
        if around is not None and parent_execution_id is None:
            update |= around.fields(self.transport.where)
        request = self._starts(template, self._synced.get(pipeline_id))().model_copy(update=update)
        return self.transport.start_execution(request).id

    def end_pipeline_execution(
        self,
        execution_id: int,
        completed_successfully: bool,
        end_date: datetime | None = None,
        inserts: int | None = None,
        updates: int | None = None,
        soft_deletes: int | None = None,
        total_rows: int | None = None,
        execution_metadata: dict[str, Any] | None = None,
        *,
        next_watermark: Position | None = None,
        key: str | None = None,
    ) -> None:
        """Records how an execution ended; saying the same again changes nothing.

        Args:
            end_date: by default now; without a time zone it is UTC.
            next_watermark: what a success promotes, if not said before.
            key: by default a request of its own.

        Raises:
            WatcherAPIError: no such execution (404), or it has ended otherwise (409).
            WatcherError: the tracker cannot be used.
        """
        self.transport.end_execution(
            EndExecution(
                key=key or new_key(),
                execution_id=execution_id,
                completed_successfully=completed_successfully,
                ended_at=end_date,
                inserts=inserts,
                updates=updates,
                soft_deletes=soft_deletes,
                total_rows=total_rows,
                execution_metadata=execution_metadata,
                next_watermark=next_watermark,
            )
        )

    def execution(self, execution_id: int) -> ExecutionDetail:
        """One execution with its children.

        Raises:
            WatcherError: there is none, or the tracker cannot be used.
        """
        return self.transport.execution(execution_id)


def _digest(lineage: AddressLineage) -> str:
    return rules.lineage_digest(lineage.source_addresses, lineage.target_addresses)
