from __future__ import annotations

import random
import time
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handrail.contracts.expr import chain, parallel
from handrail.contracts.task import Task
from handrail.flow.pictures.layers import Layers
from handrail.flow.pictures.layout import Curve, Layout, Rectangle, lay_out
from handrail.flow.pictures.picture import Picture, PictureEdge, PictureNode
from handrail.flow.pictures.places import _rising
from handrail.flow.pictures.routes import Point
from handrail.flow.pictures.things import Link, Thing
from tests.unit.flow.samples import five, graph_of, hostile, sixty


def overlap(one: Rectangle, other: Rectangle, by: float = 0.5) -> bool:
    return (
        one.x + by < other.x + other.width
        and other.x + by < one.x + one.width
        and one.y + by < other.y + other.height
        and other.y + by < one.y + one.height
    )


def holds(outer: Rectangle, inner: Rectangle) -> bool:
    return (
        outer.x <= inner.x + 0.1
        and outer.y <= inner.y + 0.1
        and inner.x + inner.width <= outer.x + outer.width + 0.1
        and inner.y + inner.height <= outer.y + outer.height + 0.1
    )


def points(curve: Curve) -> list[Point]:
    """Points along a curve, some of each piece."""
    found = [curve.start]
    for piece in curve.pieces:
        start = found[-1]
        for number in range(1, 17):
            t = number / 16
            ends = (start, *piece)
            while len(ends) > 1:  # de Casteljau
                ends = tuple(
                    (p[0] + (q[0] - p[0]) * t, p[1] + (q[1] - p[1]) * t) for p, q in pairwise(ends)
                )
            found.append(ends[0])
    return found


def check(picture: Picture, layout: Layout) -> None:
    """Nothing overlaps, boxes hold their members and nothing else, all is in the picture."""
    places = {node.name: place for node, place in (*layout.nodes, *layout.joins)}
    boxes = {node.name: place for node, place in layout.boxes}
    assert set(places) == set(picture.by_name)
    whole = Rectangle(0, 0, layout.width, layout.height)
    for place in (*places.values(), *boxes.values()):
        assert holds(whole, place)
    assert not any(overlap(*two) for two in combinations(places.values(), 2))
    for name, box in boxes.items():
        for other, place in places.items():
            assert holds(box, place) if is_inside(picture, other, name) else not overlap(box, place)
    for curve in layout.curves:
        assert all(
            -1 <= x <= layout.width + 1 and -1 <= y <= layout.height + 1 for x, y in points(curve)
        )


def is_inside(picture: Picture, name: str, group: str) -> bool:
    inside: str | None = name
    while inside is not None and inside != group:
        inside = picture.by_name[inside].within
    return inside is not None


def crossed(layout: Layout) -> list[tuple[Point, str]]:
    """Where curves run over nodes."""
    return [
        ((x, y), node.name)
        for curve in layout.curves
        for x, y in points(curve)
        for node, place in layout.nodes
        if place.x + 1 < x < place.x + place.width - 1
        and place.y + 1 < y < place.y + place.height - 1
    ]


@pytest.mark.parametrize("direction", ["right", "down"])
def test_pictures_are_tidy(direction: str) -> None:
    for graph in (five(), sixty(), hostile()):
        picture = Picture.of(graph, {"extract": "succeeded"})
        layout = lay_out(picture, direction)
        check(picture, layout)
        assert crossed(layout) == []


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    count = draw(st.integers(0, 14))
    groups = draw(st.integers(0, 3))
    within = [draw(st.sampled_from([None, *range(number)])) for number in range(groups)]
    names = [f"g{number}" for number in range(groups)]
    nodes = [
        PictureNode(name, "group", within=None if outer is None else names[outer])
        for name, outer in zip(names, within, strict=True)
    ]
    for number in range(count):
        group = draw(st.sampled_from([None, *names]))
        nodes.append(PictureNode(f"t{number}", within=group, note=draw(st.sampled_from(["", "n"]))))
    every = [node.name for node in nodes]
    edges = (
        draw(
            st.lists(
                st.tuples(st.sampled_from(every), st.sampled_from(every), st.booleans()),
                max_size=24,
                unique_by=lambda edge: edge[:2],
            )
        )
        if every
        else []
    )
    return Picture(tuple(nodes), tuple(PictureEdge(*edge) for edge in edges))


