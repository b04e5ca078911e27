"""`handrail graph`: the picture of a workflow, or of a run with its states."""

from __future__ import annotations

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
#: States whose marks mean nothing else in a picture.
_COLOURED = ("succeeded", "failed", "running", "cancelled")


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
    from handrail.contracts.expr import ParallelGroup

    states = dict(states)

    def state_of(name: str) -> str:
        if name not in states:
            states[name] = "queued"  # also of what waits for itself
            awaited = [state_of(before) for before in flow.graph.predecessors(name)]
            states[name] = min(awaited, key=_WORST_FIRST.index, default="queued")
        return states[name]

    for name, node in flow.graph.nodes():
        if isinstance(node, ParallelGroup):
            state_of(name)
    return states


def _show(screen: Screen, picture: str, has_states: bool) -> None:
    for line in picture.split("\n"):
        text = Text(line)
        for state in _COLOURED if has_states else ():
            text.highlight_regex(rf"{MARKS[state]} \S+", STYLES[state])
        screen.say(text)
