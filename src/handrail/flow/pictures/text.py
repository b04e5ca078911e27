"""A picture as lines of text: a node a line, and beside it the lines that join them.

    ● extract
    ┏ ● clean  after extract
    ┗ ● check  after extract
    ● publish  after clean, check

Nodes that follow the same and are followed by the same stand in one bracket. All that runs down
one line leads to all that branches off below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from handrail.flow.pictures.letters import cell_count, shortened, visible
from handrail.flow.pictures.looks import mark
from handrail.flow.pictures.picture import Picture, PictureNode

#: With more lines than this side by side nobody can follow them: nodes are listed instead.
_MOST_LANES = 16
_NAME_CELLS, _WIDEST_NAMES, _MOST_NAMES = 60, 44, 3
_GLYPHS = {"task": "●", "map": "▣", "group": "◆"}
#: States that need no word beside their mark.
_PLAIN_STATES = (None, "queued", "succeeded")


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of a picture."""

    #: State of the node it shows; none if it has none, or the line shows no node.
    state: str | None
    #: What joins nodes, up to the node.
    gutter: str
    #: Mark and name.
    name: str = ""
    #: What else is said of it.
    rest: str = ""

    def __str__(self) -> str:
        return f"{self.gutter}{self.name}{self.rest}".rstrip()


def text_lines(picture: Picture) -> list[TextLine]:
    """The picture, line by line."""
    units = _units(picture)
    drawn = _Lanes(units).drawn()
    rows = drawn if drawn is not None else _listed(picture)
    return _aligned(picture, rows)


@dataclass(slots=True)
class _Row:
    gutter: str
    #: The node it shows; none: lines only.
    name: str | None = None


@dataclass(slots=True, eq=False)
class _Unit:
    """Nodes that are alike: they stand in one bracket."""

    names: list[str]
    before: list[_Unit]
    after: list[_Unit]


def _units(picture: Picture) -> list[_Unit]:
    """All units, each after those it waits for."""
    by_neighbours: dict[object, _Unit] = {}
    unit_of: dict[str, _Unit] = {}
    for name in picture.in_order():
        before, after = picture.before[name], picture.after[name]
        # What has no neighbours is not joined with others.
        key = (frozenset(before), frozenset(after)) if before or after else name
        unit = by_neighbours.setdefault(key, _Unit([], [], []))
        unit.names.append(name)
        unit_of[name] = unit
    found = list(by_neighbours.values())
    for unit in found:
        unit.after = _distinct(unit_of[name] for name in picture.after[unit.names[0]])
        unit.before = _distinct(unit_of[name] for name in picture.before[unit.names[0]])
    return _in_order(found)


def _distinct(units: Iterator[_Unit]) -> list[_Unit]:
    return list(dict.fromkeys(units))


def _in_order(units: list[_Unit]) -> list[_Unit]:
    waiting = {id(unit): len(unit.before) for unit in units}
    ready = [unit for unit in reversed(units) if not unit.before]
    ordered: list[_Unit] = []
    while ready:
        unit = ready.pop()
        ordered.append(unit)
        for after in reversed(unit.after):
            waiting[id(after)] -= 1
            if not waiting[id(after)]:
                ready.append(after)
    return ordered if len(ordered) == len(units) else units


