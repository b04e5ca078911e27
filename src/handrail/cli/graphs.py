"""`handrail graph`: the picture of a workflow, or of a run with its states."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from handrail.cli.output import Screen
from handrail.cli.shell import Shell, shell_of
from handrail.cli.text import MARKS, STYLES, block

if TYPE_CHECKING:
    from handrail.flow.workflow import workflow

_WORST_FIRST = (
    "failed",
    "crashed",
    "cancelled",
    "running",
    "waiting",
    "queued",
    "skipped",
    "superseded",
    "succeeded",
)
#: Where the mark of a state stands in a line of the picture.
_MARK_COLUMN = 5


def add_to(application: typer.Typer) -> None:
    """Adds the command."""
    application.command("graph")(graph)


def graph(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="WORKFLOW|RUN")],
    form: Annotated[
        str, typer.Option("--format", metavar="text|mermaid", help="How it is drawn.")
    ] = "text",
) -> None:
    """Draw a workflow, or a run with the states of its tasks.

    \b
    handrail graph flights.py
    handrail graph 06dx3k8c --format mermaid
    """
    from handrail.flow.locate import load_workflow

    shell = shell_of(context)
    if is_run(what):
        flow, states = _of_run(shell, what)
    else:
        flow, states = load_workflow(what), {}
    picture = block(flow.draw(form, states))
    if form == "text":
        _show(shell.screen, picture, bool(states))
    else:
        shell.screen.say(picture)


def is_run(text: str) -> bool:
    """Is a run meant, and no workflow? Ids of runs begin with a digit, names of modules do not."""
    return text[:1].isdigit() and ":" not in text and not text.endswith(".py")


def _of_run(shell: Shell, run_id: str) -> tuple[workflow, dict[str, str]]:
    from handrail.cli.show import history_of

    runtime = shell.kept()
    run = history_of(runtime, run_id)
    flow = runtime.workflow_of(runtime.journal.run(run.run_id))
    states = {task.name: task.state for task in run.tasks}
    return flow, _with_groups(flow, states)


def _with_groups(flow: workflow, states: dict[str, str]) -> dict[str, str]:
    """A group is in the state of the worst of the tasks that it waits for."""
    from handrail.flow.draw import levels

    states = dict(states)
    for name in chain.from_iterable(levels(flow.graph)):
        awaited = [states.get(before, "queued") for before in flow.graph.predecessors(name)]
        if name not in states and awaited:
            states[name] = min(awaited, key=_WORST_FIRST.index)
    return states


def _show(screen: Screen, picture: str, has_states: bool) -> None:
    styles = {MARKS[state]: STYLES[state] for state in reversed(MARKS) if state != "kept"}
    for line in picture.split("\n"):
        mark = line[_MARK_COLUMN : _MARK_COLUMN + 1]
        screen.say(Text(line, styles.get(mark, "") if has_states else ""))
