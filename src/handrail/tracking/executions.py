"""Executions in the tracking database: how they start and end.

The functions work inside a transaction of the caller; `now` is in microseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from handrail.errors import WatcherAPIError
from handrail.tracking import endings, pipelines, refusals, rules, watermark
from handrail.tracking.rows import as_mapping, json_text, micros, recorded_outcome
from handrail.tracking.wire import (
    CLIENT_IDS,
    EndExecution,
    ExecutionEnded,
    ExecutionStarted,
    StartExecution,
    State,
    UpdateNextWatermark,
)


def find(connection: sqlite3.Connection, execution_id: int) -> sqlite3.Row:
    """The row of an execution by its id or the id its client made.

    Raises:
        WatcherAPIError: there is none (404).
    """
    column = "client_id" if execution_id in CLIENT_IDS else "id"
    query = f"SELECT * FROM executions WHERE {column} = ?"
    row: sqlite3.Row | None = None
    if execution_id in CLIENT_IDS or 0 < execution_id < CLIENT_IDS.start:
        row = connection.execute(query, (execution_id,)).fetchone()
    if row is None:
        raise refusals.unknown_execution(execution_id)
    return row


def find_by_key(connection: sqlite3.Connection, key: str) -> sqlite3.Row | None:
    """The row of an execution by its key."""
    query = "SELECT * FROM executions WHERE key = ?"
    row: sqlite3.Row | None = connection.execute(query, (key,)).fetchone()
    return row


def insert(connection: sqlite3.Connection, columns: Mapping[str, Any]) -> int:
    """Adds an execution and links those that waited for it as parent or predecessor; its id."""
    marks = ", ".join("?" * len(columns))
    inserted = connection.execute(
        f"INSERT INTO executions ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values())
    )
    execution_id = inserted.lastrowid
    assert execution_id is not None
    names = _waited_for(columns["key"], columns.get("client_id"))
    link_waiting(connection, dict.fromkeys(names, execution_id))
    return execution_id


def change(connection: sqlite3.Connection, execution_id: int, columns: Mapping[str, Any]) -> None:
    """Writes columns of an execution."""
    assignments = ", ".join(f"{name} = ?" for name in columns)
    connection.execute(
        f"UPDATE executions SET {assignments} WHERE id = ?", (*columns.values(), execution_id)
    )


# Parents may be told later than their children; those wait under the parent's key. An id that
# a client made stands for a key of its own.


def _key_of_client_id(client_id: int) -> str:
    return f"client:{client_id}"


def _waited_for(key: str, client_id: int | None) -> list[str]:
    return [key] if client_id is None else [key, _key_of_client_id(client_id)]


def link_waiting(connection: sqlite3.Connection, ids: Mapping[str, int]) -> None:
    """Links the executions that wait for these keys to the ids that the keys stand for."""
    waiting = connection.execute(_ANY_WAITING).fetchone()
    for link in ("parent", "continues"):
        if waiting[link]:
            connection.executemany(
                f"UPDATE executions SET {link}_id = ?, {link}_key = NULL"
                f" WHERE {link}_key = ? AND id <> ?",
                [(execution_id, key, execution_id) for key, execution_id in ids.items()],
            )


#: Each is answered by a glance at an index that is empty as a rule.
_ANY_WAITING = """
    SELECT EXISTS (SELECT 1 FROM executions WHERE parent_key IS NOT NULL) AS parent,
           EXISTS (SELECT 1 FROM executions WHERE continues_key IS NOT NULL) AS continues
