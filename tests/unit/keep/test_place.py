from __future__ import annotations

from pathlib import Path

import pytest

from handrail.errors import RuntimeConfigError
from handrail.keep.place import FilePlace, Place


def test_a_folder_is_a_home_or_holds_one(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "project/.handrail"
    home.mkdir(parents=True)
    assert Place.parse(project).home == project
    (home / "format").write_text("1")
    assert Place.parse(project).home == home
    assert Place.parse(str(home)).home == home
    assert Place.parse(f"file://{home}").home == home
    assert Place.parse(f"{home}#songs") == Place(home=home, repository="songs")


def test_a_sign_in_the_name_of_a_folder_is_no_repository(tmp_path: Path) -> None:
    home = tmp_path / "c#songs"
    home.mkdir()
    assert Place.parse(str(home)) == Place(home=home)
    assert Place.parse(f"{home}#songs") == Place(home=home, repository="songs")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (None, Place()),
        ("#songs", Place(repository="songs")),
        ("handrail://songs", Place(repository="songs")),
        ("handrail://songs@main/a.txt", Place(repository="songs")),
        ("postgresql://me@db/runs", Place(database_url="postgresql://me@db/runs")),
        (
            "sqlite:////data/runs.db#songs",
            Place(database_url="sqlite:////data/runs.db", repository="songs"),
        ),
    ],
)
def test_other_places_are_urls(text: str | None, place: Place) -> None:
    assert Place.parse(text) == place


def test_urls_of_other_kinds_are_refused() -> None:
    with pytest.raises(RuntimeConfigError, match="'ftp://' is no place of repositories"):
        Place.parse("ftp://example.org/songs")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("handrail://songs@main/raw/a.txt", FilePlace("songs", "main", "raw/a.txt")),
        ("songs@main/raw/", FilePlace("songs", "main", "raw")),
        ("handrail://songs@main", FilePlace("songs", "main", "")),
        ("handrail://team/songs@may%2Ftrial/a@b", FilePlace("team/songs", "may/trial", "a@b")),
        ("handrail://songs", FilePlace("songs", "", "")),
        ("handrail://", FilePlace("", "", "")),
    ],
)
def test_a_file_is_named_by_repository_ref_and_path(url: str, place: FilePlace) -> None:
    assert FilePlace.parse(url) == place


def test_a_file_of_no_ref_is_refused_with_the_likely_one() -> None:
    with pytest.raises(RuntimeConfigError, match=r"handrail://songs@main/raw/a\.txt"):
        FilePlace.parse("handrail://songs/raw/a.txt")
