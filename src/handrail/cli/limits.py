"""`handrail limits`: what is limited, who holds places, and when the next start is due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handrail.cli.output import Column
from handrail.cli.shell import Shell, shell_of
from handrail.cli.text import duration, short_ids

if TYPE_CHECKING:
    from handrail.contracts.limits import Limit
    from handrail.keep.base import Journal
    from handrail.keep.limits import Holder

_COLUMNS = (
    Column("tag", style="bold"),
    Column("limit"),
    Column("held", is_right=True),
    Column("next start", is_right=True),
    Column("by", gives_way=True, style="dim"),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """One tag."""

    tag: str
    #: None: a workflow or a task declares it, no setting.
    limit: Limit | None
    #: With the names of their tasks; empty where it is not known.
    holders: list[tuple[Holder, str]]
    due_seconds: float


def add_to(application: typer.Typer) -> None:
    """Adds the command."""
    application.command("limits")(limits)


def limits(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List limits by tag, and who holds places.

    \b
    handrail limits
    HANDRAIL_LIMITS="db=2;api=10/s" handrail limits
    """
    from handrail.contracts.limits import read_limits

    shell = shell_of(context)
    settings = shell.settings
    known = read_limits(settings.limits, settings.origin("limits"))
    rows = (
        _rows(shell, known) if shell.has_home else [_Row(tag, known[tag], [], 0.0) for tag in known]
    )
    if as_json:
        shell.screen.json([_as_data(row) for row in rows])
    elif rows:
        ids = short_ids([holder.run_id for row in rows for holder, _ in row.holders])
        shell.screen.table(_COLUMNS, [_cells(row, ids) for row in rows])
    else:
        shell.screen.note("No limits: none is set, and none is in use.")


def _rows(shell: Shell, known: dict[str, Limit]) -> list[_Row]:
    from handrail.keep.limits import SqlLimiter

    journal = shell.kept().journal
    limiter = SqlLimiter(journal)
    rows = []
    for tag in sorted({*known, *limiter.tags()}):
        holders = [(holder, _task(journal, holder)) for holder in limiter.holders(tag)]
        rows.append(_Row(tag, known.get(tag), holders, limiter.due_seconds(tag)))
    return rows


def _task(journal: Journal, holder: Holder) -> str:
    """The task of an attempt; empty if the journal has not been told of it yet."""
    for stored in journal.events(holder.run_id):
        if stored.event.attempt == holder.attempt_id:
            return stored.event.task
    return ""


def _cells(row: _Row, ids: dict[str, str]) -> tuple[str, ...]:
    by = [f"{ids[holder.run_id]}/{task}".rstrip("/") for holder, task in row.holders]
    return (
        row.tag,
        str(row.limit) if row.limit is not None else "",
        str(len(by)) if by or (row.limit is not None and row.limit.at_once is not None) else "",
        f"in {duration(row.due_seconds)}" if row.due_seconds else "",
        ", ".join(by),
    )


def _as_data(row: _Row) -> dict[str, Any]:
    limit = row.limit
    return {
        "tag": row.tag,
        "at_once": limit.at_once if limit is not None else None,
        "count": limit.count if limit is not None else None,
        "per_seconds": limit.per_seconds if limit is not None else None,
        "due_seconds": row.due_seconds,
        "holders": [
            {"run_id": holder.run_id, "task": task, "attempt_id": holder.attempt_id}
            for holder, task in row.holders
        ],
    }
