"""Executions as shown: one with its children, and pages of many.

The functions work inside a transaction of the caller.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from handrail.tracking import executions, pipelines
from handrail.tracking.rows import LISTED, SHOWN, execution, execution_fields
from handrail.tracking.wire import Execution, ExecutionDetail, ExecutionPage, State

#: How many children come with an execution; the others are listed by parent.
CHILDREN_SHOWN = 200


def detail(connection: sqlite3.Connection, execution_id: int) -> ExecutionDetail:
    """One execution with its traceback and its first children."""
    found = executions.find(connection, execution_id)
    row = connection.execute(SHOWN + "WHERE e.id = ?", (found["id"],)).fetchone()
    children = connection.execute(
        LISTED + "WHERE e.parent_id = ? ORDER BY e.id LIMIT ?", (found["id"], CHILDREN_SHOWN)
    )
    return ExecutionDetail(**execution_fields(row), children=tuple(map(execution, children)))


def page(
    connection: sqlite3.Connection,
    *,
    pipeline: int | str | None,
    state: State | None,
    parent: int | None,
    limit: int,
    before: int | None,
) -> ExecutionPage:
    """Executions, latest first; `before` is the id that the page starts below."""
    conditions: dict[str, Any] = {}
    if pipeline is not None:
        conditions["e.pipeline_id = ?"] = pipelines.find(connection, pipeline)["id"]
    if state is not None:
        conditions["e.state = ?"] = State(state)
    if parent is not None:
        conditions["e.parent_id = ?"] = executions.find(connection, parent)["id"]
    if before is not None:
        conditions["e.id < ?"] = before
    where = " WHERE " + " AND ".join(conditions) if conditions else ""
    rows = connection.execute(
        f"{LISTED}{where} ORDER BY e.id DESC LIMIT ?", (*conditions.values(), limit + 1)
    ).fetchall()
    shown: tuple[Execution, ...] = tuple(map(execution, rows[:limit]))
    return ExecutionPage(executions=shown, next_before=shown[-1].id if len(rows) > limit else None)
