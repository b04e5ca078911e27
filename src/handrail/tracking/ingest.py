"""Batches of events from producers that keep the truth of their executions themselves.

The functions work inside a transaction of the caller; `now` is in microseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from handrail.tracking import executions, pipelines, rules, watermark
from handrail.tracking.rows import json_object, json_text, micros
from handrail.tracking.wire import EndExecution, ExecutionEvent, Ingested, State


def cursor(connection: sqlite3.Connection, producer: str) -> int:
    """Where the producer stands; 0 if it has never delivered."""
    query = "SELECT position FROM cursors WHERE producer = ?"
    row = connection.execute(query, (producer,)).fetchone()
    return row["position"] if row else 0


def ingest(
    connection: sqlite3.Connection,
    producer: str,
    position: int,
    events: Iterable[ExecutionEvent],
    now: int,
) -> Ingested:
    """Applies a batch and moves the cursor; a batch behind the cursor changes nothing."""
    stands_at = cursor(connection, producer)
    if position <= stands_at:
        return Ingested(cursor=stands_at)
    known = _PipelineIds(connection, now)
    created = [_apply(connection, known, event, now) for event in events]
    connection.execute(
        "INSERT INTO cursors VALUES (?, ?)"
        " ON CONFLICT (producer) DO UPDATE SET position = excluded.position",
        (producer, position),
    )
    created_count = sum(created)
    return Ingested(
        cursor=position,
        created_count=created_count,
        updated_count=len(created) - created_count,
    )


class _PipelineIds:
    """Ids of pipelines by name for one batch; an unknown name is made known."""

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self._connection = connection
        self._now = now
        self._ids: dict[str, int] = {}

    def get(self, event: ExecutionEvent) -> int:
        name = event.pipeline
        if name not in self._ids:
            self._ids[name] = self._find(event)
        return self._ids[name]

    def _find(self, event: ExecutionEvent) -> int:
        query = "SELECT id FROM pipelines WHERE name = ?"
        row = self._connection.execute(query, (rules.normalised(event.pipeline),)).fetchone()
        if row is not None:
            return int(row["id"])
        return pipelines.create(
            self._connection, event.pipeline, event.pipeline_type_name, self._now
        )


def _apply(
    connection: sqlite3.Connection, known: _PipelineIds, event: ExecutionEvent, now: int
) -> bool:
    row = executions.find_by_key(connection, event.key)
    if row is None:
        executions.insert(connection, _first_seen(connection, known.get(event), event, now))
        row = executions.find_by_key(connection, event.key)
        assert row is not None
        _update(connection, row, event, now)
        return True
    _update(connection, row, event, now)
    return False


def _first_seen(
    connection: sqlite3.Connection, pipeline_id: int, event: ExecutionEvent, now: int
) -> dict[str, Any]:
    return {
        "key": event.key,
        "pipeline_id": pipeline_id,
        "state": State.QUEUED,
        "state_at": 0,
        "created_at": now,
        **executions.linked(connection, "parent", event.parent_key),
        **executions.linked(connection, "continues", event.continues_key),
    }


def _update(
    connection: sqlite3.Connection, row: sqlite3.Row, event: ExecutionEvent, now: int
) -> None:
    if State(row["state"]).final:
        _keep_late_end(connection, row, event)
        return
    columns = {name: value for name, value in _told(row, event).items() if value is not None}
    for link, key in (("parent", event.parent_key), ("continues", event.continues_key)):
        if row[f"{link}_id"] is None and row[f"{link}_key"] is None:
            columns |= executions.linked(connection, link, key)
    at = micros(event.at)
    if event.state.final:
        executions.close(connection, row, event.state, {"ended_at": at} | columns, now)
        return
    if at >= row["state_at"]:
        columns |= {"state": event.state, "state_at": at}
    executions.change(
        connection, row["id"], columns | executions.lease_columns(event.lease_seconds, now)
    )


def _told(row: sqlite3.Row, event: ExecutionEvent) -> dict[str, Any]:
    error = event.error
    first_running = event.state is State.RUNNING and row["started_at"] is None
    started_at = event.started_at or (event.at if first_running else None)
    return {
        "started_at": started_at and micros(started_at),
        "ended_at": event.ended_at and micros(event.ended_at),
        **event.metrics.model_dump(),
        "watermark": watermark.dump(event.watermark),
        "next_watermark": watermark.dump(event.next_watermark),
        "execution_metadata": json_text(_together(row, event)),
        "error_type": error and error.type,
        "error_message": error and error.message,
        "error_traceback": error and error.traceback,
    }


def _together(row: sqlite3.Row, event: ExecutionEvent) -> dict[str, Any] | None:
    """Metadata told before and what this event adds to it."""
    if event.metadata is None:
        return None
    return {**(json_object(row["execution_metadata"]) or {}), **event.metadata}


def _keep_late_end(connection: sqlite3.Connection, row: sqlite3.Row, event: ExecutionEvent) -> None:
    crashed = State(row["state"]) is State.CRASHED and event.state is not State.CRASHED
    if not (crashed and event.state.final and row["superseded_end"] is None):
        return
    late = EndExecution(
        key=event.key,
        execution_id=row["id"],
        completed_successfully=event.state is State.SUCCEEDED,
        cancelled=event.state is State.CANCELLED,
        ended_at=event.ended_at or event.at,
        **event.metrics.model_dump(),
        execution_metadata=event.metadata,
        next_watermark=event.next_watermark,
        error=event.error,
    )
    executions.keep_superseded(connection, row, late)
