"""Shows in a terminal how long work gets on; says nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from handrail.cli.output import Screen
from handrail.cli.text import size


@dataclass(frozen=True, slots=True)
class Work:
    """What a command tells while it works; both may be called by any thread."""

    #: How much there is to do, when that is known.
    begun: Callable[[int], None]
    #: How much was done since the last call.
    told: Callable[[int], None]


class _Amount(ProgressColumn):
    def __init__(self, is_bytes: bool) -> None:
        super().__init__()
        self._shown: Callable[[int], str] = size if is_bytes else (lambda count: f"{count:,}")

    def render(self, task: Task) -> Text:
        done = self._shown(int(task.completed))
        whole = f" of {self._shown(int(task.total))}" if task.total else ""
        return Text(f"{done}{whole}", "dim")


@contextmanager
def working(
    screen: Screen, what: str, *, total: int | None = None, is_bytes: bool = True
) -> Iterator[Work]:
    """A line on standard error, while the block runs, if that is a terminal.

    Args:
        total: how much there is to do, if it is known.
        is_bytes: amounts are lengths in bytes; else things are counted.
    """
    if not screen.err.is_terminal:
        yield Work(lambda count: None, lambda count: None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        _Amount(is_bytes),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen.err, transient=True) as progress:
        line = progress.add_task(what, total=total)
        yield Work(
            lambda count: progress.update(line, total=count),
            lambda count: progress.advance(line, count),
        )
