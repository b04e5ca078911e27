"""The command `handrail`: its commands, its global options, and what errors become."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from handrail.cli import (
    doctor,
    graphs,
    limits,
    logs,
    questions,
    running,
    runs,
    show,
    tracking,
    workspaces,
)
from handrail.cli.output import Screen
from handrail.cli.running import FAILED, INTERRUPTED
from handrail.cli.shell import Shell
from handrail.errors import (
    HandrailError,
    RunNotFound,
    RuntimeConfigError,
    TaskDefinitionError,
    UnknownHandlerError,
    UnknownRefError,
    WorkflowDefinitionError,
)

#: Exit codes, besides those of `running`.
USAGE, PIPE_CLOSED = 2, 141

#: Errors that say: a name or a value on the command line is wrong.
_USAGE_ERRORS = (
    WorkflowDefinitionError,
    TaskDefinitionError,
    RuntimeConfigError,
    UnknownHandlerError,
    RunNotFound,
    UnknownRefError,
)
#: Options of `handrail` itself that may also stand behind the command, with their value count.
_GLOBAL_OPTIONS = {"--home": 1, "--no-color": 0, "--debug": 0}


class _Commands(TyperGroup):
    """Turns errors into one line and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _global_first(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except HandrailError as error:
            raise typer.Exit(_explain(ctx, error)) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            raise typer.Exit(_without_stdout()) from error


def _global_first(args: list[str]) -> list[str]:
    front: list[str] = []
    rest: list[str] = []
    remaining = list(args)
    while remaining:
        word = remaining.pop(0)
        name, equals, _ = word.partition("=")
        if word == "--":
            return [*front, *rest, word, *remaining]
        if name in _GLOBAL_OPTIONS:
            count = 0 if equals else _GLOBAL_OPTIONS[name]
            front += [word, *remaining[:count]]
            del remaining[:count]
        else:
            rest.append(word)
    return [*front, *rest]


def _explain(ctx: Any, error: HandrailError) -> int:
    shell = ctx.find_object(Shell)
    screen = shell.screen if shell is not None else Screen()
    if shell is not None and shell.is_debugging:
        screen.note("".join(traceback.format_exception(error)).rstrip())
    screen.error(str(error))
    return USAGE if isinstance(error, _USAGE_ERRORS) else FAILED


def _without_stdout() -> int:
    # Whoever read has had enough. What is still buffered goes nowhere, also at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED


application = typer.Typer(
    name="handrail",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"handrail {version('handrail')}")
        raise typer.Exit


@application.callback()
def handrail(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Folder that keeps everything. [.handrail]"),
    ] = None,
    no_colour: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where errors come from.")] = False,
    is_version_wanted: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
    ] = False,
) -> None:
    """Runs Python workflows, keeps every run, and shows what happened.

    \b
    handrail run flights.py            run the workflow in that file
    handrail runs                      list the runs kept here
    handrail show RUN                  see what happened in one
    handrail resume                    finish the newest that did not
    handrail cancel RUN                end one that runs, wherever it does
    handrail answer RUN                see what one asks, and answer

    A part of a run's id is enough where only one run begins with it.
    """
    shell = Shell(Screen(colour=not no_colour), home=home, is_debugging=debug)
    context.obj = shell
    context.call_on_close(shell.close)


running.add_to(application)
questions.add_to(application)
runs.add_to(application)
show.add_to(application)
logs.add_to(application)
graphs.add_to(application)
limits.add_to(application)
workspaces.add_to(application)
tracking.add_to(application)
doctor.add_to(application)
