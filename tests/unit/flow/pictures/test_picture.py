from __future__ import annotations

from handrail.contracts.expr import parallel
from handrail.contracts.task import Task, task
from handrail.flow.pictures.picture import Picture, PictureEdge, PictureNode
from tests.unit.flow.samples import five, graph_of, sixty

a, b, c, d = (Task(name) for name in "abcd")


def test_members_know_their_innermost_group() -> None:
    inner = parallel(b, c, name="inner")
    picture = Picture.of(graph_of(a >> parallel(inner >> d, Task("e"), name="outer")))
    within = {node.name: node.within for node in picture.nodes}
    assert within == {
        "a": None,
        "b": "inner",
        "c": "inner",
        "inner": "outer",
        "d": "outer",
        "e": "outer",
        "outer": None,
    }


def test_a_task_in_two_groups_is_drawn_in_one() -> None:
    picture = Picture.of(graph_of(parallel(a, b, name="one"), parallel(a, c, name="two")))
    assert picture.members["one"] == ["a", "b"]
    assert picture.members["two"] == ["c"]


def test_notes_say_where_a_task_runs_unless_it_is_here() -> None:
    @task
    def item(item: int) -> int:
        return item

    graph = graph_of(five_task := task("far", handler_type="process")(lambda: None))
    graph.include(item.map([1, 2], task_id="items"))
    picture = Picture.of(graph)
    assert five_task.name == "far"
    assert [(node.name, node.kind, node.note) for node in picture.nodes] == [
        ("far", "task", "process"),
        ("items", "map", "for each item"),
    ]


def test_edges_that_close_a_cycle_are_loops() -> None:
    picture = Picture.of(graph_of(a >> b >> c >> b))
    assert picture.edges == (
        PictureEdge("a", "b"),
        PictureEdge("b", "c"),
        PictureEdge("c", "b", is_loop=True),
    )
    assert picture.loops == {"c": ["b"]}
    assert picture.levels() == {"a": 0, "b": 1, "c": 2}


def test_levels_are_the_longest_ways_from_a_start() -> None:
    graph = graph_of(a >> b >> c)
    graph.add_edge("a", "c")
    assert Picture.of(graph).levels() == {"a": 0, "b": 1, "c": 2}


def test_nodes_can_be_left_out_with_their_edges() -> None:
    picture = Picture.of(graph_of(a >> b >> c), without={"b"})
    assert [node.name for node in picture.nodes] == ["a", "c"]
    assert picture.edges == ()


def test_a_group_is_in_the_state_of_its_worst_member() -> None:
    def state(**states: str) -> str | None:
        return Picture.of(five(), states).by_name["middle"].state

    assert state(clean="succeeded", check="failed", sum="running") == "failed"
    assert state(clean="succeeded", check="succeeded", sum="succeeded") == "succeeded"
    assert state(clean="succeeded") == "queued"
    assert state(middle="succeeded", check="failed") == "succeeded"
    assert state() is None


def test_names_of_no_task_among_the_states_are_ignored() -> None:
    picture = Picture.of(graph_of(a), {"a": "failed", "nobody": "failed"})
    assert picture.nodes == (PictureNode("a", state="failed"),)


def test_the_order_goes_on_with_the_chain_that_was_begun() -> None:
    picture = Picture.of(graph_of(a >> parallel(b >> c, d, name="g")))
    assert picture.in_order() == ["a", "b", "c", "d", "g"]


def test_a_cycle_that_nobody_calls_a_loop_is_still_in_order() -> None:
    nodes = (PictureNode("a"), PictureNode("b"))
    picture = Picture(nodes, (PictureEdge("a", "b"), PictureEdge("b", "a")))
    assert sorted(picture.in_order()) == ["a", "b"]
    assert set(picture.levels()) == {"a", "b"}


def test_a_large_graph_has_all_its_nodes_in_order() -> None:
    picture = Picture.of(sixty())
    place = {name: number for number, name in enumerate(picture.in_order())}
    assert len(place) == len(picture.nodes)
    assert all(place[e.before] < place[e.after] for e in picture.edges if not e.is_loop)
