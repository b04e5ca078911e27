"""`handrail tracking`: the executions and pipelines that the embedded tracker knows."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handrail.cli.output import Column
from handrail.cli.shell import Shell, shell_of
from handrail.cli.text import duration, first_line

if TYPE_CHECKING:
    from handrail.tracking.store import SqliteTrackingStore
    from handrail.tracking.wire import Execution, PipelineView

AsJson = Annotated[bool, typer.Option("--json", help="Print them as JSON.")]

_EXECUTIONS = (
    Column("id", is_right=True),
    Column("pipeline", gives_way=True),
    Column("state", is_state=True),
    Column("parent", is_right=True, style="dim"),
    Column("started"),
    Column("took", is_right=True),
    Column("rows", is_right=True),
    Column("watermark", gives_way=True),
    Column("error", gives_way=True, style="dim"),
)
_PIPELINES = (
    Column("id", is_right=True),
    Column("pipeline", gives_way=True),
    Column("type", style="dim"),
    Column("last", is_state=True),
    Column("started"),
    Column("watermark", gives_way=True),
)

tracking = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List what tracking knows.\n\n\b\n"
    "handrail tracking executions\n"
    "handrail tracking pipelines",
)


def add_to(application: typer.Typer) -> None:
    """Adds the commands."""
    application.add_typer(tracking, name="tracking")


@tracking.command()
def executions(
    context: typer.Context,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", metavar="NAME", help="Only of this one.")
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", "-s", metavar="STATE", help="Only in this state.")
    ] = None,
    count: Annotated[
        int, typer.Option("-n", min=1, max=1000, metavar="N", help="How many, at most.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """List executions, latest first.

    Each is shown with its parent, the execution that it belongs to.

    \b
    handrail tracking executions --pipeline flights
    """
    from handrail.contracts.event import STATES

    if state is not None and state not in STATES:
        raise typer.BadParameter(
            f"{state!r}: expected one of {', '.join(STATES)}", param_hint="--state"
        )
    shell = shell_of(context)
    found = _told(shell).executions(pipeline, state, limit=count).executions
    if as_json:
        shell.screen.json([execution.model_dump(mode="json") for execution in found])
    elif found:
        shell.screen.table(_EXECUTIONS, [_execution_row(execution) for execution in found])
    else:
        shell.screen.note("No such executions.")


@tracking.command()
def pipelines(context: typer.Context, as_json: AsJson = False) -> None:
    """List pipelines, with their latest execution and their watermark.

    \b
    handrail tracking pipelines
    """
    shell = shell_of(context)
    found = _told(shell).pipelines()
    if as_json:
        shell.screen.json([pipeline.model_dump(mode="json") for pipeline in found])
    elif found:
        shell.screen.table(_PIPELINES, [_pipeline_row(pipeline) for pipeline in found])
    else:
        shell.screen.note("No pipelines.")


def _told(shell: Shell) -> SqliteTrackingStore:
    """The tracker, after it was told what the journal has for it."""
    runtime = shell.kept()
    runtime.tell()
    runtime.tracking.reap()
    return runtime.tracking


def _execution_row(execution: Execution) -> tuple[str, ...]:
    error = execution.error
    return (
        str(execution.id),
        execution.pipeline_name,
        execution.state.value,
        _text(execution.parent_execution_id),
        _local(execution.started_at),
        "" if execution.duration_seconds is None else duration(execution.duration_seconds),
        _text(execution.total_rows),
        _moved(execution),
        f"{error.type}: {first_line(error.message)}" if error else "",
    )


def _moved(execution: Execution) -> str:
    before, after = _text(execution.watermark), _text(execution.next_watermark)
    return f"{before or 'none'} → {after}" if execution.watermark_promoted else before


def _pipeline_row(pipeline: PipelineView) -> tuple[str, ...]:
    return (
        str(pipeline.id),
        pipeline.name,
        pipeline.pipeline_type_name,
        pipeline.last_state.value if pipeline.last_state else "",
        _local(pipeline.last_started_at),
        _text(pipeline.watermark),
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _local(at: datetime | None) -> str:
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
