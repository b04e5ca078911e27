from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call


def test_a_run_is_shown_with_its_tasks(handrail: Call, songs: str) -> None:
    result = handrail("show", songs[:-1])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert f"run        {songs}" in lines
    assert "state      succeeded" in lines
    assert 'inputs     {"lines": 2}' in lines
    assert any(line.startswith("workspace  songs@main  ") and " → " in line for line in lines)
    assert [line.split()[:4] for line in lines if line.startswith(("count", "write"))] == [
        ["count", "succeeded", "direct", "1"],
        ["write", "succeeded", "direct", "1"],
    ]


def test_a_failure_is_shown_with_its_traceback_and_what_to_do(handrail: Call, storm: str) -> None:
    shown = handrail("show", storm).stdout
    assert "reason     task 'b[r]eak' failed: ValueError: too [high]\\x1b[2J" in shown
    assert "b[r]eak: ValueError: too [high]\\x1b[2J\n" in shown
    assert '    raise ValueError("too [high]' in shown
    assert f"Continue:  handrail resume {storm}" in shown
    assert "\x1b" not in shown


def test_one_task_is_shown_with_its_result(handrail: Call, songs: str) -> None:
    shown = handrail("show", f"{songs}/write").stdout
    assert "task     write\n" in shown
    assert f"{songs}-1-2" in shown
    assert 'Written, kept as data)\n{\n  "lines": 2\n}\n' in shown


def test_one_task_is_shown_with_its_error(handrail: Call, storm: str) -> None:
    shown = handrail("show", f"{storm}/b[r]eak").stdout
    assert f"attempt {storm}-1-2: ValueError: too [high]" in shown


def test_a_run_is_told_as_json(handrail: Call, songs: str, storm: str) -> None:
    run = json.loads(handrail("show", songs, "--json").stdout)
    assert run["run_id"] == songs
    assert run["inputs"] == {"lines": 2}
    assert [task["name"] for task in run["tasks"]] == ["count", "write"]
    assert run["tasks"][1]["result"] == {"lines": 2}
    # NaN is no JSON.
    assert json.loads(handrail("show", storm, "--json").stdout)["tasks"][0]["result"] == "NaN"


def test_a_task_is_told_as_json(handrail: Call, songs: str) -> None:
    task = json.loads(handrail("show", f"{songs}/count", "--json").stdout)
    assert (task["run_id"], task["name"], task["result"]) == (songs, "count", 3)


def test_a_run_is_written_as_a_page(handrail: Call, storm: str, tmp_path: Path) -> None:
    path = tmp_path / "storm.html"
    result = handrail("show", storm, "--html", str(path))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"Wrote {path}.\n"
    written = path.read_text(encoding="utf-8")
    assert "<h1>storm</h1>" in written
    assert "too [high]\\x1b[2J" in written
    assert "\x1b" not in written


def test_a_page_has_the_end_of_the_log(handrail: Call, songs: str, tmp_path: Path) -> None:
    path = tmp_path / "songs.html"
    handrail("show", songs, "--html", str(path))
    assert "counting [bold]songs" in path.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_refused(handrail: Call, songs: str) -> None:
    result = handrail("show", songs, "--html", "no/such/folder/songs.html")
    assert result.exit_code == 2
    assert "Cannot write no/such/folder/songs.html: No such file" in result.stderr


def test_an_unknown_task_is_refused_with_those_known(handrail: Call, songs: str) -> None:
    result = handrail("show", f"{songs}/nope")
    assert result.exit_code == 2
    assert result.stderr == "error: Unknown task 'nope'. Known tasks: count, write.\n"


def test_an_unknown_run_is_refused(handrail: Call, songs: str) -> None:
    result = handrail("show", "0000")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No run '0000'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_a_home_nothing_can_be_shown(handrail: Call) -> None:
    result = handrail("show", "0000")
    assert result.exit_code == 1
    assert "No Handrail home at" in result.stderr
