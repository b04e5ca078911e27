"""`handrail answer`, and questions of runs as other commands show them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handrail.cli.output import Column
from handrail.cli.shell import Shell, shell_of
from handrail.cli.text import counted, visible
from handrail.cli.values import from_word

if TYPE_CHECKING:
    from handrail.app import Runtime
    from handrail.keep.base import RunRecord
    from handrail.run.waits import Wait

_COLUMNS = (
    Column("task", style="bold"),
    Column("question", gives_way=True),
    Column("answer", gives_way=True, style="dim"),
)


def add_to(application: typer.Typer) -> None:
    """Adds the command."""
    application.command("answer")(answer)


def answer(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run that asks.")],
    value: Annotated[
        str | None,
        typer.Argument(
            metavar="VALUE",
            help="yes or no, one of the options, a text, or JSON; without it, what is asked.",
        ),
    ] = None,
    wait: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="The task that asks, or the question's id, if several."),
    ] = None,
    by: Annotated[str, typer.Option(metavar="NAME", help="Who answers.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Answer a question of a run, or list its questions.

    \b
    handrail answer 06dx3k8c
    handrail answer 06dx3k8c yes
    handrail answer 06dx3k8c --wait review 'Looks fine' --by Ada
    """
    shell = shell_of(context)
    runtime = shell.kept()
    record = runtime.journal.run(run_id)
    if value is None:
        _list(shell, record, as_json=as_json)
        return
    answered = _answered(runtime, record.run_id, value, wait, by)
    left = runtime.waits(record.run_id)
    is_alive = runtime.is_alive(record.run_id)
    if as_json:
        shell.screen.json(
            {
                "run_id": record.run_id,
                "answered": as_data(answered),
                "open": [as_data(question) for question in left],
                "is_running": is_alive,
            }
        )
        return
    shell.screen.say(f"Answered task '{visible(answered.task)}': {visible(answered.prompt)}")
    for question in left:
        shell.screen.note(f"Open:      {sentence(question)}")
    if is_alive:
        shell.screen.note("The process that runs it takes the answer.")
    else:
        shell.screen.note(f"Continue:  handrail resume {record.run_id}")


def _answered(runtime: Runtime, run_id: str, word: str, wait_id: str | None, by: str) -> Wait:
    from handrail.errors import TaskInputError

    fitting = [w for w in runtime.waits(run_id) if wait_id in (None, w.wait_id, w.task)]
    is_text = len(fitting) == 1 and fitting[0].kind in ("text", "selection")
    try:
        value = word if is_text else from_word(word)
        return runtime.answer(run_id, value, wait_id=wait_id, by=by)
    except TaskInputError as error:
        raise typer.BadParameter(str(error), param_hint="VALUE") from error


def _list(shell: Shell, record: RunRecord, *, as_json: bool) -> None:
    waits = shell.runtime.waits(record.run_id)
    if as_json:
        shell.screen.json([as_data(wait) for wait in waits])
    elif not waits:
        shell.screen.note(f"Run {record.run_id} asks nothing.")
    else:
        rows = [(wait.task, wait.prompt, expected(wait)) for wait in waits]
        shell.screen.table(_COLUMNS, rows)
        for line in how_to_answer(record.run_id, waits):
            shell.screen.note(line)


# For other commands


def open_questions(runtime: Runtime, record: RunRecord) -> list[Wait]:
    """Questions of a run that may have some: one that waits or goes on."""
    return runtime.waits(record.run_id) if record.state in ("waiting", "running") else []


def expected(wait: Wait) -> str:
    """What an answer to it is, in words."""
    if wait.kind == "approval":
        return "yes or no"
    if wait.kind == "selection":
        return f"one of {', '.join(wait.options)}"
    return "a text" if wait.kind == "text" else "JSON, or a text"


def sentence(wait: Wait) -> str:
    """Who asks what, and what an answer is, on one line."""
    return f"{visible(wait.task)} asks: {visible(wait.prompt)} ({visible(expected(wait))})"


def how_to_answer(run_id: str, waits: list[Wait]) -> list[str]:
    """The commands that answer them, one line for each."""
    if len(waits) == 1:
        return [f"Answer:    handrail answer {run_id} VALUE"]
    named = {wait.task for wait in waits}
    return [
        f"Answer:    handrail answer {run_id} --wait "
        f"{visible(shlex.quote(wait.task if len(named) == len(waits) else wait.wait_id))} VALUE"
        for wait in waits
    ]


def summary(waits: list[Wait]) -> str:
    """Few words for a cell of a table."""
    if len(waits) == 1:
        return f"{waits[0].task} asks: {waits[0].prompt}"
    return f"{counted(len(waits), 'question')}: {', '.join(wait.task for wait in waits)}"


def as_fields(waits: list[Wait]) -> list[tuple[str, str]]:
    """What is asked, for a list of fields."""
    return [("asks" if index == 0 else "", sentence(wait)) for index, wait in enumerate(waits)]


def as_data(wait: Wait) -> dict[str, Any]:
    """A question for programs."""
    return wait.to_data()
