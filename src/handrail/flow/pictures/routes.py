"""How links run: straight through layers, in curves between them."""

from __future__ import annotations

from handrail.flow.pictures.layers import Layers
from handrail.flow.pictures.things import Link

Point = tuple[float, float]
#: One point (straight to there), or three (a cubic Bézier's).
Piece = tuple[Point, ...]


def route(layers: Layers, link: Link) -> list[Piece]:
    """The start of a link, and its pieces: straight in layers, curved between them."""
    things, spans = layers.things, layers.spans
    before, after = things[link.before], things[link.after]
    across = before.at_across + link.leaves
    place = before.at_along + before.along / 2
    pieces: list[Piece] = [((place, across),)]
    ends = [(before.layer, across)]
    ends += [(things[index].layer, things[index].at_across) for index in link.passing]
    ends.append((after.layer, after.at_across + link.enters))
    for number, (layer, across) in enumerate(ends):
        start, end = spans[layer]
        is_on_way_back = link.is_back and 0 < number < len(ends) - 1
        if is_on_way_back:
            start, end = end, start
        if number:
            pieces.append(_bend(pieces[-1][-1], (start, across), number, len(ends), link.is_back))
        if number == len(ends) - 1:
            end = after.at_along - after.along / 2
        pieces.append(((end, across),))
    return _without_stops(pieces)


def _bend(
    start: Point, end: Point, number: int, count: int, is_back: bool
) -> tuple[Point, Point, Point]:
    """From layer to layer, leaving and arriving in the direction of the layers."""
    if is_back and number in (1, count - 1):
        # Turns round, within the gap between the layers.
        reach = min(max(abs(end[1] - start[1]) * 0.6, 14.0), 30.0)
        out = reach if number == 1 else -reach
        into = -reach if number == count - 1 else reach
        return (start[0] + out, start[1]), (end[0] + into, end[1]), end
    middle = (start[0] + end[0]) / 2
    return (middle, start[1]), (middle, end[1]), end


def _without_stops(pieces: list[Piece]) -> list[Piece]:
    """Straight pieces joined, pieces of no length left out."""
    found = pieces[:1]
    for piece in pieces[1:]:
        start, end = found[-1][-1], piece[-1]
        is_level = abs(end[1] - start[1]) < 0.05
        if len(piece) == 3 and is_level and abs(piece[0][1] - start[1]) < 0.05:
            piece = (end,)
        if len(piece) == 1:
            if is_level and abs(end[0] - start[0]) < 0.05:
                continue
            if len(found) > 1 and len(found[-1]) == 1:
                found.pop()
        found.append(piece)
    return found
