"""Places of things that follow one another: in layers, with few crossings and straight links.

The way of Sugiyama, Tagawa and Toda (1981): layers by the longest path, links through empty
places in the layers between, order by barycentres. Places across are the least squares of
distances to neighbours with the order kept, found by pooling adjacent violators.

`along` is the direction in which one thing follows another, `across` the other one.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

#: Between neighbours in a layer: two things, and one of them a link passing through.
_APART, _APART_LINK = 22.0, 14.0
_LEAST_GAP, _WIDEST_GAP, _PORT_GAP = 46.0, 180.0, 16.0
#: A link grows by so much of the height it climbs, so that it does not get too steep.
_SLOPE = 0.14
#: Places for links that pass layers, altogether. Links beyond that, the longest ones, are drawn
#: straight across.
_MOST_PLACES = 12_000
#: If more links than this lead back, their ways are not made to follow what they go back over.
_MOST_WAYS_BACK = 64


@dataclass(slots=True)
class Thing:
    """What is placed: a node, a box of nodes, a port in the border of a box, a passing link."""

    along: float
    across: float
    #: -1: before all others (a port for what comes in); 1: after all others.
    rank: int = 0
    is_passing: bool = False
    #: May it be drawn as long as others in its layer?
    stretches: bool = False
    layer: int = 0
    #: Its centre.
    at_along: float = 0.0
    at_across: float = 0.0


@dataclass(slots=True)
class Link:
    """One thing follows another."""

    before: int
    after: int
    #: It leads back: drawn out of the end of `before`, around, and into the start of `after`.
    is_back: bool = False
    #: Where it leaves and enters, from the centres of the two.
    leaves: float = 0.0
    enters: float = 0.0
    #: What it passes, in the order of `before` to `after`.
    passing: list[int] = field(default_factory=list)


class Layers:
    """Places `things`, in place, and routes `links`, in place.

    Things get a layer and a centre; the smallest edge is at 0 both along and across.
    """

    def __init__(self, things: list[Thing], links: list[Link]) -> None:
        self.things = things
        self.links = links
        #: Indices of the things in each layer.
        self.rows: list[list[int]] = []
        #: Start and end of each layer.
        self.spans: list[tuple[float, float]] = []
        #: Pairs that stand in neighbouring layers: `(earlier, later, offset, offset, weight)`.
        self._steps: list[tuple[int, int, float, float, float]] = []
        #: Places of links that lead back, by what they go back past.
        self._beside: dict[int, int] = {}
        self._free = _MOST_PLACES
        self._turn_back()
        self._rank()
        self._pass_through()
        self._order()
        self._add_ways_back()
        self._place_across()
        self._place_along()

    # Layers

    def _turn_back(self) -> None:
        """Links that close a cycle lead back."""
        after: list[list[Link]] = [[] for _ in self.things]
        for link in self.links:
            link.is_back = link.is_back or link.before == link.after
            if not link.is_back:
                after[link.before].append(link)
        done: set[int] = set()
        has_before = {link.after for many in after for link in many}
        starts = [index for index in range(len(self.things)) if index not in has_before]
        for root in (*starts, *range(len(self.things))):
            if root not in done:
                _turn_back_from(root, after, done)

    def _rank(self) -> None:
        """Layers by the longest path."""
        waiting = [0] * len(self.things)
        after: list[list[int]] = [[] for _ in self.things]
        for link in self.links:
            if not link.is_back:
                waiting[link.after] += 1
                after[link.before].append(link.after)
        first = int(any(thing.rank < 0 for thing in self.things))
        ready = deque(index for index, count in enumerate(waiting) if not count)
        for index in ready:
            self.things[index].layer = first if self.things[index].rank >= 0 else 0
        while ready:
            index = ready.popleft()
            layer = self.things[index].layer + 1
            for later in after[index]:
                self.things[later].layer = max(self.things[later].layer, layer, first)
                waiting[later] -= 1
                if not waiting[later]:
                    ready.append(later)
        self._bring_near(after)
        for link in self.links:
            link.is_back = link.is_back and self._length(link) <= 0
        last = max((thing.layer for thing in self.things if thing.rank <= 0), default=-1) + 1
        for thing in self.things:
            thing.layer = last if thing.rank > 0 else thing.layer
        self.rows = [[] for _ in range(last + any(thing.rank > 0 for thing in self.things))]

    def _bring_near(self, after: list[list[int]]) -> None:
        """What begins on its own begins just before it is waited for: so links are short."""
        followers = {later for many in after for later in many}
        for index, thing in enumerate(self.things):
            if index not in followers and not thing.rank:
                layers = [self.things[i].layer for i in after[index] if self.things[i].rank <= 0]
                thing.layer = min(layers, default=thing.layer + 1) - 1

    def _pass_through(self) -> None:
        """Gives links places in the layers between their ends."""
        forward = [link for link in self.links if not link.is_back]
        for link in sorted(forward, key=self._length):
            self._free -= self._length(link) - 1
            if self._free < 0:
                continue
            layers = range(self.things[link.before].layer + 1, self.things[link.after].layer)
            link.passing = [self._passing(layer) for layer in layers]
            ends = [link.before, *link.passing, link.after]
            for earlier, later in pairwise(ends):
                self._step(link, earlier, later)

    def _length(self, link: Link) -> int:
        return self.things[link.after].layer - self.things[link.before].layer

    def _passing(self, layer: int) -> int:
        self.things.append(Thing(0.0, 2.0, is_passing=True, layer=layer))
        return len(self.things) - 1

    def _step(self, link: Link, earlier: int, later: int) -> None:
        # Links through many layers should be straight before others are (Gansner et al., 1993).
        passing = self.things[earlier].is_passing + self.things[later].is_passing
        leaves = link.leaves if earlier == link.before else 0.0
        enters = link.enters if later == link.after else 0.0
        self._steps.append((earlier, later, leaves, enters, (1.0, 2.0, 8.0)[passing]))

    # Order

    def _order(self) -> None:
        before, after = self._neighbours()
        for index in self._first_order(after):
            self.rows[self.things[index].layer].append(index)
        position = [0.0] * len(self.things)
        for row in self.rows:
            _number(row, position)
        size = len(self._steps)
        rounds = 16 if size < 400 else 8 if size < 4000 else 3
        best, fewest = [list(row) for row in self.rows], self._crossings(position)
        for turn in range(rounds):
            if not fewest:
                break
            if turn % 2:
                for row in reversed(self.rows[:-1]):
                    _sort(row, after, position)
            else:
                for row in self.rows[1:]:
                    _sort(row, before, position)
            count = self._crossings(position)
            if count < fewest:
                best, fewest = [list(row) for row in self.rows], count
        self.rows = best

    def _neighbours(self) -> tuple[list[list[tuple[int, float]]], list[list[tuple[int, float]]]]:
        before: list[list[tuple[int, float]]] = [[] for _ in self.things]
        after: list[list[tuple[int, float]]] = [[] for _ in self.things]
        for earlier, later, leaves, enters, _ in self._steps:
            # Offsets within a box count as a part of a place.
            before[later].append((earlier, leaves / (self.things[earlier].across + 1)))
            after[earlier].append((later, enters / (self.things[later].across + 1)))
        return before, after

    def _first_order(self, after: list[list[tuple[int, float]]]) -> list[int]:
        """From the first layer on, each chain to its end: so they lie side by side."""
        seen = [False] * len(self.things)
        ordered: list[int] = []
        for root in sorted(range(len(self.things)), key=lambda index: self.things[index].layer):
            waiting = [root]
            while waiting:
                index = waiting.pop()
                if not seen[index]:
                    seen[index] = True
                    ordered.append(index)
                    waiting += [later for later, _ in reversed(after[index])]
        return ordered

    def _crossings(self, position: list[float]) -> int:
        """How many pairs of links cross."""
        by_layer: dict[int, list[tuple[float, float]]] = {}
        for earlier, later, leaves, enters, _ in self._steps:
            ends = (position[earlier] + leaves * 1e-4, position[later] + enters * 1e-4)
            by_layer.setdefault(self.things[earlier].layer, []).append(ends)
        count = 0
        for ends_of_layer in by_layer.values():
            seen: list[float] = []
            for _, end in sorted(ends_of_layer):
                count += len(seen) - bisect_right(seen, end)
                insort(seen, end)
        return count

    def _add_ways_back(self) -> None:
        """Links that lead back run beside the way that they go back over."""
        after: dict[int, list[int]] = {}
        for earlier, later, *_ in self._steps:
            after.setdefault(earlier, []).append(later)
        back = [link for link in self.links if link.is_back]
        for link in back:
            self._free -= 1 - self._length(link)
            if self._free >= 0:
                is_few = len(back) <= _MOST_WAYS_BACK
                way = self._way(link.after, link.before, after) if is_few else {}
                self._add_way_back(link, way)

    def _way(self, start: int, end: int, after: dict[int, list[int]]) -> dict[int, int]:
        """`{layer: thing}` on a way from `start` to `end`; empty if there is none."""
        came_from = {start: start}
        waiting = deque([start])
        last_layer = self.things[end].layer
        while waiting:
            index = waiting.popleft()
            if index == end:
                break
            for later in after.get(index, ()):
                if later not in came_from and self.things[later].layer <= last_layer:
                    came_from[later] = index
                    waiting.append(later)
        if end not in came_from:
            return {}
        way = {self.things[end].layer: end}
        while end != start:
            end = came_from[end]
            way[self.things[end].layer] = end
        return way

    def _add_way_back(self, link: Link, way: dict[int, int]) -> None:
        first, last = self.things[link.after].layer, self.things[link.before].layer
        way = way or {first: link.after, last: link.before}
        for layer in range(last, first - 1, -1):
            row = self.rows[layer]
            made = self._passing(layer)
            row.insert(row.index(way[layer]) + 1 if layer in way else len(row), made)
            link.passing.append(made)
            if layer in way:
                self._beside[made] = way[layer]
        for later, earlier in pairwise(link.passing):
            self._steps.append((earlier, later, 0.0, 0.0, 8.0))

    # Places

    def _place_across(self) -> None:
        before: list[list[tuple[int, float, float]]] = [[] for _ in self.things]
        after: list[list[tuple[int, float, float]]] = [[] for _ in self.things]
        for earlier, later, leaves, enters, weight in self._steps:
            before[later].append((earlier, leaves - enters, weight))
            after[earlier].append((later, enters - leaves, weight))
        shifts = [self._shifts(row) for row in self.rows]
        for row, shift in zip(self.rows, shifts, strict=True):
            for index, place in zip(row, shift, strict=True):
                self.things[index].at_across = place - shift[-1] / 2
        both = [b + a for b, a in zip(before, after, strict=True)]
        turns = 10 if len(self._steps) < 4000 else 4
        order = list(range(len(self.rows)))
        for turn in range(turns):
            rows = order if turn % 2 == 0 else order[::-1]
            near = both if turn >= turns - 2 else before if turn % 2 == 0 else after
            for number in rows:
                self._settle(self.rows[number], shifts[number], near)
        for _ in range(2):
            self._straighten()
        self._gather(both)
        low = min((t.at_across - t.across / 2 for t in self.things), default=0.0)
        for thing in self.things:
            thing.at_across -= low

    def _shifts(self, row: list[int]) -> list[float]:
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
        one, other = self.things[first], self.things[second]
        gap = _APART_LINK if one.is_passing or other.is_passing else _APART
        return (one.across + other.across) / 2 + gap

    def _settle(
        self, row: list[int], shifts: list[float], near: list[list[tuple[int, float, float]]]
    ) -> None:
        """Moves the things of a layer towards their neighbours, in their order."""
        wanted, weights = [], []
        for index, shift in zip(row, shifts, strict=True):
            weight = total = 0.0
            for other, offset, counts in near[index]:
                total += (self.things[other].at_across + offset) * counts
                weight += counts
            if index in self._beside:
                beside = self._beside[index]
                total += (self.things[beside].at_across + self._apart(beside, index)) * 0.5
                weight += 0.5
            place = total / weight if weight else self.things[index].at_across
            wanted.append(place - shift)
            weights.append(weight or 0.05)
        for index, place, shift in zip(row, _rising(wanted, weights), shifts, strict=True):
            self.things[index].at_across = place + shift

    def _gather(self, near: list[list[tuple[int, float, float]]]) -> None:
        """Brings what has no links, at the start of a layer, next to what has."""
        for row in self.rows:
            count = next((number for number, index in enumerate(row) if near[index]), 0)
            for number in range(count - 1, -1, -1):
                index, neighbour = row[number], row[number + 1]
                place = self.things[neighbour].at_across - self._apart(index, neighbour)
                self.things[index].at_across = place

    def _straighten(self) -> None:
        """Puts things that follow one another alone into one line, as far as there is room."""
        place = {index: number for row in self.rows for number, index in enumerate(row)}
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
        row = self.rows[self.things[index].layer]
        low, high = -math.inf, math.inf
        if number:
            low = self.things[row[number - 1]].at_across + self._apart(row[number - 1], index)
        if number + 1 < len(row):
            high = self.things[row[number + 1]].at_across - self._apart(index, row[number + 1])
        return low, high

    def _align(self, run: list[tuple[int, float]], low: float, high: float) -> None:
        mean = sum(self.things[index].at_across - shift for index, shift in run) / len(run)
        for index, shift in run:
            self.things[index].at_across = min(max(mean, low), high) + shift

    def _place_along(self) -> None:
        climbs = [0.0] * len(self.rows)
        for earlier, later, leaves, enters, _ in self._steps:
            climb = self.things[later].at_across + enters - self.things[earlier].at_across - leaves
            layer = self.things[earlier].layer
            climbs[layer] = max(climbs[layer], abs(climb))
        place = 0.0
        for number, row in enumerate(self.rows):
            longest = max((t.along for t in map(self._thing, row) if t.stretches), default=0.0)
            for thing in map(self._thing, row):
                thing.along = longest if thing.stretches else thing.along
            thickness = max((self.things[index].along for index in row), default=0.0)
            self.spans.append((place, place + thickness))
            for index in row:
                self.things[index].at_along = place + thickness / 2
            gap = _LEAST_GAP if self._is_solid(number + 1) else _PORT_GAP
            place += thickness + min(max(climbs[number] * _SLOPE, gap), _WIDEST_GAP)

    def _thing(self, index: int) -> Thing:
        return self.things[index]

    def _is_solid(self, number: int) -> bool:
        """Does the layer have more than ports?"""
        return number < len(self.rows) and any(self.things[i].along for i in self.rows[number])


def _turn_back_from(root: int, after: list[list[Link]], done: set[int]) -> None:
    path = {root: iter(after[root])}
    done.add(root)
    while path:
        index = next(reversed(path))
        link = next(path[index], None)
        if link is None:
            del path[index]
        elif link.after in path:
            link.is_back = True
        elif link.after not in done:
            done.add(link.after)
            path[link.after] = iter(after[link.after])


def _number(row: list[int], position: list[float]) -> None:
    # Between 0 and the count of the row; boxes are given more room by their offsets alone.
    for number, index in enumerate(row):
        position[index] = number


def _sort(row: list[int], near: list[list[tuple[int, float]]], position: list[float]) -> None:
    wanted = {}
    for index in row:
        places = [position[other] + offset for other, offset in near[index]]
        wanted[index] = sum(places) / len(places) if places else position[index]
    row.sort(key=wanted.__getitem__)
    _number(row, position)


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
