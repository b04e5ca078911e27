from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "by hand"
    made.mkdir()
    (made / "songs.txt").write_text("Anchor\n")
    return made


def data(handrail: Call, *words: str) -> Any:
    result = handrail("workspace", *words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_repository_is_made_where_nothing_is_kept_yet(handrail: Call, home: Path) -> None:
    result = handrail("workspace", "init", "films")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Made films@main" in result.stderr
    assert "is there already" in handrail("workspace", "init", "films").stderr
    assert data(handrail, "init", "films@dev")["created"] is True
    assert [row["branch"] for row in data(handrail, "branch", "films")] == ["dev", "main"]
    assert handrail("workspace", "init", "~films").exit_code == 2


def test_branches_are_made_and_removed(handrail: Call, songs: str) -> None:
    head, first = (row["commit"] for row in data(handrail, "log", "songs"))
    assert handrail("workspace", "branch", "songs", "trial", "--at", first[:9]).exit_code == 0
    assert data(handrail, "branch", "songs") == [
        {"repository": "songs", "branch": "main", "ref": head},
        {"repository": "songs", "branch": "trial", "ref": first},
    ]
    removed = handrail("workspace", "branch", "songs", "trial", "--delete")
    assert first in removed.stderr
    assert len(data(handrail, "branch", "songs")) == 1
    assert handrail("workspace", "branch", "songs", "trial", "--delete").exit_code == 2
    assert handrail("workspace", "branch", "songs", "--delete").exit_code == 2
    assert handrail("workspace", "branch", "songs", "main").exit_code == 1


def test_tags_are_made_and_listed(handrail: Call, songs: str) -> None:
    assert "No tags in songs" in handrail("workspace", "tag", "songs").stderr
    assert handrail("workspace", "tag", "songs", "v1").exit_code == 0
    (row,) = data(handrail, "tag")
    assert (row["repository"], row["tag"]) == ("songs", "v1")
    assert data(handrail, "branch") == [
        {"repository": "songs", "branch": "main", "ref": row["ref"]}
    ]
    assert handrail("workspace", "cat", "songs@v1", "songs.txt").stdout == "Anchor\nTide\n"


def test_a_folder_is_committed(handrail: Call, songs: str, folder: Path) -> None:
    result = handrail("workspace", "commit", "songs", str(folder), "-m", "shorter")
    assert result.exit_code == 0
    assert result.stdout == "1 file: 0 added, 0 removed, 1 changed; -5 B\n"
    (newest, *_) = data(handrail, "log", "songs")
    assert newest["message"] == "shorter"
    assert newest["made_by"]["user"]
    assert handrail("workspace", "cat", "songs", "songs.txt").stdout == "Anchor\n"
    again = handrail("workspace", "commit", "songs", str(folder))
    assert (again.exit_code, again.stdout) == (0, "")
    assert "Nothing has changed" in again.stderr
    assert data(handrail, "commit", "songs", str(folder))["changed"] is False


def test_a_commit_onto_an_earlier_head_is_told_who_won(
    handrail: Call, songs: str, folder: Path
) -> None:
    head, first = (row["commit"] for row in data(handrail, "log", "songs"))
    result = handrail("workspace", "commit", "songs", str(folder), "--base", first)
    assert result.exit_code == 1
    assert f"run {songs}, task write" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert data(handrail, "branch", "songs")[0]["ref"] == head


def test_a_commit_to_what_is_not_there_says_how_to_make_it(
    handrail: Call, songs: str, folder: Path
) -> None:
    result = handrail("workspace", "commit", "films", str(folder))
    assert result.exit_code == 2
    assert "handrail workspace init films" in result.stderr
    assert handrail("workspace", "commit", "songs", str(folder / "nowhere")).exit_code == 1
