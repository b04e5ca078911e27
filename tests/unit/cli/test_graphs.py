from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from handrail.cli.graphs import is_run, picture_of
from handrail.flow.pictures.picture import PictureEdge, PictureNode
from tests.unit.cli.histories import a_run, a_task, an_attempt

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call

_WORKFLOW = """
from handrail import task, workflow

with workflow("songs") as songs:

    @task
    def write() -> str:
        return "Tide"

    @task
    def sing(song: str = "Anchor") -> None: ...

    @task
    def hum() -> None: ...

    write >> (sing | hum)
"""


@pytest.fixture
def songs_py(tmp_path: Path) -> str:
    path = tmp_path / "songs_to_draw.py"
    path.write_text(_WORKFLOW)
    return str(path)


@pytest.mark.parametrize(
    ("text", "is_it"),
    [
        ("1m7z9r3925wmk3gd", True),
        ("1m7", True),
        ("flights", False),
        ("flights.py", False),
        ("2013/flights.py", False),
        ("2013/flights.py:daily", False),
    ],
)
def test_a_run_is_told_from_a_workflow(text: str, is_it: bool) -> None:
    assert is_run(text) is is_it


# Pictures of runs


def test_a_run_is_drawn_as_its_journal_tells_it() -> None:
    run = a_run(
        a_task("load", an_attempt(0, 1200), handler="process"),
        a_task(
            "sing", an_attempt(1200, 1300, state="failed"), an_attempt(1400, 1500, try_number=2)
        ),
        a_task("hum", an_attempt(1200, 1300, state="failed")),
        a_task("made"),
        edges=(("load", "sing"), ("load", "hum"), ("sing", "all"), ("hum", "all"), ("hum", "made")),
        loops=(("hum", "load"), ("hum", "gone")),
        within={"sing": "all", "hum": "all"},
        groups={"all": "succeeded"},
    )
    picture = picture_of(run)
    assert picture.nodes == (
        PictureNode("load", "task", "process, 1.2 s", "succeeded"),
        PictureNode("sing", "task", "2 tries, 0.3 s", "succeeded", "all"),
        PictureNode("hum", "task", "0.1 s", "failed", "all"),
        PictureNode("made", "task", "", "queued"),
        PictureNode("all", "group", "", "succeeded"),
    )
    assert picture.edges[-2:] == (
        PictureEdge("hum", "made"),
        PictureEdge("hum", "load", is_loop=True),
    )


def test_a_group_that_was_not_judged_is_in_the_state_of_its_worst_member() -> None:
    run = a_run(a_task("a", an_attempt(0, 1, state="failed")), edges=(("a", "all"),))
    assert picture_of(run).by_name["all"].state == "failed"


def test_items_of_a_mapped_task_are_one_node() -> None:
    items = (a_task(f"load[{number}]", an_attempt(0, 1)) for number in range(3))
    run = a_run(a_task("load", state="succeeded"), *items, a_task("else[x]"))
    assert [(node.name, node.kind, node.note) for node in picture_of(run).nodes] == [
        ("load", "map", "3 items"),
        ("else[x]", "task", ""),
    ]


def test_rounds_of_a_loop_are_no_tries() -> None:
    run = a_run(a_task("again", *(an_attempt(n, n + 1) for n in range(3))))
    assert picture_of(run).nodes[0].note == "3 rounds, 3 ms"


# The command


def test_a_workflow_is_drawn(handrail: Call, songs_py: str) -> None:
    result = handrail("graph", songs_py)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "● write",
        "┏ ● sing           after write",
        "┗ ● hum            after write",
        "◆ ParallelGroup_1  [group]  after sing, hum",
    ]


@pytest.mark.parametrize(
    ("form", "start"), [("mermaid", "flowchart LR\n"), ("dot", "digraph {\n"), ("svg", "<svg ")]
)
def test_other_formats_are_written_to_standard_output(
    handrail: Call, songs_py: str, form: str, start: str
) -> None:
    assert handrail("graph", songs_py, "--format", form).stdout.startswith(start)


def test_an_image_can_be_redirected(handrail: Call, songs_py: str) -> None:
    pytest.importorskip("matplotlib")
    assert handrail("graph", songs_py, "--format", "png").stdout_bytes.startswith(b"\x89PNG")


def test_a_file_is_written_as_its_name_says(handrail: Call, songs_py: str, tmp_path: Path) -> None:
    path = tmp_path / "songs.svg"
    result = handrail("graph", songs_py, "-o", str(path))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"Wrote {path}.\n"
    assert ElementTree.fromstring(path.read_text()).get("aria-label") == "songs"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "oil"), "unknown format 'oil'"),
        (("-o", "songs.oil"), "cannot tell the format"),
        (("-o", "no/such/folder/songs.svg"), "Cannot write no/such/folder/songs.svg: No such file"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    handrail: Call, songs_py: str, words: tuple[str, ...], message: str
) -> None:
    result = handrail("graph", songs_py, *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_run_is_drawn_with_its_states(handrail: Call, storm: str) -> None:
    lines = handrail("graph", storm).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["✓", "rise"], ["✗", "b[r]eak"]]
    assert "failed" in lines[1]
    assert "failed" in handrail("graph", storm, "--format", "svg").stdout
