"""Where everything in a picture is drawn: nodes, boxes around groups, curves between them.

Each group is placed on its own, from the innermost to the outermost, and is one large thing in
what surrounds it. Edges that cross the border of a box do so at a port, one for each node that
they come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from handrail.flow.pictures.layers import Layers
from handrail.flow.pictures.letters import width_of
from handrail.flow.pictures.picture import Picture, PictureNode
from handrail.flow.pictures.routes import Piece, Point, route
from handrail.flow.pictures.things import Link, Thing

#: Sizes of letters: names, second lines, titles of boxes.
NAME_SIZE, NOTE_SIZE, TITLE_SIZE = 13.0, 10.5, 11.5
#: Where text begins in a node, with and without a mark before it.
TEXT_START, TEXT_START_MARKED = 13.0, 34.0
#: Height of the title of a box.
TITLE_HEIGHT = 26.0
_NODE_HEIGHT, _PLAIN_HEIGHT, _LEAST_WIDTH, _JOIN = 44.0, 34.0, 64.0, 12.0
_PADDING, _MARGIN = 14.0, 16.0
#: As wide as a page; what is wider counts against a direction.
_PAGE_WIDTH = 1100.0


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Left upper corner and size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A line from `start` on."""

    start: Point
    pieces: tuple[Piece, ...]
    is_loop: bool
    #: Does it end at a node, so that it ends in an arrow?
    has_arrow: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture with all places, in pixels from the left upper corner."""

    width: float
    height: float
    nodes: tuple[tuple[PictureNode, Rectangle], ...]
    #: Groups with members, the outer before the inner.
    boxes: tuple[tuple[PictureNode, Rectangle], ...]
    #: Where the members of a box join: a dot.
    joins: tuple[tuple[PictureNode, Rectangle], ...]
    curves: tuple[Curve, ...]


def lay_out(picture: Picture, direction: str | None = None) -> Layout:
    """Places a picture.

    Args:
        direction: in which one node follows another, `"right"` or `"down"`; by default what fits
            a page that is scrolled downwards.
    """
    return _Composer(picture, direction or _direction(picture)).layout()


def _node_width(node: PictureNode) -> float:
    start = TEXT_START_MARKED if node.state else TEXT_START
    text = max(width_of(node.label, NAME_SIZE), width_of(node.note, NOTE_SIZE))
    return max(start + text + TEXT_START, _LEAST_WIDTH)


def _direction(picture: Picture) -> str:
    levels = picture.levels()
    counts: dict[int, int] = {}
    for name, level in levels.items():
        counts[level] = counts.get(level, 0) + (picture.by_name[name].kind != "group")
    depth, breadth = len(counts), max(counts.values(), default=0)
    width = sum(_node_width(node) for node in picture.nodes) / max(len(picture.nodes), 1)
    right = _cost(depth * (width + 60), breadth * 66)
    return "right" if right <= _cost(breadth * (width + 22), depth * 96) else "down"


def _cost(width: float, height: float) -> float:
    return 3 * max(width, _PAGE_WIDTH) / _PAGE_WIDTH + height / _PAGE_WIDTH


@dataclass(slots=True)
class _Room:
    """The whole picture, or one group: what lies in it and how it is joined."""

    #: Its things: names of nodes and groups, or ports.
    index: dict[object, int] = field(default_factory=dict)
    things: list[Thing] = field(default_factory=list)
    links: dict[tuple[object, object, bool], Link] = field(default_factory=dict)
    #: Links that end at a node of the picture.
    with_arrow: set[tuple[object, object, bool]] = field(default_factory=set)
    layers: Layers | None = None
    #: From its corner to that of its content.
    inset: Point = (0.0, 0.0)
    #: Its whole extent along.
    along: float = 0.0


@dataclass(frozen=True, slots=True)
class _Port:
    """Where edges from a node cross the border of a box."""

    box: str
    source: str
    is_loop: bool
    is_entry: bool


class _Composer:
    def __init__(self, picture: Picture, direction: str) -> None:
        self._picture = picture
        self._is_down = direction == "down"
        self._within = {node.name: node.within for node in picture.nodes}
        has_notes = any(node.note for node in picture.nodes)
        self._height = _NODE_HEIGHT if has_notes else _PLAIN_HEIGHT
        #: Names of the groups that are boxes, the inner before the outer.
        self._boxes = self._inner_first()
        self._rooms: dict[str | None, _Room] = {name: _Room() for name in (*self._boxes, None)}
        self._corners: dict[str | None, Point] = {None: (0.0, 0.0)}

    def layout(self) -> Layout:
        for name in (*self._boxes, None):
            self._furnish(name)
        for edge in self._picture.edges:
            self._connect(edge.before, edge.after, edge.is_loop)
        for name in (*self._boxes, None):
            self._place(name)
        return self._collect()

    def _inner_first(self) -> list[str]:
        found: list[str] = []
        waiting = list(self._picture.members.get(None, ()))
        while waiting:
            name = waiting.pop()
            members = self._picture.members.get(name)
            if members:
                found.append(name)
                waiting += members
        return found[::-1]

    # What lies where

    def _furnish(self, box: str | None) -> None:
        room = self._rooms[box]
        if box is not None:
            self._add(room, box, self._thing(_JOIN, _JOIN))
        for name in self._picture.members.get(box, ()):
            if name in self._rooms:
                self._add(room, _inside(name), self._thing(0.0, 0.0))
            else:
                thing = self._thing(_node_width(self._picture.by_name[name]), self._height)
                thing.stretches = not self._is_down
                self._add(room, name, thing)

    def _thing(self, width: float, height: float) -> Thing:
        return Thing(height, width) if self._is_down else Thing(width, height)

    @staticmethod
    def _add(room: _Room, key: object, thing: Thing) -> None:
        room.index[key] = len(room.things)
        room.things.append(thing)

    def _rooms_of(self, name: str) -> list[str | None]:
        """The boxes around a node, the innermost first, then none."""
        room: str | None = name if name in self._rooms else self._within[name]
        found = [room]
        while room is not None:
            room = self._within[room]
            found.append(room)
        return found

    def _connect(self, before: str, after: str, is_loop: bool) -> None:
        """Draws an edge through every room that it crosses."""
        out, into = self._rooms_of(before), self._rooms_of(after)
        while len(out) > 1 and len(into) > 1 and out[-2] == into[-2]:
            out.pop()
            into.pop()
        start: object = before
        for box in out[:-1]:
            port = _Port(str(box), before, is_loop, is_entry=False)
            self._link(box, start, port, is_loop)
            start = port
        end: object = after
        for box in into[:-1]:
            port = _Port(str(box), before, is_loop, is_entry=True)
            self._link(box, port, end, is_loop)
            end = port
        self._link(out[-1], start, end, is_loop, is_back=is_loop)

    def _link(
        self, box: str | None, start: object, end: object, is_loop: bool, is_back: bool = False
    ) -> None:
        room = self._rooms[box]
        for key in (start, end):
            if isinstance(key, _Port) and key.box == box and key not in room.index:
                self._add(room, key, Thing(0.0, 4.0, rank=-1 if key.is_entry else 1))
        if (start, end, is_loop) not in room.links:
            link = Link(self._index(room, box, start), self._index(room, box, end), is_back)
            room.links[start, end, is_loop] = link
            if isinstance(end, str) and end != box:
                room.with_arrow.add((start, end, is_loop))

    @staticmethod
    def _index(room: _Room, box: str | None, key: object) -> int:
        if isinstance(key, _Port) and key.box != box:
            return room.index[_inside(key.box)]
        return room.index[key]

    # Places

    def _place(self, box: str | None) -> None:
        room = self._rooms[box]
        for (start, end, _), link in room.links.items():
            link.leaves = self._offset(box, start)
            link.enters = self._offset(box, end)
        room.layers = Layers(room.things, list(room.links.values()))
        if box is None:
            room.inset = (_MARGIN, _MARGIN)
            return
        title = 2 * _PADDING + width_of(self._picture.by_name[box].label, TITLE_SIZE) + 22
        along, across = self._extent(room)
        has_entry = any(isinstance(key, _Port) and key.is_entry for key in room.index)
        has_exit = any(isinstance(key, _Port) and not key.is_entry for key in room.index)
        before = (0.0 if has_entry else _PADDING) + (TITLE_HEIGHT if self._is_down else 0.0)
        above = _PADDING + (0.0 if self._is_down else TITLE_HEIGHT)
        along += before + (0.0 if has_exit else _PADDING)
        across += above + _PADDING
        missing = max(title - (across if self._is_down else along), 0.0)
        if self._is_down:
            above, across = above + missing / 2, across + missing
        else:
            before, along = before + missing / 2, along + missing
        room.inset, room.along = (before, above), along
        outer = self._rooms[self._within[box]]
        thing = outer.things[outer.index[_inside(box)]]
        thing.along, thing.across = along, across

    @staticmethod
    def _extent(room: _Room) -> Point:
        assert room.layers is not None
        across = max((t.at_across + t.across / 2 for t in room.things), default=0.0)
        return room.layers.length, across

    def _offset(self, box: str | None, key: object) -> float:
        """Where a link ends, from the centre of the thing."""
        if not isinstance(key, _Port) or key.box == box:
            return 0.0
        inner, outer = self._rooms[key.box], self._rooms[box]
        port = inner.things[inner.index[key]]
        size = outer.things[outer.index[_inside(key.box)]].across
        return inner.inset[1] + port.at_across - size / 2

    # The whole

    def _collect(self) -> Layout:
        nodes, boxes, joins = [], [], []
        curves: list[Curve] = []
        for box in (None, *reversed(self._boxes)):
            room = self._rooms[box]
            corner = self._corners[box]
            origin = (corner[0] + room.inset[0], corner[1] + room.inset[1])
            for key, index in room.index.items():
                thing = room.things[index]
                start = (
                    origin[0] + thing.at_along - thing.along / 2,
                    origin[1] + thing.at_across - thing.across / 2,
                )
                rectangle = self._rectangle(start, thing)
                if isinstance(key, _Inside):
                    self._corners[key.name] = start
                    boxes.append((self._picture.by_name[key.name], rectangle))
                elif key == box:
                    joins.append((self._picture.by_name[str(key)], rectangle))
                elif isinstance(key, str):
                    nodes.append((self._picture.by_name[key], rectangle))
            curves += self._curves(box, room, origin)
        along, across = self._extent(self._rooms[None])
        size = (across, along) if self._is_down else (along, across)
        return Layout(
            size[0] + 2 * _MARGIN,
            size[1] + 2 * _MARGIN,
            tuple(nodes),
            tuple(boxes),
            tuple(joins),
            tuple(curves),
        )

    def _rectangle(self, start: Point, thing: Thing) -> Rectangle:
        x, y = self._turned(start)
        size = (thing.across, thing.along) if self._is_down else (thing.along, thing.across)
        return Rectangle(x, y, *size)

    def _turned(self, point: Point) -> Point:
        return (point[1], point[0]) if self._is_down else point

    def _curves(self, box: str | None, room: _Room, origin: Point) -> list[Curve]:
        assert room.layers is not None
        found = []
        for key, link in room.links.items():
            start, *pieces = route(room.layers, link)
            # Ports are in the border, which may lie apart from the content.
            if isinstance(key[0], _Port) and key[0].box == box:
                start = ((-room.inset[0], start[0][1]),)
            if isinstance(key[1], _Port) and key[1].box == box:
                pieces.append(((room.along - room.inset[0], pieces[-1][-1][1]),))
            placed = tuple([self._placed(piece, origin) for piece in pieces])
            (first,) = self._placed(start, origin)
            found.append(Curve(first, placed, key[2], key in room.with_arrow))
        return found

    def _placed(self, piece: Piece, origin: Point) -> Piece:
        x, y = origin
        if self._is_down:
            return tuple([(across + y, along + x) for along, across in piece])
        return tuple([(along + x, across + y) for along, across in piece])


@dataclass(frozen=True, slots=True)
class _Inside:
    """Stands for a box in the room around it."""

    name: str


def _inside(name: str) -> _Inside:
    return _Inside(name)