class _Lanes:
    """Lines that run down, each with the units that it still leads to."""

    def __init__(self, units: list[_Unit]) -> None:
        self._units = units
        self._lanes: list[set[_Unit] | None] = []
        self._rows: list[_Row] = []
        #: Where the node of the last row stood, if nothing leads down from it.
        self._end_column = -1

    def drawn(self) -> list[_Row] | None:
        """All rows; none if there are too many lines side by side."""
        for unit in self._units:
            self._draw(unit)
            if len(self._lanes) > _MOST_LANES:
                return None
        return self._rows

    def _draw(self, unit: _Unit) -> None:
        arriving = [n for n, lane in enumerate(self._lanes) if lane and unit in lane]
        for number in arriving:
            self._targets(number).discard(unit)
        ending = [number for number in arriving if not self._lanes[number]]
        column = ending[0] if ending else self._free_column(arriving)
        if not arriving and column == self._end_column:
            self._rows.append(_Row(self._passing()))
        self._draw_names(unit, column, arriving)
        for number in ending:
            self._lanes[number] = None
        self._leave(unit, column)
        while self._lanes and self._lanes[-1] is None:
            self._lanes.pop()

    def _targets(self, number: int) -> set[_Unit]:
        lane = self._lanes[number]
        assert lane is not None
        return lane

    def _free_column(self, arriving: list[int]) -> int:
        start = arriving[0] + 1 if arriving else 0
        for number in range(start, len(self._lanes)):
            if self._lanes[number] is None:
                return number
        self._lanes.append(None)
        return len(self._lanes) - 1

    def _draw_names(self, unit: _Unit, column: int, arriving: list[int]) -> None:
        last = len(unit.names) - 1
        for number, name in enumerate(unit.names):
            glyph = "" if not last else "┏" if not number else "┗" if number == last else "┃"
            joins = arriving if not number else []
            self._rows.append(_Row(self._row(column, glyph, joins), name))
            for lane in joins:  # those that end here do not go on below the first name
                if not self._lanes[lane]:
                    self._lanes[lane] = None

    def _row(self, column: int, glyph: str, joins: list[int]) -> str:
        """Lines up to a node, with those that branch off to it."""
        others = [number for number in joins if number != column]
        low, high = min([*others, column]), max([*others, column])
        cells = []
        for number in range(max(len(self._lanes), column + 1)):
            lane = self._lanes[number] if number < len(self._lanes) else None
            line = "─" if low <= number < high else " "
            if number == column:
                cells.append((glyph or "\0") + line)
            elif number in others:
                cells.append(_branch(number, low, high, bool(lane)) + line)
            elif lane is not None:
                cells.append("│" + line)
            else:
                cells.append(("─" if low < number < high else " ") + line)
        row = "".join(cells).rstrip()
        return f"{row} " if glyph else row

    def _passing(self) -> str:
        return "".join("│ " if lane else "  " for lane in self._lanes).rstrip()

    def _leave(self, unit: _Unit, column: int) -> None:
        """Leads on from a node: into a line that leads to just the same, or one of its own."""
        self._end_column = -1
        after = set(unit.after)
        same = next((n for n, lane in enumerate(self._lanes) if lane == after), None)
        if not after:
            self._end_column = column
        elif same is None:
            self._lanes[column] = after
        else:
            self._rows.append(_Row(self._merging(column, same)))

    def _merging(self, column: int, into: int) -> str:
        low, high = min(column, into), max(column, into)
        cells = []
        for number in range(max(len(self._lanes), column + 1)):
            lane = self._lanes[number] if number < len(self._lanes) else None
            line = "─" if low <= number < high else " "
            if number == column:
                cells.append(("╰" if column < into else "╯") + line)
            elif number == into:
                cells.append(("┤" if column < into else "├") + line)
            elif lane:
                cells.append("│" + line)
            else:
                cells.append(("─" if low < number < high else " ") + line)
        return "".join(cells).rstrip()


def _branch(number: int, low: int, high: int, goes_on: bool) -> str:
    """Where a line down meets one across."""
    if number == low:
        return "├" if goes_on else "╰"
    if number == high:
        return "┤" if goes_on else "╯"
    return "┼" if goes_on else "┴"


def _listed(picture: Picture) -> list[_Row]:
    levels = picture.levels()
    ordered = sorted(levels, key=levels.__getitem__)
    width = len(str(max(levels.values(), default=0)))
    return [_Row(f"{levels[name]:>{width}}  \0", name) for name in ordered]


def _aligned(picture: Picture, rows: list[_Row]) -> list[TextLine]:
    lines = []
    for row in rows:
        if row.name is None:
            lines.append(TextLine(None, row.gutter))
            continue
        node = picture.by_name[row.name]
        glyph = mark(node.state) if node.state else _GLYPHS[node.kind]
        # The node stands where its line is, or behind its bracket.
        place = row.gutter.find("\0")
        if place < 0:
            gutter, name = row.gutter, f"{glyph} "
        else:
            gutter, name = row.gutter[:place], glyph + (row.gutter[place + 1 :] or " ")
            name = name if name.endswith(" ") else f"{name} "
        name += shortened(visible(node.name), _NAME_CELLS)
        lines.append(TextLine(node.state, gutter, name, _said(picture, node)))
    width = min(max((_cells(line) for line in lines if line.rest), default=0), _WIDEST_NAMES)
    return [TextLine(line.state, line.gutter, line.name, _padded(line, width)) for line in lines]


def _cells(line: TextLine) -> int:
    return cell_count(line.gutter) + cell_count(line.name)


def _padded(line: TextLine, width: int) -> str:
    return f"{' ' * max(width - _cells(line), 0)}  {line.rest}" if line.rest else ""


def _said(picture: Picture, node: PictureNode) -> str:
    parts = [node.note] if node.note else []
    if node.kind == "group":
        parts.append("group")
    if node.state not in _PLAIN_STATES:
        parts.append(str(node.state))
    said = f"[{', '.join(parts)}]" if parts else ""
    before = picture.before[node.name]
    after = f"after {_named(before)}" if before else ""
    loops = [f"↺ {_named([back])}" for back in picture.loops.get(node.name, ())]
    return "  ".join(part for part in (said, after, *loops) if part)


def _named(names: list[str]) -> str:
    shown = ", ".join(shortened(visible(name), _NAME_CELLS) for name in names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
