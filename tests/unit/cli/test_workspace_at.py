from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from handrail import WorkspaceSpec, task, workflow
from handrail.app import Runtime
from tests.unit.cli.conftest import Wanted, Written

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call


@pytest.fixture
def charts(runtime: Runtime, songs: str) -> str:
    """The id of a run after `songs`: it works in a folder of its own, on its second try."""
    tries: list[int] = []

    @task(workspace=WorkspaceSpec(prefix="charts"), max_retries=1)
    def draw(workspace: Path, params: Wanted) -> Written:
        tries.append(1)
        assert list(workspace.iterdir()) == []
        (workspace / "one.svg").write_text("~")
        if len(tries) == 1:
            raise ConnectionError("once more")
        return Written(lines=params.lines)

    flow = workflow("charts", draw, workspace="songs")
    _, context = runtime.execute(flow, ret_context=True, inputs={"lines": 2})
    return str(context.run_id)


def paths(handrail: Call, *words: str) -> list[str]:
    result = handrail("workspace", "at", *words, "--json")
    assert result.exit_code == 0, result.stderr
    return [row["path"] for row in json.loads(result.stdout)["files"]]


def test_the_files_are_as_the_run_saw_and_left_them(
    handrail: Call, songs: str, charts: str
) -> None:
    assert paths(handrail, songs) == []
    assert paths(handrail, songs, "--after") == ["songs.txt"]
    assert paths(handrail, charts) == ["songs.txt"]
    assert paths(handrail, charts, "--after", "-r") == ["charts/one.svg", "songs.txt"]
    assert paths(handrail, charts, "charts", "--after") == ["charts/one.svg"]


def test_an_attempt_saw_the_folder_that_it_worked_in(handrail: Call, charts: str) -> None:
    assert paths(handrail, f"{charts}/draw") == []
    assert paths(handrail, f"{charts}/draw", "--after") == ["one.svg"]
    shown = handrail("workspace", "at", f"{charts}/draw", "--after")
    assert shown.stdout.splitlines()[1].endswith("one.svg")
    assert "left: songs@" in shown.stderr
    assert "folder charts" in shown.stderr


def test_one_of_several_attempts_is_named(handrail: Call, charts: str) -> None:
    found = json.loads(handrail("show", f"{charts}/draw", "--json").stdout)
    first = found["attempts"][0]["attempt_id"]
    shown = json.loads(
        handrail("workspace", "at", f"{charts}/draw", "--attempt", first, "--json").stdout
    )
    assert (shown["attempt"], shown["prefix"]) == (first, "charts")
    refused = handrail("workspace", "at", f"{charts}/draw", "--attempt", first, "--after")
    assert refused.exit_code == 2
    assert "Leave out --after" in refused.stderr


def test_its_files_are_written_or_printed(
    handrail: Call, songs: str, charts: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert handrail("workspace", "at", f"{charts}/draw", "--after", "--to", str(out)).exit_code == 0
    assert [path.name for path in out.iterdir()] == ["one.svg"]
    printed = handrail("workspace", "at", f"{songs}/write", "--after", "--cat", "songs.txt")
    assert printed.stdout == "Anchor\nTide\n"
    both = handrail("workspace", "at", songs, "--to", str(out), "--cat", "songs.txt")
    assert both.exit_code == 2


def test_files_are_there_when_their_branch_is_gone(handrail: Call, songs: str) -> None:
    assert handrail("workspace", "branch", "songs", "main", "--delete").exit_code == 0
    assert handrail("workspace", "gc", "--grace", "0").exit_code == 0
    assert paths(handrail, songs, "--after") == ["songs.txt"]


@pytest.mark.parametrize(
    ("task", "problem"),
    [("/count", "works on no files"), ("/nope", "Known tasks: count, write")],
)
def test_what_has_no_files_is_told(handrail: Call, songs: str, task: str, problem: str) -> None:
    result = handrail("workspace", "at", f"{songs}{task}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr


def test_a_run_without_a_workspace_is_told(handrail: Call, storm: str) -> None:
    assert "no workspace" in handrail("workspace", "at", storm).stderr
    assert handrail("workspace", "at", "nope").exit_code == 2
