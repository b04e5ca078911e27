from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call


def _commits(handrail: Call) -> list[str]:
    log = json.loads(handrail("workspace", "log", "songs", "--json").stdout)
    return [commit["commit"] for commit in log]


def test_repositories_and_branches_are_listed(handrail: Call, songs: str) -> None:
    head = _commits(handrail)[0]
    assert handrail("workspace", "branch").stdout.splitlines()[1].split() == [
        "songs",
        "main",
        head[:12],
    ]
    listed = json.loads(handrail("workspace", "branch", "songs", "--json").stdout)
    assert listed == [{"repository": "songs", "branch": "main", "ref": head}]


def test_a_repository_that_is_not_there_is_refused(handrail: Call, songs: str) -> None:
    for words in (("branch", "nope"), ("tag", "nope"), ("ls", "nope"), ("cat", "songs@nope", "x")):
        result = handrail("workspace", *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert len(result.stderr.splitlines()) == 1


def test_files_are_listed(handrail: Call, songs: str) -> None:
    line = handrail("workspace", "ls", "songs").stdout.splitlines()[1]
    assert line.split(maxsplit=1)[1].split() == ["12", "B", "songs.txt"]
    (entry,) = json.loads(handrail("workspace", "ls", "songs@main", "-r", "--json").stdout)
    assert (entry["path"], entry["kind"], entry["size_bytes"]) == ("songs.txt", "file", 12)


def test_commits_are_listed_newest_first(handrail: Call, songs: str) -> None:
    lines = handrail("workspace", "log", "songs").stdout.splitlines()
    assert len(lines) == 3
    assert "songs: write" in lines[1]
    assert songs in lines[1]
    # The attempt, its task, and the commit that it started from.
    assert lines[1].split()[-2:] == ["write", _commits(handrail)[1][:12]]
    assert "created" in lines[2]
    assert len(handrail("workspace", "log", "songs", "-n", "1").stdout.splitlines()) == 2


def test_differences_are_listed_and_summed(handrail: Call, songs: str) -> None:
    head, first = _commits(handrail)
    assert handrail("workspace", "diff", "songs", first, "main").stdout == "+ songs.txt  12 B\n"
    assert handrail("workspace", "diff", "songs", head, first, "--stat").stdout == (
        "1 file: 0 added, 1 removed, 0 changed; -12 B\n"
    )
    (change,) = json.loads(handrail("workspace", "diff", "songs", first, head, "--json").stdout)
    assert (change["kind"], change["before"], change["after"]["size_bytes"]) == ("added", None, 12)


def test_a_file_is_printed_byte_by_byte(handrail: Call, songs: str) -> None:
    assert handrail("workspace", "cat", "songs", "songs.txt").stdout_bytes == b"Anchor\nTide\n"


def test_a_commit_is_checked_out(handrail: Call, songs: str, tmp_path: Path) -> None:
    result = handrail("workspace", "checkout", "songs", str(tmp_path / "out"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert (tmp_path / "out" / "songs.txt").read_text() == "Anchor\nTide\n"
    again = handrail("workspace", "checkout", "songs", str(tmp_path / "out"))
    assert again.exit_code == 1
    assert again.stderr.startswith("error: ")
