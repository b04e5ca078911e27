"""What commands write, and where: what was asked for to standard output, the rest beside it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from handrail.cli.text import MARKS, STYLES, block, visible

#: A column that gives way does so down to this width.
_LEAST_WIDTH = 12
_GAP = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    is_right: bool = False
    #: Its cells are states, shown with mark and colour.
    is_state: bool = False
    #: It is cut when the terminal is too narrow.
    gives_way: bool = False
    style: str = ""


class Screen:
    """Standard output and standard error of one command.

    In a terminal there is colour and lines are cut to its width; elsewhere text is plain and
    whole. What others wrote is made visible and never read as markup.
    """

    def __init__(self, *, colour: bool = True) -> None:
        self.out = _console(sys.stdout, colour)
        self.err = _console(sys.stderr, colour)

    @property
    def is_terminal(self) -> bool:
        """Does a person look at standard output?"""
        return self.out.is_terminal

    def say(self, text: str | Text = "") -> None:
        """A line on standard output."""
        _print(self.out, text)

    def note(self, text: str | Text = "") -> None:
        """A line on standard error."""
        _print(self.err, text)

    def error(self, message: str) -> None:
        """`error: ...` on standard error."""
        self.err.print(
            Text("error: ", "bold red").append(block(message), "not bold default"), soft_wrap=True
        )

    def json(self, data: Any) -> None:
        """A document for programs, on standard output."""
        self.out.file.write(json.dumps(data, indent=2, allow_nan=False, default=str) + "\n")

    def fields(self, pairs: Sequence[tuple[str, str | Text]]) -> None:
        """Names and values, one pair a line; pairs without a value are left out."""
        width = max((len(name) for name, _ in pairs), default=0)
        for name, value in pairs:
            if value:
                shown = Text(block(value)) if isinstance(value, str) else value
                self.say(Text(f"{name:<{width}}  ", "dim").append_text(shown))

    def state(self, state: str) -> Text:
        """A state as shown on standard output."""
        mark = f"{MARKS.get(state, '?')} " if self.is_terminal else ""
        return Text(f"{mark}{state}", STYLES.get(state, ""))

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Rows under a heading. Cells are text as it comes; they are made visible here.

        In a terminal, columns that are empty in every row are left out.
        """
        if self.is_terminal:
            columns, rows = _filled(columns, rows)
        shown = [[visible(cell) for cell in row] for row in rows]
        if self.is_terminal:
            shown = [
                [_marked(column, cell) for column, cell in zip(columns, row, strict=True)]
                for row in shown
            ]
        limit = self.out.width if self.is_terminal else None
        widths = _widths(columns, shown, limit)
        heading = [_fitted(c.name.upper(), w, c) for c, w in zip(columns, widths, strict=True)]
        self.say(Text(_GAP.join(heading).rstrip(), "dim"))
        for row, whole in zip(shown, rows, strict=True):
            self.say(_line(columns, row, whole, widths))


def _console(file: Any, colour: bool) -> Console:
    # The stream of now: while a run captures its output, sys.stdout is another one.
    return Console(
        file=file, no_color=not colour or None, highlight=False, markup=False, emoji=False
    )


def _print(console: Console, text: str | Text) -> None:
    if console.is_terminal:
        console.print(text, soft_wrap=True)
    else:
        plain = text.plain if isinstance(text, Text) else text
        console.file.write(f"{plain}\n")


def _filled(
    columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> tuple[list[Column], list[list[str]]]:
    """Without the columns that say nothing in any row."""
    kept = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    return [columns[index] for index in kept], [[row[index] for index in kept] for row in rows]


def _marked(column: Column, cell: str) -> str:
    return f"{MARKS.get(cell, '?')} {cell}" if column.is_state and cell else cell


def _widths(columns: Sequence[Column], rows: list[list[str]], limit: int | None) -> list[int]:
    widths = [
        max([len(column.name), *(cell_len(row[index]) for row in rows)])
        for index, column in enumerate(columns)
    ]
    while limit is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > limit:
        yielding = [
            index
            for index, column in enumerate(columns)
            if column.gives_way and widths[index] > _LEAST_WIDTH
        ]
        if not yielding:
            break
        widths[max(yielding, key=widths.__getitem__)] -= 1
    return widths


def _fitted(cell: str, width: int, column: Column) -> str:
    length = cell_len(cell)
    if length > width:
        return set_cell_size(cell, width - 1) + "…"
    padding = " " * (width - length)
    return padding + cell if column.is_right else cell + padding


def _line(
    columns: Sequence[Column], row: list[str], whole: Sequence[str], widths: list[int]
) -> Text:
    line = Text()
    for index, (column, cell, width) in enumerate(zip(columns, row, widths, strict=True)):
        style = STYLES.get(whole[index], "") if column.is_state else column.style
        line.append(_GAP if index else "").append(_fitted(cell, width, column), style)
    line.rstrip()
    return line
