from __future__ import annotations

from handrail.contracts.expr import parallel
from handrail.contracts.task import Task, task
from handrail.flow.graph import TaskGraph
from handrail.flow.pictures.picture import Picture
from handrail.flow.pictures.text import text_lines
from tests.unit.flow.samples import HOSTILE, five, graph_of, hostile, sixty

a, b, c, d, e = (Task(name) for name in "abcde")


def drawn(graph: TaskGraph, states: dict[str, str] | None = None) -> list[str]:
    return [str(line) for line in text_lines(Picture.of(graph, states))]


def lanes(graph: TaskGraph) -> list[str]:
    """Lines with marks and names, without what is said of the nodes."""
    return [f"{line.gutter}{line.name}" for line in text_lines(Picture.of(graph))]


def test_a_chain_is_one_column() -> None:
    assert drawn(graph_of(a >> b >> c)) == ["● a", "● b  after a", "● c  after b"]


def test_what_is_alike_stands_in_a_bracket() -> None:
    assert drawn(five()) == [
        "● extract",
        "┏ ● clean  after extract",
        "┃ ● check  after extract",
        "┗ ● sum    [process]  after extract",
        "◆ middle   [group]  after clean, check, sum",
        "● publish  after middle",
    ]


def test_branches_have_lines_of_their_own_and_join_again() -> None:
    assert lanes(graph_of(a >> parallel(b >> c, d, name="g") >> e)) == [
        "● a",
        "├─● b",
        "│ ● c",
        "● │ d",
        "╰─┤",
        "  ◆ g",
        "  ● e",
    ]


def test_lines_that_cross_do_not_touch() -> None:
    graph = graph_of(a, b)
    for name in "cde":
        graph.add_node(Task(name))
    for before, after in ("ac", "ad", "bd", "be", "ce"):
        graph.add_edge(before, after)
    assert lanes(graph) == ["● a", "├─● c", "│ │ ● b", "●─│─┤ d", "  ●─╯ e"]


def test_what_has_nothing_to_do_with_what_stands_above_keeps_a_distance() -> None:
    assert drawn(graph_of(a, b)) == ["● a", "", "● b"]


def test_states_are_marks_and_words_where_a_mark_is_not_enough() -> None:
    states = {"extract": "succeeded", "clean": "failed", "check": "crashed"}
    lines = text_lines(Picture.of(five(), states))
    assert [line.state for line in lines] == [
        "succeeded",
        "failed",
        "crashed",
        None,
        "failed",
        None,
    ]
    assert [str(line) for line in lines][:3] == [
        "✓ extract",
        "┏ ✗ clean  [failed]  after extract",
        "┃ ✗ check  [crashed]  after extract",
    ]


def test_loops_say_where_they_lead() -> None:
    assert drawn(graph_of(a >> b >> a))[1] == "● b  after a  ↺ a"


def test_a_mapped_task_is_marked() -> None:
    @task
    def load(item: int) -> int:
        return item

    assert drawn(graph_of(load.map([1], task_id="loads"))) == ["▣ loads  [for each item]"]


def test_a_line_is_a_line_whatever_a_name_holds() -> None:
    lines = drawn(hostile())
    assert len(lines) == 6
    assert all(line.isprintable() for line in lines)
    assert "line\\nbreak\\x1b[2J" in "".join(lines)
    assert "x" * 61 not in "".join(lines)
    assert HOSTILE[0] in lines[0]


def test_a_fan_of_two_hundred_takes_a_line_a_node() -> None:
    members = parallel(*(Task(f"m{number}") for number in range(200)), name="g")
    lines = drawn(graph_of(a >> members >> b))
    assert len(lines) == 203
    assert lines[-2].endswith("after m0, m1, m2 and 197 more")


def test_every_node_of_a_large_graph_has_its_line() -> None:
    graph = sixty()
    assert sum(line.name != "" for line in text_lines(Picture.of(graph))) == len(graph)
    assert all(len(line.gutter) < 16 for line in text_lines(Picture.of(graph)))


def test_too_many_lines_side_by_side_are_a_list() -> None:
    graph = graph_of(*(Task(f"a{number}") for number in range(30)))
    for number in range(30):
        graph.add_node(Task(f"b{number}"))
        for step in (0, 3, 12):
            graph.add_edge(f"a{(number * 7 + step) % 30}", f"b{number}")
    lines = drawn(graph)
    assert lines[0] == "0  ● a0"
    assert lines[30] == "1  ● b0   after a0, a3, a12"
    assert len(lines) == 60


def test_no_nodes_are_no_lines() -> None:
    assert drawn(TaskGraph()) == []
