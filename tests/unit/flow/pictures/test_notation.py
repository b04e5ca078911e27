from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from handrail.flow.pictures.notation import dot, mermaid
from handrail.flow.pictures.picture import Picture
from tests.unit.flow.samples import five, hostile, sixty


def test_mermaid_draws_groups_around_their_members() -> None:
    lines = mermaid(Picture.of(five(), {"clean": "failed"})).split("\n")
    assert lines[:10] == [
        "flowchart LR",
        '    n0["extract"]',
        '    subgraph n4g["#10007; middle"]',
        '        n1["#10007; clean"]',
        '        n2["check"]',
        '        n3["sum<br>process"]',
        '        n4(("#10007; middle"))',
        "    end",
        '    n5["publish"]',
        "    n0 --> n1",
    ]
    assert lines[-2] == "    style n1 fill:#ffebe9,stroke:#cf222e,color:#1f2328"


def test_mermaid_labels_hold_nothing_that_mermaid_reads() -> None:
    for line in mermaid(Picture.of(hostile())).split("\n"):
        label = re.search(r'"(.*)"', line)
        if label is not None:
            assert not re.search(r'[<>"`\\]|&(?!amp)', label.group(1).replace("<br>", ""))


def test_loops_are_dashed() -> None:
    picture = Picture.of(sixty())
    assert mermaid(picture).count("-.->") == 3
    assert dot(picture).count("style=dashed") == 3


def test_dot_names_nodes_by_number_and_quotes_labels() -> None:
    text = dot(Picture.of(hostile()))
    assert 'label="<script>alert(1)</script>"' in text
    assert r"line\\nbreak\\x1b[2J" in text
    assert r"group <b>\"&" in text


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_graphviz_reads_it() -> None:
    for graph in (five(), sixty(), hostile()):
        picture = Picture.of(graph, {"extract": "succeeded"})
        done = subprocess.run(
            ["dot", "-Tsvg"], input=dot(picture).encode(), capture_output=True, check=True
        )
        root = ElementTree.fromstring(done.stdout)
        kinds = [group.get("class") for group in root.iter("{http://www.w3.org/2000/svg}g")]
        assert kinds.count("node") == len(picture.nodes)
        assert kinds.count("edge") == len(picture.edges)
        assert kinds.count("cluster") == sum(node.kind == "group" for node in picture.nodes)
