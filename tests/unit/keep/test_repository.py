from __future__ import annotations

import os
from pathlib import Path

import pytest

from handrail.contracts.workspace import BranchName
from handrail.errors import StoreError, UnknownRefError
from handrail.keep.base import Commit, TreeEntry
from handrail.keep.checkout import Checkout
from handrail.keep.memory import MemoryJournal, MemoryObjects
from handrail.keep.repository import Repository
from handrail.keep.trees import Trees


class Songs:
    """A repository called songs, and how to write to it."""

    def __init__(self, folder: Path) -> None:
        self.trees = Trees(MemoryObjects())
        self.heads = MemoryJournal()
        self.repository = Repository("songs", self.trees, self.heads)
        self.folder = folder

    def commit(self, files: dict[str, str], branch: str = "main", at: int = 1) -> str:
        """Commits these files, and no others, on `branch`; a value "-> x" is a link to x."""
        name = BranchName("songs", branch)
        before = self.heads.head(name)
        folder = self.folder / f"{branch}-{at}"
        for path, text in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                os.symlink(text[3:], place)
            else:
                place.write_text(text, encoding="utf-8")
        tree = Checkout(self.trees, self.trees.empty_tree, folder).stage()
        commit_id = self.trees.put_commit(
            Commit(tree, (before,) if before else (), f"commit {at}", at)
        )
        assert self.heads.move_head(name, before, commit_id)
        return commit_id


@pytest.fixture
def songs(tmp_path: Path) -> Songs:
    return Songs(tmp_path / "made")


def paths(found: list[tuple[str, TreeEntry]]) -> list[str]:
    return [path for path, _ in found]


# Branches


def test_a_repository_that_is_created_has_an_empty_main(songs: Songs) -> None:
    head = songs.repository.create()

    assert songs.repository.head() == head
    assert songs.repository.branches() == {"main": head}
    assert songs.repository.ls() == []
    assert [commit.parents for _, commit in songs.repository.log()] == [()]


def test_creating_again_changes_nothing(songs: Songs) -> None:
    songs.repository.create()
    head = songs.commit({"a.txt": "a"})

    assert songs.repository.create() == head


def test_all_who_create_at_once_make_the_same_commit(tmp_path: Path) -> None:
    made = {Songs(tmp_path).repository.create() for _ in range(2)}

    assert len(made) == 1


def test_a_lost_race_of_creation_takes_what_the_winner_made(songs: Songs) -> None:
    winner = songs.trees.put_commit(Commit(songs.trees.empty_tree, (), "won", 5))

    class Late(MemoryJournal):
        def move_head(self, branch: BranchName, before: str | None, after: str | None) -> bool:
            super().move_head(branch, None, winner)
            return False

    assert Repository("songs", songs.trees, Late()).create() == winner


def test_another_branch_is_created_beside(songs: Songs) -> None:
    main = songs.commit({"a.txt": "a"})

    dev = songs.repository.create("dev")

    assert songs.repository.branches() == {"dev": dev, "main": main}


def test_branches_of_runs_and_of_others_are_left_out(songs: Songs) -> None:
    head = songs.commit({"a.txt": "a"})
    songs.heads.move_head(BranchName("songs", "~run1"), None, head)
    songs.heads.move_head(BranchName("films", "main"), None, head)

    assert songs.repository.branches() == {"main": head}


def test_a_missing_branch_lists_those_there_are(songs: Songs) -> None:
    songs.repository.create()

    with pytest.raises(UnknownRefError) as caught:
        songs.repository.head("dev")

    assert str(caught.value) == "No branch 'dev' in repository 'songs'. Branches: main."


def test_a_repository_without_branches_says_so(songs: Songs) -> None:
    with pytest.raises(UnknownRefError, match="repository 'songs', which has no branches"):
        songs.repository.resolve("main")


# Refs


def test_a_ref_is_a_branch_a_commit_id_or_its_first_digits(songs: Songs) -> None:
    first = songs.commit({"a.txt": "a"}, at=1)
    second = songs.commit({"a.txt": "b"}, at=2)

    assert songs.repository.resolve("main") == second
    assert songs.repository.resolve(first) == first
    assert songs.repository.resolve(first[:6]) == first
    assert songs.repository.resolve(first[:63].upper()) == first


def test_a_branch_comes_before_a_commit_of_that_name(songs: Songs) -> None:
    first = songs.commit({"a.txt": "a"})
    other = songs.commit({"b.txt": "b"}, branch=first[:8], at=2)

    assert songs.repository.resolve(first[:8]) == other


def test_commits_of_runs_at_work_are_found(songs: Songs) -> None:
    commit_id = songs.commit({"a.txt": "a"}, branch="~run1")

    assert songs.repository.resolve(commit_id[:10]) == commit_id
    assert songs.repository.resolve("~run1") == commit_id


def test_too_few_digits_are_refused(songs: Songs) -> None:
    head = songs.commit({"a.txt": "a"})

    with pytest.raises(UnknownRefError, match=rf"No branch or commit '{head[:5]}'.*Branches: main"):
        songs.repository.resolve(head[:5])


@pytest.mark.parametrize("ref", ["0" * 64, "0" * 10, "nowhere", "", "main~1"])
def test_a_ref_that_means_nothing_is_refused(songs: Songs, ref: str) -> None:
    songs.commit({"a.txt": "a"})

    with pytest.raises(UnknownRefError):
        songs.repository.resolve(ref)


