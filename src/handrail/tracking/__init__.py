"""Tracking: pipelines, their executions, metrics, watermarks and lineage.

Usable alone: it knows no task, no run and no server.
"""

from __future__ import annotations

from handrail.errors import WatcherAPIError, WatcherError, WatcherNetworkError
from handrail.tracking.client import Watcher, default_transport, use_default_transport
from handrail.tracking.declared import (
    Address,
    AddressLineage,
    ETLResults,
    ExecutionResult,
    Pipeline,
    PipelineConfig,
    SyncedPipelineConfig,
    WatcherExecutionContext,
)
from handrail.tracking.recording import child_of
from handrail.tracking.store import SqliteTrackingStore
from handrail.tracking.transport import EmbeddedTransport, TrackingTransport
from handrail.tracking.wire import ExecutionEvent, State

#: Newer spellings of the ETL Watcher SDK.
ETLResult = ETLResults
WatcherContext = WatcherExecutionContext

__all__ = [
    # Tracking functions
    "Watcher",
    "ETLResults",
    "ETLResult",
    "ExecutionResult",
    "WatcherExecutionContext",
    "WatcherContext",
    "child_of",
    # Declaring pipelines
    "Pipeline",
    "PipelineConfig",
    "SyncedPipelineConfig",
    "Address",
    "AddressLineage",
    # Trackers
    "TrackingTransport",
    "EmbeddedTransport",
    "SqliteTrackingStore",
    "ExecutionEvent",
    "State",
    "default_transport",
    "use_default_transport",
    # Errors
    "WatcherError",
    "WatcherAPIError",
    "WatcherNetworkError",
]
