"""Leases in the tracking database: heartbeats, and the verdict on those that stay away.

The functions work inside a transaction of the caller; `now` is in microseconds.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from handrail.errors import WatcherAPIError
from handrail.tracking import executions, rules
from handrail.tracking.rows import as_mapping
from handrail.tracking.wire import Heartbeat, HeartbeatAnswered, State


def heartbeat(connection: sqlite3.Connection, request: Heartbeat, now: int) -> HeartbeatAnswered:
    """Renews leases; the states tell which executions are over."""
    states = {}
    for execution_id in request.execution_ids:
        try:
            row = executions.find(connection, execution_id)
        except WatcherAPIError:
            continue
        states[execution_id] = state = State(row["state"])
        if not state.final and row["lease_seconds"] is not None:
            executions.change(
                connection, row["id"], executions.lease_columns(row["lease_seconds"], now)
            )
    return HeartbeatAnswered(states=states)


def any_expired(connection: sqlite3.Connection, now: int) -> bool:
    """Whether `reap` would find anything."""
    query = "SELECT 1 FROM executions WHERE lease_expires_at <= ? LIMIT 1"
    return connection.execute(query, (now,)).fetchone() is not None


def reap(connection: sqlite3.Connection, now: int) -> tuple[int, ...]:
    """Judges crashed the executions whose lease has expired; their ids."""
    query = "SELECT * FROM executions WHERE lease_expires_at <= ? ORDER BY id"
    reaped = []
    for row in connection.execute(query, (now,)).fetchall():
        state, expires_at = State(row["state"]), row["lease_expires_at"]
        if rules.lease_expired(state, row["lease_seconds"], expires_at, now):
            executions.close(connection, as_mapping(row), State.CRASHED, _crash(row), now)
            reaped.append(int(row["id"]))
    return tuple(reaped)


def _crash(row: sqlite3.Row) -> dict[str, Any]:
    return {
        # It died somewhere between its last heartbeat and then; the later one is certain.
        "ended_at": row["lease_expires_at"],
        "error_type": "LeaseExpired",
        "error_message": f"No heartbeat for {row['lease_seconds']:g} s: the process is taken to "
        f"have died.",
    }
