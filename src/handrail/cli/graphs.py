"""`handrail graph`: the picture of a workflow, or of a run with its states."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from handrail.cli.output import Screen
from handrail.cli.shell import Shell, shell_of
from handrail.cli.text import STYLES, counted, duration
from handrail.errors import RuntimeConfigError

if TYPE_CHECKING:
    from handrail.flow.pictures.picture import Picture
    from handrail.run.history import RunHistory, TaskHistory


def add_to(application: typer.Typer) -> None:
    """Adds the command."""
    application.command("graph")(graph)


def graph(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="WORKFLOW|RUN")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="text|mermaid|dot|svg|png",
            help="How it is drawn. [what FILE ends in, else text]",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")
    ] = None,
) -> None:
    """Draw a workflow, or a run with the states of its tasks.

    \b
    handrail graph flights.py
    handrail graph 06dx3k8c -o run.svg
    """
    from handrail.flow.draw import draw_picture

    shell = shell_of(context)
    picture, title = _of_run(shell, what) if is_run(what) else _of_workflow(what)
    if output is None and form in (None, "text"):
        _show(shell.screen, picture)
        return
    try:
        drawn = draw_picture(picture, form, output, title=title)
    except OSError as error:
        raise RuntimeConfigError(f"Cannot write {output}: {error.strerror or error}") from error
    if output is not None:
        shell.screen.note(f"Wrote {output}.")
    elif isinstance(drawn, str):
        shell.screen.say(drawn)
    elif shell.screen.is_terminal:
        raise RuntimeConfigError("An image is nothing for a terminal. Name a file: -o graph.png")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(drawn)


def is_run(text: str) -> bool:
    """Is a run meant, and no workflow? Ids of runs begin with a digit, names of modules do not."""
    return text[:1].isdigit() and ":" not in text and not text.endswith(".py")


def _of_workflow(what: str) -> tuple[Picture, str]:
    from handrail.flow.locate import load_workflow
    from handrail.flow.pictures.picture import Picture

    flow = load_workflow(what)
    return Picture.of(flow.graph, without=flow.templates()), flow.name


def _of_run(shell: Shell, run_id: str) -> tuple[Picture, str]:
    from handrail.cli.show import history_of

    run = history_of(shell.kept(), run_id)
    return picture_of(run), f"{run.workflow}, run {run.run_id}"


def picture_of(run: RunHistory) -> Picture:
    """The picture of a run: of its plan and of what its tasks added, in their states."""
    from handrail.flow.pictures.picture import Picture, PictureEdge, PictureNode

    tasks = {task.name: task for task in run.tasks}
    items = Counter(name for task in tasks if (name := mapped_by(task, tasks)) is not None)
    names = [name for name in tasks if mapped_by(name, tasks) is None]
    groups = dict.fromkeys(name for edge in run.edges for name in edge if name not in tasks)
    nodes = [
        PictureNode(
            name,
            "map" if items[name] else "task",
            _note(tasks[name], items[name]),
            tasks[name].state,
            run.within.get(name),
        )
        for name in names
    ]
    nodes += (
        PictureNode(name, "group", "", run.groups.get(name), run.within.get(name))
        for name in groups
    )
    drawn = {node.name for node in nodes}
    edges = [(*edge, False) for edge in run.edges] + [(*edge, True) for edge in run.loops]
    return Picture(
        tuple(nodes),
        tuple(
            PictureEdge(before, after, is_loop)
            for before, after, is_loop in edges
            if before in drawn and after in drawn
        ),
    ).with_group_states()


def mapped_by(name: str, tasks: dict[str, TaskHistory]) -> str | None:
    """The mapped task that has `name`, like `load[3]`, as an item; none if it is no item."""
    base, bracket, position = name.rpartition("[")
    is_item = bool(bracket) and position[:-1].isdigit() and position.endswith("]")
    return base if is_item and base in tasks else None


def rounds_of(task: TaskHistory) -> int:
    """How often a task began in its last epoch: more than once in a loop."""
    epoch = task.attempts[-1].epoch if task.attempts else 0
    return sum(attempt.epoch == epoch and attempt.try_number == 1 for attempt in task.attempts)


def _note(task: TaskHistory, item_count: int) -> str:
    parts = [task.handler] if task.handler not in (None, "direct") else []
    if item_count:
        parts.append(counted(item_count, "item"))
    rounds = rounds_of(task)
    if rounds > 1:
        parts.append(counted(rounds, "round"))
    elif task.tries > 1:
        parts.append(counted(task.tries, "try", "tries"))
    if task.duration_seconds is not None:
        parts.append(duration(task.duration_seconds))
    return ", ".join(part for part in parts if part)


def _show(screen: Screen, picture: Picture) -> None:
    from handrail.flow.pictures.text import text_lines

    for line in text_lines(picture):
        shown = Text(line.gutter, "dim").append(line.name, f"not dim {_style(line.state)}".strip())
        shown.append(line.rest, "dim")
        shown.rstrip()
        screen.say(shown)


def _style(state: str | None) -> str:
    return STYLES.get(state or "", "")
