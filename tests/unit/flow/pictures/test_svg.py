from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from xml.etree.ElementTree import Element

import pytest

from handrail.contracts.event import STATES
from handrail.contracts.task import Task, task
from handrail.flow.graph import TaskGraph
from handrail.flow.pictures.layout import lay_out
from handrail.flow.pictures.letters import visible
from handrail.flow.pictures.picture import Picture
from handrail.flow.pictures.svg import svg
from tests.unit.flow.samples import HOSTILE, five, graph_of, hostile, sixty

_SVG = "{http://www.w3.org/2000/svg}"


def drawn(graph: TaskGraph, states: dict[str, str] | None = None, **how: object) -> Element:
    return ElementTree.fromstring(svg(lay_out(Picture.of(graph, states)), **how))  # type: ignore[arg-type]


def texts(root: Element, kind: str) -> list[str]:
    return [text.text or "" for text in root.iter(f"{_SVG}text") if text.get("class") == kind]


def of_class(root: Element, name: str) -> list[Element]:
    return [found for found in root.iter() if name in (found.get("class") or "").split()]


def test_every_node_group_and_edge_is_there() -> None:
    root = drawn(five())
    assert sorted(texts(root, "name")) == ["check", "clean", "extract", "publish", "sum"]
    assert texts(root, "title") == ["middle"]
    assert texts(root, "note") == ["process"]
    # One into the box, three to its members, three to where they join, one out, one on.
    assert len(of_class(root, "edge")) == 9
    assert len(of_class(root, "loop")) == 0


def test_loops_are_dashed() -> None:
    root = drawn(sixty())
    assert len([edge for edge in of_class(root, "loop") if edge.get("marker-end")]) == 3
    assert ".hg .loop{stroke-dasharray" in svg(lay_out(Picture.of(sixty())))


def test_whatever_a_name_holds_it_is_text() -> None:
    root = drawn(hostile(), title='<b>"')
    assert not list(root.iter(f"{_SVG}script"))
    hovers = {title.text for title in root.iter(f"{_SVG}title")}
    assert {visible(name) for name in HOSTILE} <= hovers
    assert root.get("aria-label") == '<b>"'
    assert all(len(text) <= 34 for text in texts(root, "name"))


@pytest.mark.parametrize("state", STATES)
def test_a_state_has_its_colour_in_light_and_dark_and_a_mark(state: str) -> None:
    text = svg(lay_out(Picture.of(graph_of(Task("a")), {"a": state})))
    light, dark = text.split("@media (prefers-color-scheme:dark)")
    assert f".hg .node.{state} rect" in light
    assert f".hg .node.{state} rect" in dark
    assert 'class="disc"' in text
    assert ('class="mark"' in text) is (state != "queued")
    assert f"<title>a, {state}</title>" in text


def test_an_unknown_state_is_drawn_without_colours() -> None:
    (node,) = of_class(drawn(graph_of(Task("a")), {"a": 'odd" state'}), "node")
    assert node.get("class") == "node task "
    assert node[0].text == 'a, odd" state'


def test_nothing_is_fetched() -> None:
    text = svg(lay_out(Picture.of(sixty())))
    assert "href" not in text
    assert text.count("http") == 1  # the name of the language
    assert "@import" not in text


def test_nodes_may_lead_somewhere() -> None:
    root = drawn(five(), link=lambda name: "#x&" if name == "sum" else None)
    assert [a.get("href") for a in root.iter(f"{_SVG}a")] == ["#x&"]


def test_the_ground_is_painted_on_demand() -> None:
    assert of_class(drawn(five()), "page")
    assert not of_class(drawn(five(), has_page=False), "page")


def test_a_mapped_task_is_drawn_as_several() -> None:
    @task
    def load(item: int) -> int:
        return item

    (node,) = of_class(drawn(graph_of(load.map([1, 2]))), "map")
    assert len(node.findall(f"{_SVG}rect")) == 2


def test_no_graph_is_an_empty_picture() -> None:
    assert of_class(drawn(TaskGraph()), "node") == []
