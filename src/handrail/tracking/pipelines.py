"""Pipelines and their lineage in the tracking database.

The functions work inside a transaction of the caller; `now` is in microseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from handrail.tracking import refusals, rules, watermark
from handrail.tracking.declared import Address, AddressLineage
from handrail.tracking.rows import json_object, json_text, pipeline_view
from handrail.tracking.wire import (
    AddressLineageSynced,
    PipelineSynced,
    PipelineView,
    SyncAddressLineage,
    SyncPipeline,
    UpdatePipeline,
)

#: Ids that can be in a column.
PIPELINE_IDS = range(1, 2**63)

#: Columns that the success of an execution may set.
MOVED = (
    "load_lineage",
    "watermark",
    "next_watermark",
    "last_target_insert",
    "last_target_update",
    "last_target_soft_delete",
)

_VIEW = """
    SELECT p.*, e.id AS last_execution_id, e.state AS last_state, e.started_at AS last_started_at
    FROM pipelines p LEFT JOIN executions e
        ON e.id = (SELECT max(id) FROM executions WHERE pipeline_id = p.id)
"""


def find(connection: sqlite3.Connection, which: int | str) -> sqlite3.Row:
    """The row of a pipeline by id or name.

    Raises:
        WatcherAPIError: there is none (404).
    """
    column, value = ("id", which) if isinstance(which, int) else ("name", rules.normalised(which))
    query = f"SELECT * FROM pipelines WHERE {column} = ?"
    row: sqlite3.Row | None = None
    if not isinstance(which, int) or which in PIPELINE_IDS:
        row = connection.execute(query, (value,)).fetchone()
    if row is None:
        raise refusals.unknown_pipeline(which)
    return row


def view(connection: sqlite3.Connection, which: int | str) -> PipelineView:
    """One pipeline as shown."""
    found = find(connection, which)
    return pipeline_view(connection.execute(_VIEW + "WHERE p.id = ?", (found["id"],)).fetchone())


def views(connection: sqlite3.Connection) -> tuple[PipelineView, ...]:
    """All pipelines as shown, by name."""
    return tuple(map(pipeline_view, connection.execute(_VIEW + "ORDER BY p.name")))


def create(connection: sqlite3.Connection, name: str, type_name: str, now: int) -> int:
    """Creates a pipeline; its id."""
    columns = {"name": rules.normalised(name), **made(type_name, now)}
    created = connection.execute(
        f"INSERT INTO pipelines ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
        tuple(columns.values()),
    )
    assert created.lastrowid is not None
    return created.lastrowid


def made(type_name: str, now: int) -> dict[str, Any]:
    """The columns, besides its name, of a pipeline that an execution makes known."""
    return {
        **dict.fromkeys(MOVED),
        "pipeline_type_name": rules.normalised(type_name),
        "load_lineage": 1,
        "created_at": now,
        "updated_at": now,
    }


def differing(
    row: sqlite3.Row | Mapping[str, Any], told: Mapping[str, Any], now: int
) -> dict[str, Any]:
    """The columns of `told` that differ from the row, with the time of their change."""
    columns = {name: value for name, value in told.items() if row[name] != value}
    return columns | {"updated_at": now} if columns else {}


def change(
    connection: sqlite3.Connection, row: sqlite3.Row, told: Mapping[str, Any], now: int
) -> None:
    """Writes the columns of `told` that differ from the row; `updated_at` tells if any did."""
    columns = differing(row, told, now)
    if columns:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        connection.execute(
            f"UPDATE pipelines SET {assignments} WHERE id = ?", (*columns.values(), row["id"])
        )


def _columns(request: SyncPipeline | UpdatePipeline, fields: set[str]) -> dict[str, Any]:
    columns: dict[str, Any] = {name: getattr(request, name) for name in fields}
    for name in {"watermark", "next_watermark"} & fields:
        columns[name] = watermark.dump(columns[name])
    if "pipeline_metadata" in fields:
        columns["pipeline_metadata"] = json_text(columns["pipeline_metadata"])
    return columns


def sync(connection: sqlite3.Connection, request: SyncPipeline, now: int) -> PipelineSynced:
    """Creates or updates a pipeline by name; see `SyncPipeline`."""
    query = "SELECT id FROM pipelines WHERE name = ?"
    known = connection.execute(query, (rules.normalised(request.name),)).fetchone()
    pipeline_id = known["id"] if known else create(
        connection, request.name, request.pipeline_type_name, now
    )  # fmt: skip
    row = find(connection, pipeline_id)
    columns = _columns(request, request.model_fields_set - {"key", "name", "lineage_digest"})
    columns["pipeline_type_name"] = rules.normalised(request.pipeline_type_name)
    if request.next_watermark is None:
        columns.pop("next_watermark", None)
    change(connection, row, columns, now)
    digest = request.lineage_digest
    return PipelineSynced(
        id=pipeline_id,
        active=bool(row["active"]),
        load_lineage=bool(row["load_lineage"])
        or (digest is not None and digest != row["lineage_digest"]),
        watermark=watermark.load(row["watermark"]),
        created=known is None,
    )


def update(connection: sqlite3.Connection, request: UpdatePipeline, now: int) -> PipelineView:
    """Changes the fields that are set; see `UpdatePipeline`."""
    which = request.id if request.id is not None else request.name
    assert which is not None
    row = find(connection, which)
    fields = request.model_fields_set - {"key", "id", "name"}
    columns = _columns(request, fields)
    for name in ("active", "load_lineage"):
        if columns.get(name, False) is None:
            del columns[name]
    change(connection, row, columns, now)
    return view(connection, row["id"])


# Lineage


def sync_lineage(
    connection: sqlite3.Connection, request: SyncAddressLineage, now: int
) -> AddressLineageSynced:
    """Replaces the lineage of a pipeline, unless it is settled and the same as stored."""
    row = find(connection, request.pipeline_id)
    digest = rules.lineage_digest(request.source_addresses, request.target_addresses)
    if not row["load_lineage"] and digest == row["lineage_digest"]:
        return AddressLineageSynced(
            pipeline_id=row["id"], lineage_relationships_created=0, message="lineage is unchanged"
        )
    connection.execute("DELETE FROM lineage WHERE pipeline_id = ?", (row["id"],))
    sources = _link(connection, row["id"], "source", request.source_addresses, now)
    targets = _link(connection, row["id"], "target", request.target_addresses, now)
    change(connection, row, {"lineage_digest": digest}, now)
    return AddressLineageSynced(
        pipeline_id=row["id"],
        lineage_relationships_created=sources * targets,
        message=f"lineage of {sources} sources and {targets} targets is stored",
    )


def _link(
    connection: sqlite3.Connection,
    pipeline_id: int,
    side: str,
    addresses: tuple[Address, ...],
    now: int,
) -> int:
    kept = [_keep_address(connection, rules.located(address), now) for address in addresses]
    linked = list(dict.fromkeys(kept))
    connection.executemany(
        "INSERT INTO lineage (pipeline_id, side, position, address_id) VALUES (?, ?, ?, ?)",
        [(pipeline_id, side, place, address_id) for place, address_id in enumerate(linked)],
    )
    return len(linked)


def _keep_address(connection: sqlite3.Connection, address: Address, now: int) -> int:
    columns = {
        **address.model_dump(exclude={"address_metadata"}),
        "address_metadata": json_text(address.address_metadata),
    }
    names = tuple(columns)
    updates = ", ".join(f"{name} = excluded.{name}" for name in names)
    differs = " OR ".join(f"{name} IS NOT excluded.{name}" for name in names)
    connection.execute(
        f"INSERT INTO addresses ({', '.join(names)}, created_at, updated_at)"
        f" VALUES ({', '.join('?' * len(names))}, ?, ?)"
        f" ON CONFLICT (name) DO UPDATE SET {updates}, updated_at = excluded.updated_at"
        f" WHERE {differs}",
        (*columns.values(), now, now),
    )
    query = "SELECT id FROM addresses WHERE name = ?"
    address_id: int = connection.execute(query, (address.name,)).fetchone()["id"]
    return address_id


def lineage(connection: sqlite3.Connection, pipeline_id: int) -> AddressLineage:
    """The stored lineage of a pipeline."""
    find(connection, pipeline_id)
    rows = connection.execute(
        "SELECT l.side, a.* FROM lineage l JOIN addresses a ON a.id = l.address_id"
        " WHERE l.pipeline_id = ? ORDER BY l.side, l.position",
        (pipeline_id,),
    ).fetchall()
    sides: dict[str, list[Address]] = {"source": [], "target": []}
    for row in rows:
        fields = {name: row[name] for name in Address.model_fields}
        fields["address_metadata"] = json_object(fields["address_metadata"])
        sides[row["side"]].append(Address(**fields))
    return AddressLineage(source_addresses=sides["source"], target_addresses=sides["target"])
