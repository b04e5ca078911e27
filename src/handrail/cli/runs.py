"""`handrail runs`, and finding a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handrail.cli.output import Column
from handrail.cli.questions import as_data as question_data
from handrail.cli.questions import open_questions, summary
from handrail.cli.shell import Shell, shell_of
from handrail.cli.text import first_line, moment, short_ids, took

if TYPE_CHECKING:
    from handrail.app import Runtime
    from handrail.keep.base import RunRecord

#: More than any journal holds.
_ALL = 1 << 31

_COLUMNS = (
    Column("run", style="bold"),
    Column("workflow", gives_way=True),
    Column("state", is_state=True),
    Column("started"),
    Column("took", is_right=True),
    Column("reason", gives_way=True, style="dim"),
)


def add_to(application: typer.Typer) -> None:
    """Adds the command."""
    application.command("runs")(runs)


def runs(
    context: typer.Context,
    workflow: Annotated[
        str | None, typer.Option("--workflow", "-w", metavar="NAME", help="Only of this workflow.")
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", "-s", metavar="STATE", help="Only in this state.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, metavar="N", help="How many, at most.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List the runs kept here, newest first.

    \b
    handrail runs
    handrail runs --state failed --workflow flights
    """
    shell = shell_of(context)
    _check_state(state)
    if not shell.has_home:
        shell.screen.note(f"No runs: nothing is kept in {shell.settings.home}.")
        records = []
    else:
        records = _chosen(shell.kept(), workflow, state, count)
    if as_json:
        shell.screen.json(
            [{**as_data(record), "waits": _waits(shell, record)} for record in records]
        )
    elif records:
        _show(shell, records)
    elif shell.has_home:
        shell.screen.note(f"No such runs in {shell.kept().journal.place}.")


def _check_state(state: str | None) -> None:
    from handrail.contracts.event import STATES

    if state is not None and state not in STATES:
        raise typer.BadParameter(
            f"{state!r}: expected one of {', '.join(STATES)}", param_hint="--state"
        )


def _chosen(
    runtime: Runtime, workflow: str | None, state: str | None, count: int
) -> list[RunRecord]:
    """The newest records, with the states that they are in by now."""
    # A crashed run is one that the journal still calls running, unless its crash was written.
    asked = ("running", "crashed") if state == "crashed" else (state,)
    found: list[RunRecord] = []
    for kept_state in asked:
        limit = _ALL if kept_state == "running" else count
        records = runtime.journal.runs(workflow=workflow, state=kept_state, limit=limit)
        found += [with_state(runtime, record) for record in records]
    found.sort(key=lambda record: (record.started_at, record.run_id), reverse=True)
    return [record for record in found if state in (None, record.state)][:count]


def with_state(runtime: Runtime, record: RunRecord) -> RunRecord:
    """The record, its state as it is by now: `crashed` if its process is gone."""
    return replace(record, state=runtime.state_of(record))


def _show(shell: Shell, records: list[RunRecord]) -> None:
    # Ids begin with the time, so only neighbours in time can share a beginning.
    all_records = shell.runtime.journal.runs(limit=max(1000, 2 * len(records)))
    ids = short_ids([record.run_id for record in (*all_records, *records)])
    rows = [
        (
            ids[record.run_id],
            record.workflow,
            record.state,
            moment(record.started_at),
            took(record.started_at, record.finished_at),
            _why(shell.runtime, record),
        )
        for record in records
    ]
    shell.screen.table(_COLUMNS, rows)


def _why(runtime: Runtime, record: RunRecord) -> str:
    waits = open_questions(runtime, record)
    return first_line(summary(waits) if waits else record.reason or "")


def _waits(shell: Shell, record: RunRecord) -> list[dict[str, Any]]:
    return [question_data(wait) for wait in open_questions(shell.runtime, record)]


def as_data(record: RunRecord) -> dict[str, Any]:
    """A record for programs; times are milliseconds since 1970, UTC."""
    return {
        "run_id": record.run_id,
        "workflow": record.workflow,
        "reference": record.reference,
        "key": record.key,
        "state": record.state,
        "epoch": record.epoch,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "reason": record.reason,
    }
