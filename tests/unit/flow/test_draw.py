from __future__ import annotations

from pathlib import Path

import pytest

from handrail.contracts.task import Task, task
from handrail.errors import WorkflowDefinitionError
from handrail.flow.draw import FORMATS, draw
from handrail.flow.graph import TaskGraph
from handrail.flow.workflow import workflow
from tests.unit.flow.samples import five, graph_of

_STARTS = {
    "text": "● extract",
    "mermaid": "flowchart LR\n",
    "dot": "digraph {\n",
    "svg": "<svg ",
    "png": b"\x89PNG",
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_drawn(form: str) -> None:
    drawn = draw(five(), form)
    start = _STARTS[form]
    assert drawn[: len(start)] == start


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.txt", "text"),
        ("a.mmd", "mermaid"),
        ("a.mermaid", "mermaid"),
        ("a.dot", "dot"),
        ("a.gv", "dot"),
        ("a.SVG", "svg"),
        ("a.png", "png"),
    ],
)
def test_a_file_is_written_in_the_format_that_it_ends_in(
    tmp_path: Path, name: str, form: str
) -> None:
    path = tmp_path / name
    drawn = draw(five(), path=path)
    written = path.read_bytes()
    assert drawn == draw(five(), form)
    if isinstance(drawn, bytes):
        assert written == drawn
    else:
        assert written.decode() == drawn.rstrip() + "\n"


def test_a_format_that_is_said_rules(tmp_path: Path) -> None:
    path = tmp_path / "graph.svg"
    draw(five(), "text", path=str(path))
    assert path.read_text().startswith("● extract\n")


def test_a_path_that_says_no_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkflowDefinitionError, match=r"cannot tell the format .* \.svg"):
        draw(five(), path=tmp_path / "graph")
    assert list(tmp_path.iterdir()) == []


def test_another_format_is_refused() -> None:
    with pytest.raises(WorkflowDefinitionError, match="expected one of text, mermaid, dot"):
        draw(five(), "oil")


def test_a_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        draw(five(), path=tmp_path / "none" / "graph.svg")


def test_no_nodes_can_be_drawn() -> None:
    assert draw(TaskGraph()) == ""
    assert draw(TaskGraph(), "mermaid") == "flowchart LR"
    assert "</svg>" in str(draw(TaskGraph(), "svg"))
    assert draw(TaskGraph(), "png")


def test_templates_of_a_workflow_are_not_drawn() -> None:
    with workflow("songs") as flow:

        @task
        def sing(song: str) -> str:
            return song

        one = sing(task_id="one", song="Tide")
        two = sing(task_id="two", song="Anchor")
        _ = one >> two

    assert flow.draw() == "● one\n● two  after one"
    assert 'aria-label="songs"' in flow.draw("svg")


def test_states_are_drawn() -> None:
    assert draw(graph_of(Task("a")), states={"a": "failed"}) == "✗ a  [failed]"