@settings(max_examples=150, deadline=None)
@given(pictures(), st.sampled_from(["right", "down"]))
def test_any_graph_is_tidy(picture: Picture, direction: str) -> None:
    layout = lay_out(picture, direction)
    check(picture, layout)
    assert crossed(layout) == []
    # Each edge ends in an arrow once, unless it ends where members join.
    joins = {node.name for node, _ in layout.joins}
    arrows = sum(curve.has_arrow for curve in layout.curves)
    assert arrows >= len({edge.after for edge in picture.edges if edge.after not in joins})


def test_a_box_without_edges_is_as_wide_as_its_title() -> None:
    members = (PictureNode("a", within="g" * 30), PictureNode("g" * 30, "group"))
    (_, box), *_ = lay_out(Picture(members, ()), "right").boxes
    assert box.width > 200


def test_a_chain_is_one_straight_line() -> None:
    picture = Picture.of(graph_of(chain(*(Task(f"c{n}") for n in range(8)))))
    layout = lay_out(picture, "right")
    assert len({place.y for _, place in layout.nodes}) == 1
    assert all(len(curve.pieces) == 1 for curve in layout.curves)


def test_a_long_chain_goes_down_and_a_wide_fan_goes_right() -> None:
    long = lay_out(Picture.of(graph_of(chain(*(Task(f"c{n}") for n in range(60))))))
    assert long.height > long.width
    members = parallel(*(Task(f"m{n}") for n in range(60)), name="g")
    wide = lay_out(Picture.of(graph_of(Task("a") >> members)))
    assert wide.width < 1000


def test_loops_are_curves_of_their_own() -> None:
    layout = lay_out(Picture.of(sixty()))
    # One for each of the three loops, whether or not it leaves a box.
    assert sum(curve.is_loop and curve.has_arrow for curve in layout.curves) == 3


def test_what_starts_late_stands_before_what_waits_for_it() -> None:
    graph = graph_of(chain(*(Task(f"c{n}") for n in range(5))))
    graph.add_node(Task("late"))
    graph.add_edge("late", "c4")
    layout = lay_out(Picture.of(graph), "right")
    places = {node.name: place for node, place in layout.nodes}
    assert places["late"].x == places["c3"].x


def test_no_nodes_are_no_picture() -> None:
    layout = lay_out(Picture((), ()))
    assert (layout.nodes, layout.curves) == ((), ())
    assert layout.width > 0


def test_links_that_lead_back_over_layers_keep_beside_what_they_go_back_over() -> None:
    things = [Thing(10, 10) for _ in range(3)]
    links = [Link(0, 1), Link(1, 2), Link(2, 0)]
    layers = Layers(things, links)
    assert [link.is_back for link in links] == [False, False, True]
    assert [layers.things[index].layer for index in links[2].passing] == [2, 1, 0]
    assert len({layers.things[index].at_across for index in links[2].passing}) == 1


def test_the_nearest_rising_sequence_pools_what_falls() -> None:
    assert _rising([1, 3, 2, 4], [1, 1, 1, 1]) == [1, 2.5, 2.5, 4]
    assert _rising([3, 1], [3, 1]) == [2.5, 2.5]
    assert _rising([], []) == []


def test_thousands_of_nodes_and_edges_take_a_moment() -> None:
    rng = random.Random(7)
    nodes = tuple(PictureNode(f"t{number}") for number in range(2000))
    pairs = {tuple(sorted(rng.sample(range(2000), 2))) for _ in range(20_000)}
    edges = tuple(PictureEdge(f"t{low}", f"t{high}") for low, high in pairs)
    begin = time.process_time()
    layout = lay_out(Picture(nodes, edges))
    assert time.process_time() - begin < 6  # about 1 s; tests share their machine
    assert len(layout.nodes) == 2000
    assert len(layout.curves) == len(edges)
