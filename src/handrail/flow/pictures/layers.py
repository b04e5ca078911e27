"""Layers: what follows one another is put into rows one after another, and links between them.

The way of Sugiyama, Tagawa and Toda (1981): layers by the longest path, links through places of
their own in the layers between, an order with few crossings (`order`), places that make links
straight (`places`).
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from handrail.flow.pictures.order import in_rows
from handrail.flow.pictures.places import Places
from handrail.flow.pictures.things import Link, Step, Thing

_LEAST_GAP, _WIDEST_GAP, _PORT_GAP = 46.0, 180.0, 16.0
#: Room before the first and after the last layer for links that turn round there.
_TURN = 24.0
#: A link grows by so much of the height it climbs, so that it does not get too steep.
_SLOPE = 0.14
#: Places for links that pass layers, altogether. Links beyond that, the longest ones, are drawn
#: straight across.
_MOST_PLACES = 12_000
#: If more links than this lead back, their ways are not made to follow what they go back over.
_MOST_WAYS_BACK = 64


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
        #: Extent along.
        self.length = 0.0
        self._steps: list[Step] = []
        #: Places of links that lead back, by what they go back past.
        self._beside: dict[int, int] = {}
        self._free = _MOST_PLACES
        self._turn_back()
        self._rank()
        self._pass_through()
        self.rows = in_rows(self.things, self._steps, len(self.rows))
        self._add_ways_back()
        Places(self.things, self._steps, self.rows, self._beside)
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
        self._steps.append(Step(earlier, later, leaves, enters, (1.0, 2.0, 8.0)[passing]))

    # Links that lead back

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
            self._steps.append(Step(earlier, later, 0.0, 0.0, 8.0))

    # Along

    def _place_along(self) -> None:
        climbs = [0.0] * len(self.rows)
        for earlier, later, leaves, enters, _ in self._steps:
            climb = self.things[later].at_across + enters - self.things[earlier].at_across - leaves
            layer = self.things[earlier].layer
            climbs[layer] = max(climbs[layer], abs(climb))
        back = [link for link in self.links if link.is_back]
        is_turning = any(not self.things[link.after].layer for link in back)
        place = _TURN if is_turning else 0.0
        for number, row in enumerate(self.rows):
            longest = max((t.along for t in map(self._thing, row) if t.stretches), default=0.0)
            for thing in map(self._thing, row):
                thing.along = longest if thing.stretches else thing.along
            thickness = max((self.things[index].along for index in row), default=0.0)
            self.spans.append((place, place + thickness))
            for index in row:
                self.things[index].at_along = place + thickness / 2
            gap = _LEAST_GAP if self._is_solid(number + 1) else _PORT_GAP
            self.length = place + thickness
            place += thickness + min(max(climbs[number] * _SLOPE, gap), _WIDEST_GAP)
        if any(self.things[link.before].layer == len(self.rows) - 1 for link in back):
            self.length += _TURN

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