def test_digits_that_several_commits_share_are_refused_with_them(songs: Songs) -> None:
    class Twins(Trees):
        """Commit ids with the same first digits, which no test can wait for."""

        def commit(self, commit_id: str) -> Commit:
            parents = ("abcdef" + "1" * 58,) if commit_id.endswith("0") else ()
            return Commit("t", parents, "", 0)

    songs.heads.move_head(BranchName("songs", "main"), None, "abcdef" + "0" * 58)
    repository = Repository("songs", Twins(songs.trees.objects), songs.heads)

    with pytest.raises(UnknownRefError) as caught:
        repository.resolve("abcdef")

    assert str(caught.value) == (
        "'abcdef' may be abcdef0000000000, abcdef1111111111. Give more digits."
    )


def test_the_log_is_newest_first(songs: Songs) -> None:
    first = songs.commit({"a.txt": "a"}, at=1)
    second = songs.commit({"a.txt": "b"}, at=2)

    assert [(name, commit.message) for name, commit in songs.repository.log("main")] == [
        (second, "commit 2"),
        (first, "commit 1"),
    ]
    assert [name for name, _ in songs.repository.log(first[:8])] == [first]


def test_the_log_of_nothing_is_refused_at_once(songs: Songs) -> None:
    with pytest.raises(UnknownRefError):
        songs.repository.log("nowhere")


# Files

FILES = {"a.txt": "a", "charts/one.csv": "1", "charts/deep/two.csv": "22"}


def test_a_folder_is_listed_level_by_level(songs: Songs) -> None:
    songs.commit(FILES)

    assert paths(songs.repository.ls("main")) == ["a.txt", "charts"]
    assert paths(songs.repository.ls("main", "/")) == ["a.txt", "charts"]
    found = songs.repository.ls("main", "/charts/")
    assert [(path, entry.kind) for path, entry in found] == [
        ("charts/deep", "tree"),
        ("charts/one.csv", "file"),
    ]


def test_all_below_a_folder_is_listed_on_demand(songs: Songs) -> None:
    songs.commit(FILES)

    assert paths(songs.repository.ls("main", recursive=True)) == [
        "a.txt",
        "charts/deep/two.csv",
        "charts/one.csv",
    ]
    assert paths(songs.repository.ls("main", "charts/deep", recursive=True)) == [
        "charts/deep/two.csv"
    ]


def test_a_file_is_listed_alone(songs: Songs) -> None:
    songs.commit(FILES)

    ((path, entry),) = songs.repository.ls("main", "charts/one.csv")

    assert (path, entry.size_bytes) == ("charts/one.csv", 1)


def test_a_path_where_nothing_is_says_how_to_look(songs: Songs) -> None:
    songs.commit(FILES)

    with pytest.raises(UnknownRefError) as caught:
        songs.repository.ls("main", "chart")

    assert str(caught.value) == (
        "Nothing at 'chart' in songs@main. See what is there: handrail workspace ls songs@main"
    )


def test_a_file_is_read_as_it_was(songs: Songs) -> None:
    first = songs.commit(FILES, at=1)
    songs.commit({"a.txt": "later"}, at=2)

    with songs.repository.read(first, "a.txt") as file:
        assert file.read() == b"a"
    with songs.repository.read("main", "/a.txt") as file:
        assert file.read() == b"later"


def test_only_files_can_be_read(songs: Songs) -> None:
    songs.commit({**FILES, "link": "-> a.txt"})

    with pytest.raises(UnknownRefError, match=r"'charts' is a folder of songs@main, not a file"):
        songs.repository.read("main", "charts")
    with pytest.raises(UnknownRefError, match=r"'link' is a link to 'a\.txt' in songs@main"):
        songs.repository.read("main", "link")
    with pytest.raises(UnknownRefError, match="Nothing at ''"):
        songs.repository.read("main", "")


def test_the_difference_of_two_refs_is_told(songs: Songs) -> None:
    first = songs.commit(FILES, at=1)
    songs.commit({"a.txt": "A", "charts/one.csv": "1", "b.txt": "b"}, at=2)

    changes = [(change.kind, change.path) for change in songs.repository.diff(first, "main")]

    assert changes == [
        ("changed", "a.txt"),
        ("added", "b.txt"),
        ("removed", "charts/deep/two.csv"),
    ]


# Checking out


def test_a_commit_is_checked_out(songs: Songs, tmp_path: Path) -> None:
    songs.commit({**FILES, "link": "-> a.txt"})
    folder = tmp_path / "out"

    songs.repository.checkout("main", folder)

    assert (folder / "charts/deep/two.csv").read_text(encoding="utf-8") == "22"
    assert (folder / "link").readlink() == Path("a.txt")


def test_a_folder_of_a_commit_is_checked_out_alone(songs: Songs, tmp_path: Path) -> None:
    songs.commit(FILES)
    folder = tmp_path / "out"
    folder.mkdir()

    songs.repository.checkout("main", folder, "/charts")

    assert sorted(path.name for path in folder.iterdir()) == ["deep", "one.csv"]


def test_a_folder_that_holds_something_is_left_alone(songs: Songs, tmp_path: Path) -> None:
    songs.commit(FILES)
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(StoreError, match="is not empty"):
        songs.repository.checkout("main", tmp_path)

    assert not (tmp_path / "a.txt").exists()


@pytest.mark.parametrize(("path", "problem"), [("chart", "Nothing at"), ("a.txt", "is a file of")])
def test_only_folders_can_be_checked_out(
    songs: Songs, tmp_path: Path, path: str, problem: str
) -> None:
    songs.commit(FILES)

    with pytest.raises(UnknownRefError, match=problem):
        songs.repository.checkout("main", tmp_path / "out", path)

    assert not (tmp_path / "out").exists()
