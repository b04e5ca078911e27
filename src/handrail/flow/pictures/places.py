"""Where things lie in their layers: as near to their neighbours as their order allows.

Each layer in turn takes the places with the least squares of weighted distances to neighbours
under a given order, which pooling adjacent violators finds (Barlow et al., 1972). At last what
follows one after another is put into one line.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from handrail.flow.pictures.things import Step, Thing

#: Between neighbours in a layer: two things, and one of them a link passing through.
_APART, _APART_LINK = 22.0, 14.0
#: Neighbours in other layers: index, how far from its place this one should be, and weight.
_Near = list[list[tuple[int, float, float]]]


class Places:
    """Gives things their places across; the smallest edge is at 0.

    Args:
        rows: indices of the things in each layer, in order.
        beside: `{thing: the one in its layer that it should be close to}`.
    """

    def __init__(
        self,
        things: Sequence[Thing],
        steps: Sequence[Step],
        rows: Sequence[Sequence[int]],
        beside: Mapping[int, int],
    ) -> None:
        self._things = things
        self._steps = steps
        self._rows = rows
        self._beside = beside
        before: _Near = [[] for _ in things]
        after: _Near = [[] for _ in things]
        for earlier, later, leaves, enters, weight in steps:
            before[later].append((earlier, leaves - enters, weight))
            after[earlier].append((later, enters - leaves, weight))
        both = [b + a for b, a in zip(before, after, strict=True)]
        self._sweep(before, after, both)
        for _ in range(2):
            self._straighten()
        self._gather(both)
        low = min((t.at_across - t.across / 2 for t in things), default=0.0)
        for thing in things:
            thing.at_across -= low

    def _sweep(self, before: _Near, after: _Near, both: _Near) -> None:
        shifts = [self._shifts(row) for row in self._rows]
        for row, shift in zip(self._rows, shifts, strict=True):
            for index, place in zip(row, shift, strict=True):
                self._things[index].at_across = place - shift[-1] / 2
        order = list(range(len(self._rows)))
        turns = 10 if len(self._steps) < 4000 else 4
        for turn in range(turns):
            near = both if turn >= turns - 2 else (before, after)[turn % 2]
            for number in reversed(order) if turn % 2 else order:
                self._settle(self._rows[number], shifts[number], near)

    def _shifts(self, row: Sequence[int]) -> list[float]:
        """Where the things of a layer lie when packed."""
        places: list[float] = []
        place = 0.0
        for number, index in enumerate(row):
            if number:
                place += self._apart(row[number - 1], index)
            places.append(place)
        return places

    def _apart(self, first: int, second: int) -> float:
        """Least distance of the centres of two neighbours."""
        one, other = self._things[first], self._things[second]
        gap = _APART_LINK if one.is_passing or other.is_passing else _APART
        return (one.across + other.across) / 2 + gap

    def _settle(self, row: Sequence[int], shifts: Sequence[float], near: _Near) -> None:
        """Moves the things of a layer towards their neighbours, in their order."""
        wanted, weights = [], []
        for index, shift in zip(row, shifts, strict=True):
            weight = total = 0.0
            for other, offset, counts in near[index]:
                total += (self._things[other].at_across + offset) * counts
                weight += counts
            if index in self._beside:
                beside = self._beside[index]
                total += (self._things[beside].at_across + self._apart(beside, index)) * 0.5
                weight += 0.5
            place = total / weight if weight else self._things[index].at_across
            wanted.append(place - shift)
            weights.append(weight or 0.05)
        for index, place, shift in zip(row, _rising(wanted, weights), shifts, strict=True):
            self._things[index].at_across = place + shift

    def _gather(self, near: _Near) -> None:
        """Brings what has no links, at the start of a layer, next to what has."""
        for row in self._rows:
            count = next((number for number, index in enumerate(row) if near[index]), 0)
            for number in range(count - 1, -1, -1):
                index, neighbour = row[number], row[number + 1]
                place = self._things[neighbour].at_across - self._apart(index, neighbour)
                self._things[index].at_across = place

    def _straighten(self) -> None:
        """Puts things that follow one another alone into one line, as far as there is room."""
        place = {index: number for row in self._rows for number, index in enumerate(row)}
        for chain in sorted(self._chains(), key=len, reverse=True):
            low, high, run = -math.inf, math.inf, list[tuple[int, float]]()
            for index, shift in chain:
                least, most = self._room(index, place[index])
                least, most = least - shift, most - shift
                if run and max(low, least) > min(high, most):
                    self._align(run, low, high)
                    low, high, run = -math.inf, math.inf, []
                low, high = max(low, least), min(high, most)
                run.append((index, shift))
            self._align(run, low, high)

    def _chains(self) -> list[list[tuple[int, float]]]:
        """Things that have one neighbour alone, which has no other; with their offsets."""
        leaving = Counter(step[0] for step in self._steps)
        entering = Counter(step[1] for step in self._steps)
        following = {
            earlier: (later, leaves - enters)
            for earlier, later, leaves, enters, _ in self._steps
            if leaving[earlier] == 1 and entering[later] == 1
        }
        followers = {later for later, _ in following.values()}
        chains = []
        for start in following:
            if start not in followers:
                index, shift = start, 0.0
                chain = [(index, shift)]
                while index in following:
                    index, offset = following[index]
                    shift += offset
                    chain.append((index, shift))
                chains.append(chain)
        return chains

    def _room(self, index: int, number: int) -> tuple[float, float]:
        """Between what places the centre of a thing may lie."""
        row = self._rows[self._things[index].layer]
        low, high = -math.inf, math.inf
        if number:
            low = self._things[row[number - 1]].at_across + self._apart(row[number - 1], index)
        if number + 1 < len(row):
            high = self._things[row[number + 1]].at_across - self._apart(index, row[number + 1])
        return low, high

    def _align(self, run: list[tuple[int, float]], low: float, high: float) -> None:
        mean = sum(self._things[index].at_across - shift for index, shift in run) / len(run)
        for index, shift in run:
            self._things[index].at_across = min(max(mean, low), high) + shift


def _rising(wanted: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The rising sequence that is nearest to `wanted` by weighted least squares."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, weight in zip(wanted, weights, strict=True):
        length = 1
        while blocks and blocks[-1][0] > value:
            mean, more, count = blocks.pop()
            value = (mean * more + value * weight) / (more + weight)
            weight += more
            length += count
        blocks.append((value, weight, length))
    return [value for value, _, length in blocks for _ in range(length)]