"""


def linked(connection: sqlite3.Connection, link: str, key: str | None) -> dict[str, Any]:
    """The columns that link to the execution of that key, or wait for it."""
    if key is None:
        return {}
    row = find_by_key(connection, key)
    return {f"{link}_key": key} if row is None else {f"{link}_id": row["id"]}


def _parent(connection: sqlite3.Connection, request: StartExecution) -> dict[str, Any]:
    parent_id = request.parent_execution_id
    if parent_id is None:
        return linked(connection, "parent", request.parent_key)
    try:
        return {"parent_id": find(connection, parent_id)["id"]}
    except WatcherAPIError:
        if parent_id not in CLIENT_IDS:
            raise
        return {"parent_key": _key_of_client_id(parent_id)}


# Starting


def start(connection: sqlite3.Connection, request: StartExecution, now: int) -> ExecutionStarted:
    """Records a start; see `StartExecution`."""
    row = find_by_key(connection, request.key)
    if row is None:
        execution_id = insert(connection, _started(connection, request, now))
        row = find(connection, execution_id)
    elif request.client_execution_id is not None and row["client_id"] is None:
        # The reply to the first request was lost, and the client went on with an id of its own.
        change(connection, row["id"], {"client_id": request.client_execution_id})
        link_waiting(connection, {_key_of_client_id(request.client_execution_id): row["id"]})
    return ExecutionStarted(
        id=row["id"],
        watermark=watermark.load(row["watermark"]),
        next_watermark=watermark.load(row["next_watermark"]),
    )


def _started(connection: sqlite3.Connection, request: StartExecution, now: int) -> dict[str, Any]:
    pipeline = pipelines.find(connection, request.pipeline_id)
    current = watermark.load(pipeline["watermark"])
    from_watermark = next(
        (w for w in (request.watermark, current, request.default_watermark) if w is not None), None
    )
    base = rules.base_watermark(request.watermark, current)
    next_watermark = watermark.dump(request.next_watermark) or pipeline["next_watermark"]
    return {
        "key": request.key,
        "client_id": request.client_execution_id,
        "pipeline_id": pipeline["id"],
        **_parent(connection, request),
        "state": State.RUNNING,
        "state_at": now,
        "created_at": now,
        "started_at": rules.settled_start(_column(request.started_at), now),
        "watermark": watermark.dump(from_watermark),
        "next_watermark": next_watermark,
        "base_watermark": watermark.dump(base),
        "compare_watermark": request.compare_watermark,
        **lease_columns(request.lease_seconds, now),
    }


def _column(told: datetime | None) -> int | None:
    return None if told is None else micros(told)


def lease_columns(lease_seconds: float | None, now: int) -> dict[str, Any]:
    """The columns of a lease that begins now; none without one."""
    if lease_seconds is None:
        return {}
    return {
        "lease_seconds": lease_seconds,
        "lease_expires_at": now + round(lease_seconds * 1_000_000),
    }


def update_next_watermark(
    connection: sqlite3.Connection, request: UpdateNextWatermark, now: int
) -> None:
    """Sets where a pipeline goes next; see `UpdateNextWatermark`."""
    pipeline = pipelines.find(connection, request.pipeline_id)
    text = watermark.dump(request.next_watermark)
    pipelines.change(connection, pipeline, {"next_watermark": text}, now)
    execution_id = _open_execution(connection, request)
    if execution_id is not None:
        change(connection, execution_id, {"next_watermark": text})


def _open_execution(connection: sqlite3.Connection, request: UpdateNextWatermark) -> int | None:
    if request.execution_id is not None:
        row = find(connection, request.execution_id)
        if row["pipeline_id"] != request.pipeline_id:
            raise refusals.execution_of_another_pipeline(row["id"], request.pipeline_id)
        return None if State(row["state"]).final else int(row["id"])
    found = connection.execute(
        # The plus keeps SQLite to the index on state: few executions are open at a time.
        "SELECT id FROM executions WHERE state IN ('queued', 'running', 'waiting')"
        " AND +pipeline_id = ? LIMIT 2",
        (request.pipeline_id,),
    ).fetchall()
    return int(found[0]["id"]) if len(found) == 1 else None


# Ending


def end(connection: sqlite3.Connection, request: EndExecution, now: int) -> ExecutionEnded:
    """Records an end as `rules.judge_end` decides.

    Raises:
        WatcherAPIError: unknown execution (404), or it has ended otherwise (409).
    """
    row = find(connection, request.execution_id)
    state = State(row["state"])
    told = rules.outcome(request)
    verdict = rules.judge_end(state, recorded_outcome(row), row["end_key"], told, request.key)
    if verdict is rules.EndVerdict.CONFLICT:
        raise refusals.contradicting_end(row["id"], state, told.state)
    if verdict is rules.EndVerdict.ACCEPTED:
        _close(connection, as_mapping(row), request, now)
    if verdict is rules.EndVerdict.SUPERSEDED:
        change(connection, row["id"], endings.superseded(request))
    return _ended(find(connection, row["id"]))


def _ended(row: sqlite3.Row) -> ExecutionEnded:
    return ExecutionEnded(
        id=row["id"],
        state=State(row["state"]),
        superseded=row["superseded_end"] is not None,
        watermark_promoted=bool(row["watermark_promoted"]),
    )


def _close(
    connection: sqlite3.Connection, row: Mapping[str, Any], request: EndExecution, now: int
) -> None:
    ended_at = rules.settled_end(row["started_at"], _column(request.ended_at), now)
    error = request.error
    close(
        connection,
        row,
        request.state,
        {
            "ended_at": ended_at,
            "inserts": request.inserts,
            "updates": request.updates,
            "soft_deletes": request.soft_deletes,
            "total_rows": request.total_rows,
            "execution_metadata": json_text(request.execution_metadata),
            "next_watermark": watermark.dump(request.next_watermark) or row["next_watermark"],
            "end_key": request.key,
            "error_type": error and error.type,
            "error_message": error and error.message,
            "error_traceback": error and error.traceback,
        },
        now,
    )


def close(
    connection: sqlite3.Connection,
    row: Mapping[str, Any],
    state: State,
    columns: Mapping[str, Any],
    now: int,
) -> None:
    """Makes an open execution final; a success also moves its pipeline on."""
    final = {**columns, **endings.ended(row, state, now)}
    if state is State.SUCCEEDED:
        pipeline = pipelines.find(connection, row["pipeline_id"])
        told = endings.moved(row, pipeline, final)
        final["watermark_promoted"] = "watermark" in told
        pipelines.change(connection, pipeline, told, now)
    change(connection, row["id"], final)
