"""The order of things in each layer, with few crossings: each near the middle of its neighbours.

Layers are sorted by barycentres, forward and backward in turn; the best order found is taken
(Sugiyama, Tagawa and Toda, 1981).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence

from handrail.flow.pictures.things import Step, Thing

#: Neighbours in the layer before or after, with the part of their place that a link is off.
_Near = list[list[tuple[int, float]]]


def in_rows(things: Sequence[Thing], steps: Sequence[Step], count: int) -> list[list[int]]:
    """Indices of things by layer, of which there are `count`, in order."""
    before, after = _neighbours(things, steps)
    rows: list[list[int]] = [[] for _ in range(count)]
    for index in _first_order(things, after):
        rows[things[index].layer].append(index)
    position = [0.0] * len(things)
    for row in rows:
        _number(row, position)
    best, fewest = [list(row) for row in rows], _crossings(things, steps, position)
    for turn in range(16 if len(steps) < 400 else 8 if len(steps) < 4000 else 3):
        if not fewest:
            break
        if turn % 2:
            for row in reversed(rows[:-1]):
                _sort(row, after, position)
        else:
            for row in rows[1:]:
                _sort(row, before, position)
        crossings = _crossings(things, steps, position)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _neighbours(things: Sequence[Thing], steps: Sequence[Step]) -> tuple[_Near, _Near]:
    before: _Near = [[] for _ in things]
    after: _Near = [[] for _ in things]
    for earlier, later, leaves, enters, _ in steps:
        before[later].append((earlier, leaves / (things[earlier].across + 1)))
        after[earlier].append((later, enters / (things[later].across + 1)))
    return before, after


def _first_order(things: Sequence[Thing], after: _Near) -> list[int]:
    """From the first layer on, each chain to its end: so they lie side by side."""
    seen = [False] * len(things)
    ordered: list[int] = []
    for root in sorted(range(len(things)), key=lambda index: things[index].layer):
        waiting = [root]
        while waiting:
            index = waiting.pop()
            if not seen[index]:
                seen[index] = True
                ordered.append(index)
                waiting += [later for later, _ in reversed(after[index])]
    return ordered


def _crossings(things: Sequence[Thing], steps: Sequence[Step], position: list[float]) -> int:
    """How many pairs of steps cross."""
    by_layer: dict[int, list[tuple[float, float]]] = {}
    for earlier, later, leaves, enters, _ in steps:
        # What leaves one thing at several places is in the order of these places.
        ends = (position[earlier] + leaves * 1e-4, position[later] + enters * 1e-4)
        by_layer.setdefault(things[earlier].layer, []).append(ends)
    count = 0
    for ends_of_layer in by_layer.values():
        seen: list[float] = []
        for _, end in sorted(ends_of_layer):
            count += len(seen) - bisect_right(seen, end)
            insort(seen, end)
    return count


def _sort(row: list[int], near: _Near, position: list[float]) -> None:
    wanted = {}
    for index in row:
        places = [position[other] + offset for other, offset in near[index]]
        wanted[index] = sum(places) / len(places) if places else position[index]
    row.sort(key=wanted.__getitem__)
    _number(row, position)


def _number(row: list[int], position: list[float]) -> None:
    for number, index in enumerate(row):
        position[index] = number
