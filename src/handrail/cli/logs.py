"""`handrail logs`: what the bodies of a run printed and logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.cells import cell_len
from rich.text import Text

from handrail.cli.output import Screen
from handrail.cli.shell import shell_of
from handrail.cli.text import block, clock, visible

if TYPE_CHECKING:
    from handrail.run.output import LogEntry

_STYLES = {"stderr": "yellow", "log": "cyan"}


def add_to(application: typer.Typer) -> None:
    """Adds the command."""
    application.command("logs")(logs)


def logs(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="Only of this task.")] = None,
    is_following: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more until the run is over.")
    ] = False,
) -> None:
    """Show what the tasks of a run printed and logged.

    Each line is: time task | text

    \b
    handrail logs 06dx3k8c
    handrail logs -f 06dx3k8c clean
    """
    from handrail.cli.show import history_of
    from handrail.errors import UnknownTaskError
    from handrail.run.output import read_log

    shell = shell_of(context)
    runtime = shell.kept()
    run = history_of(runtime, run_id)
    names = [known.name for known in run.tasks]
    if task is not None and task not in names:
        raise UnknownTaskError(task, names)
    path = runtime.home.run_log(run.run_id)
    width = max((cell_len(visible(name)) for name in names), default=0) if task is None else 0

    def is_over() -> bool:
        return not runtime.is_alive(run.run_id)

    for entry in read_log(path, task, is_following, is_over):
        _show(shell.screen, entry, width)


def _show(screen: Screen, entry: LogEntry, width: int) -> None:
    task = visible(entry.task)
    padding = " " * (width - cell_len(task))
    for line in block(entry.text.removesuffix("\n")).split("\n"):
        head = Text(f"{clock(entry.at)} {task}{padding} | ", "dim")
        screen.say(head.append(line, f"not dim {_STYLES.get(entry.stream, '')}".strip()))
    screen.out.file.flush()
