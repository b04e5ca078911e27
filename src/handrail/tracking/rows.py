"""Rows of the tracking database as records, and values as columns.

Times are whole microseconds since 1970 (UTC), watermarks and metadata are JSON text.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from handrail.tracking import rules, watermark
from handrail.tracking.metadata import plain
from handrail.tracking.wire import EndExecution, ErrorDetail, Execution, PipelineView, State

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

_COLUMNS = """
    id key client_id pipeline_id parent_id continues_id state created_at started_at ended_at
    inserts updates soft_deletes total_rows watermark next_watermark watermark_promoted
    execution_metadata error_type error_message lease_seconds lease_expires_at superseded_end
"""
_OTHERS = """, p.name AS pipeline_name,
    (SELECT count(*) FROM executions c WHERE c.parent_id = e.id) AS children_count
    FROM executions e JOIN pipelines p ON p.id = e.pipeline_id
"""
#: Executions as shown in lists; the traceback is left to the page of one.
LISTED = (
    "SELECT " + ", ".join(f"e.{name}" for name in _COLUMNS.split())
    + ", NULL AS error_traceback" + _OTHERS
)  # fmt: skip
#: The same with the traceback.
SHOWN = LISTED.replace("NULL AS error_traceback", "e.error_traceback")


def micros(moment: datetime) -> int:
    """The column of a time."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(microseconds: int | None) -> datetime | None:
    """The time in a column."""
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def as_mapping(row: sqlite3.Row) -> dict[str, Any]:
    """Values by column."""
    # `dict(row)` searches each name among all of them.
    return dict(zip(row.keys(), row, strict=True))


def json_text(value: Mapping[str, Any] | None) -> str | None:
    """The column of metadata."""
    return None if value is None else _encode(plain(value))


def json_object(text: str | None) -> dict[str, Any] | None:
    """The metadata in a column."""
    if text is None:
        return None
    found: dict[str, Any] = json.loads(text)
    return found


def execution_fields(row: sqlite3.Row) -> dict[str, Any]:
    """The fields of `Execution` in a row that has the columns of `LISTED` or `SHOWN`."""
    started_at, ended_at = moment(row["started_at"]), moment(row["ended_at"])
    seconds = rules.duration_seconds(started_at, ended_at)
    same = (
        "id key pipeline_id pipeline_name state inserts updates soft_deletes total_rows "
        "watermark_promoted lease_seconds children_count"
    )
    return {
        **{name: row[name] for name in same.split()},
        "client_execution_id": row["client_id"],
        "parent_execution_id": row["parent_id"],
        "continues_execution_id": row["continues_id"],
        "created_at": moment(row["created_at"]),
        "started_at": started_at,
        "ended_at": ended_at,
        "duration_seconds": seconds,
        "throughput": rules.throughput(row["total_rows"], seconds),
        "watermark": watermark.load(row["watermark"]),
        "next_watermark": watermark.load(row["next_watermark"]),
        "execution_metadata": json_object(row["execution_metadata"]),
        "error": None if row["error_type"] is None else error_of(as_mapping(row)),
        "lease_expires_at": moment(row["lease_expires_at"]),
        "superseded_end": json_object(row["superseded_end"]),
    }


def error_of(row: Mapping[str, Any]) -> ErrorDetail | None:
    """The error in a row's columns."""
    if row.get("error_type") is None:
        return None
    return ErrorDetail(
        type=row["error_type"], message=row["error_message"], traceback=row.get("error_traceback")
    )


def execution(row: sqlite3.Row) -> Execution:
    """An execution as listed."""
    return Execution(**execution_fields(row))


def recorded_outcome(row: sqlite3.Row) -> rules.Outcome | None:
    """The end on record, which for a crashed execution is the one kept as superseded."""
    state = State(row["state"])
    if state is State.CRASHED:
        kept = json_object(row["superseded_end"])
        return None if kept is None else rules.outcome(EndExecution.model_validate(kept))
    return rules.Outcome(
        state,
        row["inserts"],
        row["updates"],
        row["soft_deletes"],
        row["total_rows"],
        json_object(row["execution_metadata"]),
        row["error_type"],
        row["error_message"],
    )


def pipeline_view(row: sqlite3.Row) -> PipelineView:
    """A pipeline; the row has `last_execution_id`, `last_state` and `last_started_at` too."""
    fields = as_mapping(row)
    for name in ("watermark", "next_watermark"):
        fields[name] = watermark.load(fields[name])
    for name in fields:
        if name.endswith("_at") or name.startswith("last_target_"):
            fields[name] = moment(fields[name])
    fields["pipeline_metadata"] = json_object(fields["pipeline_metadata"])
    return PipelineView(**fields)
