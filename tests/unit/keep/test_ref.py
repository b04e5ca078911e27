from __future__ import annotations

from pathlib import Path

import pytest

from handrail.errors import UnknownRefError
from handrail.keep.ref import Ref, ref_in_url
from tests.unit.keep.songs import Songs

FILES = {
    "a.txt": "a",
    "raw/one.csv": "1",
    "raw/deep/two.csv": "22",
    "latest": "-> raw/one.csv",
    "raw/up": "-> ../a.txt",
    "folder": "-> raw/deep",
}


@pytest.fixture
def songs(tmp_path: Path) -> Songs:
    return Songs(tmp_path / "made")


@pytest.fixture
def ref(songs: Songs) -> Ref:
    songs.commit(FILES)
    return songs.repository["main"]


def test_a_ref_is_a_mapping_from_paths_to_open_files(ref: Ref) -> None:
    with ref["raw/deep/two.csv"] as file:
        file.seek(1)
        assert file.read() == b"2"
    assert list(ref) == ["a.txt", "latest", "raw/deep/two.csv", "raw/one.csv", "raw/up"]
    assert len(ref) == 5
    assert "raw/one.csv" in ref
    for missing in ("raw", "raw/three.csv", "", "a.txt/b", 7):
        assert missing not in ref


def test_every_path_that_is_listed_can_be_read(ref: Ref) -> None:
    assert {path: ref.read_text(path) for path in ref} == {
        "a.txt": "a",
        "latest": "1",
        "raw/deep/two.csv": "22",
        "raw/one.csv": "1",
        "raw/up": "a",
    }
    assert ref.read_bytes("a.txt") == b"a"


def test_a_ref_does_not_move_with_its_branch(songs: Songs, ref: Ref) -> None:
    songs.commit({"a.txt": "later"}, at=2)

    assert ref.read_text("a.txt") == "a"
    assert songs.repository["main"].read_text("a.txt") == "later"


def test_refs_of_one_commit_are_equal(songs: Songs, ref: Ref) -> None:
    again = songs.repository[ref.commit_id[:8]]

    assert again == ref
    assert hash(again) == hash(ref)
    assert again != ref.below("raw")
    assert str(ref) == f"songs@{ref.commit_id}"


def test_links_are_followed_through_folders(ref: Ref) -> None:
    assert ref.read_text("folder/two.csv") == "22"
    assert ref.read_text("folder/../one.csv") == "1"
    assert ref.find("folder/two.csv")[0] == "raw/deep/two.csv"
    assert [path for path, _ in ref.ls("folder/")] == ["raw/deep/two.csv"]
    assert [(path, entry.kind) for path, entry in ref.ls("folder")] == [("folder", "link")]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("b", "through links in a circle"),
        ("nowhere", "Nothing at 'b' in songs@main"),
    ],
)
def test_links_that_lead_nowhere_are_told(songs: Songs, target: str, problem: str) -> None:
    songs.commit({"a.txt": "a", "b": f"-> {target}"})
    ref = songs.repository["main"]

    with pytest.raises(UnknownRefError, match=problem):
        ref.open("b")
    assert list(ref) == ["a.txt"]


def test_no_path_leads_out(ref: Ref) -> None:
    with pytest.raises(UnknownRefError, match="leads out of songs@main"):
        ref.open("../a.txt")
    with pytest.raises(UnknownRefError, match="leads out of songs@main"):
        ref.below("raw").open("up")
    assert "up" not in ref.below("raw")


def test_a_folder_of_a_ref_is_a_ref_with_another_top(ref: Ref) -> None:
    raw = ref.below("raw")

    assert list(raw) == ["deep/two.csv", "one.csv"]
    assert raw.read_text("deep/two.csv") == "22"
    assert list(raw.below("/deep/")) == ["two.csv"]
    assert ref.below("") == ref
    assert raw.commit_id == ref.commit_id
    with pytest.raises(UnknownRefError, match=r"'a\.txt' is a file"):
        ref.below("a.txt")


def test_a_url_names_the_commit(ref: Ref) -> None:
    commit_id = ref.commit_id

    assert ref.url("raw/one.csv") == f"handrail://songs@{commit_id}/raw/one.csv"
    assert ref.below("raw").url("one.csv") == f"handrail://songs@{commit_id}/raw/one.csv"
    assert ref_in_url("team/may") == "team%2Fmay"


def test_the_difference_to_another_ref_is_told(songs: Songs, ref: Ref) -> None:
    songs.commit({**FILES, "a.txt": "A", "raw/three.csv": "3"}, at=2)

    changes = [(change.kind, change.path) for change in ref.diff(songs.repository["main"])]
    assert changes == [("changed", "a.txt"), ("added", "raw/three.csv")]
    below = ref.below("raw").diff(songs.repository["main"].below("raw"))
    assert [(change.kind, change.path) for change in below] == [("added", "three.csv")]


def test_a_ref_is_checked_out_and_told_of(ref: Ref, tmp_path: Path) -> None:
    told: list[int] = []

    ref.checkout(tmp_path / "all", told=told.append)
    ref.below("raw").checkout(tmp_path / "raw", "deep")

    assert (tmp_path / "all/latest").read_text(encoding="utf-8") == "1"
    assert sorted(told) == [1, 1, 2]
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["two.csv"]


def test_the_log_follows_first_parents_or_all(songs: Songs) -> None:
    base = songs.commit({"a": "0"}, at=1)
    north = songs.commit({"a": "n"}, "north", at=5, parents=(base,))
    south = songs.commit({"a": "s"}, "south", at=3, parents=(base,))
    both = songs.commit({"a": "b"}, "main", at=4, parents=(north, south))
    ref = songs.repository.at()

    assert [commit_id for commit_id, _ in ref.log()] == [both, north, base]
    # The clock of the north is ahead; nothing comes before what follows it all the same.
    assert [commit_id for commit_id, _ in ref.log(all_parents=True)] == [both, north, south, base]


def test_reading_file_by_file_reads_each_folder_once(songs: Songs) -> None:
    songs.commit({f"many/{number}.txt": str(number) for number in range(50)})
    ref = songs.repository["main"]
    assert len(ref) == 50
    read: list[str] = []
    entries = ref.trees.entries

    def counted(tree: str) -> object:
        read.append(tree)
        return entries(tree)

    ref.trees.entries = counted  # type: ignore[method-assign, assignment]

    assert [ref.read_text(f"many/{number}.txt") for number in range(50)][-1] == "49"
    assert len(read) == 2
