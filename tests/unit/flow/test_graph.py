from __future__ import annotations

import threading

import pytest

from handrail.contracts.expr import Composable, ParallelGroup, chain, parallel
from handrail.contracts.task import Task
from handrail.errors import CycleError, DuplicateTaskError, UnknownTaskError
from handrail.flow.graph import TaskGraph

a, b, c, d, e = (Task(name) for name in "abcde")


def graph_of(*parts: Composable) -> TaskGraph:
    graph = TaskGraph()
    for part in parts:
        graph.include(part)
    return graph


def edges(graph: TaskGraph) -> list[str]:
    return sorted(f"{before}>{after}" for before, after in graph.edges())


# Nodes and edges


def test_a_node_is_found_by_its_name() -> None:
    graph = TaskGraph()
    graph.add_node(a)
    graph.add_node(b, "other")
    assert graph.get_node("a") is a
    assert graph.get_node("other") is b
    assert list(graph) == ["a", "other"]
    assert (len(graph), "a" in graph, graph.has_node("b")) == (2, True, False)


def test_the_same_task_twice_is_one_node_and_another_of_that_name_is_refused() -> None:
    graph = graph_of(a, a)
    assert len(graph) == 1
    with pytest.raises(DuplicateTaskError, match="Duplicate task ID: 'a' already exists"):
        graph.add_node(Task("a"))
    with pytest.raises(ValueError, match="Duplicate"):
        graph.add_node(b, "a")


def test_unknown_names_are_refused_with_those_that_are_known() -> None:
    graph = graph_of(a, b)
    for ask in (graph.get_node, graph.successors, graph.predecessors, graph.remove_node):
        with pytest.raises(UnknownTaskError, match=r"Unknown task 'x'\. Known tasks: a, b\."):
            ask("x")
    with pytest.raises(KeyError):
        graph.add_edge("a", "x")


def test_an_edge_is_added_once() -> None:
    graph = graph_of(a, b)
    graph.add_edge("a", "b")
    graph.add_edge("a", "b")
    assert graph.edges() == [("a", "b")]
    assert (graph.successors("a"), graph.predecessors("b")) == (["b"], ["a"])


def test_a_removed_node_takes_its_edges_along() -> None:
    graph = graph_of(a >> b >> c)
    graph.remove_node("b")
    assert graph.edges() == []
    assert graph.get_start_nodes() == ["a", "c"]


def test_a_renamed_node_keeps_its_place_and_edges() -> None:
    graph = graph_of(a >> b >> c, b >> b)
    graph.rename_node("b", "x")
    assert list(graph) == ["a", "x", "c"]
    assert edges(graph) == ["a>x", "x>c", "x>x"]
    assert graph.get_node("x") is b
    with pytest.raises(DuplicateTaskError):
        graph.rename_node("x", "a")
    with pytest.raises(UnknownTaskError):
        graph.rename_node("b", "y")


# Composing


def test_a_sequence_is_its_edges() -> None:
    assert edges(graph_of(a >> b >> c)) == ["a>b", "b>c"]
    assert edges(graph_of(a >> (b >> c))) == ["a>b", "b>c"]
    assert edges(graph_of(c << b)) == ["b>c"]


def test_what_follows_a_group_follows_its_node() -> None:
    group = (b | c).set_group_name("g")
    graph = graph_of(a >> group >> d)
    assert edges(graph) == ["a>b", "a>c", "b>g", "c>g", "g>d"]
    assert graph.get_start_nodes() == ["a"]


def test_members_may_be_sequences() -> None:
    group = parallel(a >> b, c >> d, name="g")
    assert edges(graph_of(group >> e)) == ["a>b", "b>g", "c>d", "d>g", "g>e"]


def test_groups_may_be_nested() -> None:
    inner = parallel(b, c, name="inner")
    outer = parallel(inner, d, name="outer")
    assert edges(graph_of(a >> outer >> e)) == [
        "a>b",
        "a>c",
        "a>d",
        "b>inner",
        "c>inner",
        "d>outer",
        "inner>outer",
        "outer>e",
    ]


def test_groups_without_a_name_get_free_ones() -> None:
    graph = graph_of(a >> (b | c) >> (d | e))
    assert [name for name in graph if name not in "abcde"] == [
        "ParallelGroup_1",
        "ParallelGroup_2",
    ]
    assert "ParallelGroup_1>d" in edges(graph)


def test_a_group_may_stand_in_several_graphs() -> None:
    first, second = a | b, c | d
    one, other = graph_of(first >> e, second), graph_of(second >> e, first)
    assert one.name_of(first) == other.name_of(second) == "ParallelGroup_1"
    assert one.successors(one.name_of(first)) == ["e"]
    assert other.successors(other.name_of(second)) == ["e"]
    assert other.successors(other.name_of(first)) == []


def test_two_groups_may_have_the_same_members() -> None:
    graph = graph_of((a | b) >> c, (a | b) >> d)
    assert edges(graph) == [
        "ParallelGroup_1>c",
        "ParallelGroup_2>d",
        "a>ParallelGroup_1",
        "a>ParallelGroup_2",
        "b>ParallelGroup_1",
        "b>ParallelGroup_2",
    ]


def test_a_group_named_like_a_task_is_refused() -> None:
    with pytest.raises(DuplicateTaskError):
        graph_of(a, ParallelGroup([b, c], "a"))


def test_the_same_tasks_are_composed_into_several_graphs_at_once() -> None:
    together = threading.Barrier(4)
    graphs: list[TaskGraph] = []

    def compose() -> None:
        together.wait(5)
        graphs.append(graph_of(a >> (b | c) >> d))

    threads = [threading.Thread(target=compose) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len({tuple(edges(graph)) for graph in graphs}) == 1
    assert len(graphs) == 4


# Cycles


def test_cycles_are_found() -> None:
    graph = graph_of(a >> b >> c >> b, c >> d)
    assert graph.detect_cycles() == [["b", "c", "b"]]
    assert [edge[:2] for edge in graph.loop_edges()] == [("c", "b")]
    with pytest.raises(CycleError, match="b >> c >> b"):
        graph.check_acyclic()


def test_a_task_that_follows_itself_is_a_cycle() -> None:
    assert graph_of(a >> a).detect_cycles() == [["a", "a"]]


def test_a_graph_without_a_start_has_its_cycle_found() -> None:
    graph = graph_of(a >> b >> a)
    assert graph.get_start_nodes() == []
    assert [edge[:2] for edge in graph.loop_edges()] == [("b", "a")]


def test_a_diamond_is_no_cycle() -> None:
    graph = graph_of(a >> b >> d, a >> c >> d)
    assert graph.detect_cycles() == []
    graph.check_acyclic()


def test_a_long_chain_is_no_deep_recursion() -> None:
    tasks = [Task(f"t{number}") for number in range(5000)]
    graph = graph_of(chain(*tasks))
    assert len(graph.edges()) == 4999
    assert graph.detect_cycles() == []
