"""What a producer tells of an execution, in the form that is written: as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from handrail.tracking import watermark
from handrail.tracking.rows import micros
from handrail.tracking.wire import ErrorDetail, ExecutionEvent, State

_NOTHING: Mapping[str, Any] = {}


class News(NamedTuple):
    """An `ExecutionEvent` from this process, where nothing needs to be checked or translated.

    Key and names keep the rules of `ExecutionEvent`.
    """

    key: str
    pipeline: str
    pipeline_type_name: str
    state: State
    #: When that state was entered, in microseconds since 1970 (UTC).
    at: int
    #: Times in microseconds, too.
    started_at: int | None = None
    ended_at: int | None = None
    #: Counts, watermarks and error as in the table of executions; only what is said.
    columns: Mapping[str, Any] = _NOTHING
    metadata: Mapping[str, Any] | None = None
    parent_key: str | None = None
    continues_key: str | None = None
    lease_seconds: float | None = None


def joined(before: News, after: News) -> News:
    """Two pieces of news of one execution as one."""
    return News(
        after.key,
        after.pipeline,
        after.pipeline_type_name,
        after.state,
        after.at,
        after.started_at or before.started_at,
        after.ended_at or before.ended_at,
        _both(before.columns, after.columns) or _NOTHING,
        _both(before.metadata, after.metadata),
        after.parent_key or before.parent_key,
        after.continues_key or before.continues_key,
        after.lease_seconds or before.lease_seconds,
    )


def _both(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    return {**before, **after} if before and after else after or before


def news_of(event: ExecutionEvent) -> News:
    """What an event tells."""
    columns = {
        **event.metrics.model_dump(),
        "watermark": watermark.dump(event.watermark),
        "next_watermark": watermark.dump(event.next_watermark),
    }
    said = {name: value for name, value in columns.items() if value is not None}
    return News(
        event.key,
        event.pipeline,
        event.pipeline_type_name,
        event.state,
        micros(event.at),
        None if event.started_at is None else micros(event.started_at),
        None if event.ended_at is None else micros(event.ended_at),
        said if event.error is None else said | error_columns(event.error),
        event.metadata,
        event.parent_key,
        event.continues_key,
        event.lease_seconds,
    )


def error_columns(error: ErrorDetail) -> dict[str, str]:
    """The columns of an error."""
    columns = {"error_type": error.type, "error_message": error.message}
    if error.traceback is not None:
        columns["error_traceback"] = error.traceback
    return columns
