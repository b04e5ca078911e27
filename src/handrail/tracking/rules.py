"""Decisions of tracking: pure functions over values, shared by every store.

What an end does to an execution:

    state on record     the end                          verdict
    queued..waiting     any                              ACCEPTED
    final               the same as recorded             REPEATED: answered as before
    crashed             first one after the verdict      SUPERSEDED: kept beside the verdict
    final               anything else                    CONFLICT: refused
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from handrail.tracking.declared import Address
from handrail.tracking.metadata import plain
from handrail.tracking.watermark import Position
from handrail.tracking.wire import EndExecution, State


def normalised(name: str) -> str:
    """The spelling that names are compared and kept by: trimmed, in lower case."""
    return name.strip().lower()


# Ends


class EndVerdict(Enum):
    ACCEPTED = "accepted"
    REPEATED = "repeated"
    SUPERSEDED = "superseded"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class Outcome:
    """What two ends must share to be the same end."""

    state: State
    inserts: int | None = None
    updates: int | None = None
    soft_deletes: int | None = None
    total_rows: int | None = None
    execution_metadata: dict[str, Any] | None = None
    error_type: str | None = None
    error_message: str | None = None


def outcome(end: EndExecution) -> Outcome:
    """The outcome that an end tells."""
    return Outcome(
        end.state,
        end.inserts,
        end.updates,
        end.soft_deletes,
        end.total_rows,
        end.execution_metadata,
        end.error.type if end.error else None,
        end.error.message if end.error else None,
    )


def judge_end(
    state: State,
    recorded: Outcome | None,
    recorded_key: str | None,
    told: Outcome,
    told_key: str,
) -> EndVerdict:
    """What an end does to an execution in `state` whose end so far is `recorded`.

    For a crashed execution `recorded` is the end kept as superseded, if there is one.
    """
    if not state.final:
        return EndVerdict.ACCEPTED
    if recorded is not None and (told_key == recorded_key or told == recorded):
        return EndVerdict.REPEATED
    if state is State.CRASHED and recorded is None:
        return EndVerdict.SUPERSEDED
    return EndVerdict.CONFLICT


# Watermarks


def base_watermark(told: Position | None, current: Position | None) -> Position | None:
    """What an execution started from: what it says, or where the pipeline stood.

    While the pipeline has none, an execution can only have started from a default.
    """
    return current if told is None or current is None else told


def promotes(
    state: State,
    next_watermark: Position | None,
    *,
    compare: bool = False,
    base: Position | None = None,
    current: Position | None = None,
) -> bool:
    """Whether an execution that ended moves its pipeline's watermark to `next_watermark`.

    Only a success does, and one without a next watermark leaves the pipeline's as it is. With
    `compare` the pipeline must still be where the execution started from.
    """
    if state is not State.SUCCEEDED or next_watermark is None:
        return False
    return not compare or base == current


# Times and rows


def settled_start(told: int | None, now: int) -> int:
    """When an execution started: as told, never in the future. Times are in microseconds."""
    return now if told is None else min(told, now)


def settled_end(started_at: int | None, told: int | None, now: int) -> int:
    """When an execution ended: as told, never in the future and never before its start."""
    ended_at = now if told is None else min(told, now)
    return ended_at if started_at is None else max(ended_at, started_at)


def duration_seconds(started_at: datetime | None, ended_at: datetime | None) -> float | None:
    """How long an execution took, once it has ended."""
    if started_at is None or ended_at is None:
        return None
    return max(0.0, (ended_at - started_at).total_seconds())


def throughput(total_rows: int | None, seconds: float | None) -> float | None:
    """Rows per second; None where it cannot be known."""
    return total_rows / seconds if total_rows is not None and seconds else None


# Leases


def lease_expired(
    state: State, lease_seconds: float | None, lease_expires_at: int | None, now: int
) -> bool:
    """Whether an execution is to be judged crashed: it is open, has a lease, and let it pass."""
    if state.final or lease_seconds is None or lease_expires_at is None:
        return False
    return lease_expires_at <= now


# Addresses


def located(address: Address) -> Address:
    """The address with normalised names; a database's "a.b.c" also tells its three parts."""
    address = address.model_copy(
        update={
            field: normalised(getattr(address, field))
            for field in ("name", "address_type_name", "address_type_group_name")
        }
    )
    parts = address.name.split(".")
    said = address.database_name or address.schema_name or address.table_name
    if address.address_type_group_name != "database" or len(parts) != 3 or said:
        return address
    return address.model_copy(
        update=dict(zip(("database_name", "schema_name", "table_name"), parts, strict=True))
    )


def lineage_digest(sources: Iterable[Address], targets: Iterable[Address]) -> str:
    """SHA-256 (hex) of a lineage in canonical JSON, the same in every process."""
    sides = [[located(address).model_dump() for address in side] for side in (sources, targets)]
    text = json.dumps(plain(sides), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
