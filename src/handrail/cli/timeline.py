"""The attempts of a run drawn over time, one line a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from handrail.cli.text import STYLES, clock, counted, duration, visible

if TYPE_CHECKING:
    from handrail.run.history import AttemptHistory, RunHistory

_BAR, _WAIT, _BREAK = "━", "┄", "┊"
_NAME_LENGTH = 24
_LEAST_WIDTH = 20
#: Longer than this part of all the time at work, nothing happening is cut out.
_LONGEST_GAP = 0.1


@dataclass(frozen=True, slots=True)
class Bar:
    """An attempt as drawn; times in milliseconds since 1970, UTC."""

    started_at: int
    ended_at: int
    state: str


class Axis:
    """Places moments in columns, long gaps in which nothing happened cut out.

    Args:
        spans: start and end of everything that is to be drawn, in milliseconds.
        width: number of columns, from 0.
    """

    def __init__(self, spans: Sequence[tuple[int, int]], width: int) -> None:
        self._width = width
        self.pieces = _pieces(spans)
        #: Columns that stand for a gap.
        self.breaks: list[int] = []
        room = max(width - (len(self.pieces) - 1), len(self.pieces))
        total = sum(end - start for start, end in self.pieces) or 1
        self._scale = room / total
        self._origins: list[float] = []
        column = 0.0
        for index, (start, end) in enumerate(self.pieces):
            if index:
                self.breaks.append(min(int(column), width - 1))
                column = int(column) + 1
            self._origins.append(column)
            column += (end - start) * self._scale

    def column(self, at: int) -> int:
        """The column of a moment."""
        place = 0.0
        for (start, end), origin in zip(self.pieces, self._origins, strict=True):
            if at < start:
                break
            place = origin + (min(at, end) - start) * self._scale
        return min(int(place), self._width - 1)


def _pieces(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    longest = _LONGEST_GAP * sum(end - start for start, end in merged)
    pieces: list[tuple[int, int]] = []
    for start, end in merged:
        if pieces and start - pieces[-1][1] <= longest:
            pieces[-1] = (pieces[-1][0], end)
        else:
            pieces.append((start, end))
    return pieces


def timeline(run: RunHistory, width: int, now: int, most: int = 40) -> list[Text]:
    """Lines to print; none if nothing was attempted.

    Args:
        width: of the terminal, in columns.
        now: end of what still runs, in milliseconds since 1970, UTC.
        most: tasks drawn; if there are more, those that took longest.
    """
    rows = [
        (task.name, bars)
        for task in run.tasks
        if (bars := [_bar(a, now) for a in task.attempts if a.started_at is not None])
    ]
    if not rows:
        return []
    longest = sorted(rows, key=lambda row: row[1][0].started_at - row[1][-1].ended_at)[:most]
    drawn = [row for row in rows if row in longest] if len(rows) > most else rows
    name_width = min(max(cell_len(visible(name)) for name, _ in drawn), _NAME_LENGTH)
    columns = width - name_width - 2
    if columns < _LEAST_WIDTH:
        return []
    axis = Axis([(bar.started_at, bar.ended_at) for _, bars in drawn for bar in bars], columns)
    lines = [_line(name, bars, axis, name_width, columns) for name, bars in drawn]
    lines.append(_scale(axis, name_width, columns))
    if len(rows) > len(drawn):
        lines.append(Text(f"and {counted(len(rows) - len(drawn), 'shorter task')}", "dim"))
    return lines


def _bar(attempt: AttemptHistory, now: int) -> Bar:
    started_at = attempt.started_at or 0
    ended_at = attempt.finished_at or (now if attempt.state == "running" else started_at)
    return Bar(started_at, max(ended_at, started_at), attempt.state)


def _line(name: str, bars: list[Bar], axis: Axis, name_width: int, columns: int) -> Text:
    cells: list[tuple[str, str]] = [(" ", "")] * columns
    first, last = axis.column(bars[0].started_at), axis.column(bars[-1].ended_at)
    for column in range(first, last):
        cells[column] = (_WAIT, "dim")
    for column in axis.breaks:
        cells[column] = (_BREAK, "dim")
    for bar in bars:
        begin = axis.column(bar.started_at)
        for column in range(begin, max(axis.column(bar.ended_at), begin + 1)):
            cells[column] = (_BAR, STYLES.get(bar.state, ""))
    line = Text(_name(name, name_width), no_wrap=True).append("  ")
    for character, style in cells:
        line.append(character, style)
    line.rstrip()
    return line


def _name(name: str, width: int) -> str:
    shown = visible(name)
    if cell_len(shown) > width:
        return set_cell_size(shown, width - 1) + "…"
    return set_cell_size(shown, width)


def _scale(axis: Axis, name_width: int, columns: int) -> Text:
    start, end = axis.pieces[0][0], axis.pieces[-1][1]
    left, right = clock(start), f"+{duration((end - start) / 1000)}"
    gap = " " * max(columns - len(left) - len(right), 1)
    return Text(f"{' ' * name_width}  {left}{gap}{right}", "dim")
