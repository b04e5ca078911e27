from __future__ import annotations

import pytest

from handrail.contracts.expr import Composable, parallel
from handrail.contracts.task import Task, task
from handrail.errors import WorkflowDefinitionError
from handrail.flow.draw import draw, levels
from handrail.flow.graph import TaskGraph

a, b, c, d = (Task(name) for name in "abcd")


def graph_of(part: Composable) -> TaskGraph:
    graph = TaskGraph()
    graph.include(part)
    return graph


def test_levels_are_the_longest_ways_from_a_start() -> None:
    graph = graph_of(a >> b >> c)
    graph.add_edge("a", "c")
    assert levels(graph) == [["a"], ["b"], ["c"]]
    assert levels(TaskGraph()) == []


def test_an_edge_back_is_no_level() -> None:
    assert levels(graph_of(a >> b >> c >> b)) == [["a"], ["b"], ["c"]]


def test_text_has_a_line_for_each_node() -> None:
    slow = task("slow one", handler_type="process")(lambda: None)
    text = draw(graph_of(a >> parallel(slow, b, name="both")), states={"a": "succeeded"})
    assert text.splitlines() == [
        "  0  ✓ a         [direct]",
        "  1  slow one  [process]  after a",
        "  1  b         [direct]  after a",
        "  2  both      [group]  after slow one, b",
    ]


def test_mermaid_escapes_names() -> None:
    odd = Task('a "b" <script> & ]')
    text = draw(
        graph_of(odd >> parallel(b, c, name="g")), "mermaid", {"b": "failed", "x": "failed"}
    )
    assert '["a &quot;b&quot; &lt;script&gt; &amp; ]"]' in text
    assert '(("g"))' in text
    assert "style n1 fill:" in text
    assert text.count("-->") == 4
    assert text.count("style") == 1


def test_an_empty_graph_is_drawn() -> None:
    assert draw(TaskGraph()) == ""
    assert draw(TaskGraph(), "mermaid") == "flowchart LR"


def test_another_format_is_refused() -> None:
    with pytest.raises(WorkflowDefinitionError, match="expected 'text' or 'mermaid'"):
        draw(graph_of(d), "png")
