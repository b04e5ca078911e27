"""What the end of an execution writes: columns of the execution and of its pipeline."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from handrail.tracking import rules, watermark
from handrail.tracking.rows import json_text
from handrail.tracking.wire import EndExecution, State

#: Which column of a pipeline tells when rows of that kind were last written.
_STAMPS = (
    ("inserts", "last_target_insert"),
    ("updates", "last_target_update"),
    ("soft_deletes", "last_target_soft_delete"),
)


def ended(row: Mapping[str, Any], state: State, now: int) -> dict[str, Any]:
    """The columns that make an open execution final."""
    final = {"state": state.value, "state_at": now}
    return final if row.get("lease_expires_at") is None else {**final, "lease_expires_at": None}


def moved(
    row: Mapping[str, Any], pipeline: sqlite3.Row | Mapping[str, Any], columns: Mapping[str, Any]
) -> dict[str, Any]:
    """The columns of a pipeline after the success of its execution `row` with these `columns`.

    Its watermark is among them if it is promoted.
    """
    next_watermark = columns.get("next_watermark", row.get("next_watermark"))
    told: dict[str, Any] = {"load_lineage": 0}
    if next_watermark is not None and rules.promotes(
        State.SUCCEEDED,
        watermark.load(next_watermark),
        compare=bool(row.get("compare_watermark")),
        base=watermark.load(row.get("base_watermark")),
        current=watermark.load(pipeline["watermark"]),
    ):
        told["watermark"] = next_watermark
        if pipeline["next_watermark"] == next_watermark:
            told["next_watermark"] = None
    for count, stamp in _STAMPS:
        if columns.get(count):
            told[stamp] = max(pipeline[stamp] or 0, columns["ended_at"])
    return told


def superseded(request: EndExecution) -> dict[str, Any]:
    """The columns that keep an end beside the verdict it came too late for."""
    kept = json_text(request.model_dump(mode="json", exclude_none=True))
    return {"superseded_end": kept, "end_key": request.key}
