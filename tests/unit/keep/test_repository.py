from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from handrail.contracts.workspace import BranchName
from handrail.errors import (
    PublishFenceError,
    StoreError,
    TaskDefinitionError,
    UnknownRefError,
)
from handrail.keep.base import Commit, TreeEntry
from handrail.keep.memory import MemoryJournal
from handrail.keep.repository import Branch, Repository
from handrail.keep.trees import Trees
from tests.unit.keep.songs import Songs


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


def test_a_branch_begins_where_it_is_told_to(songs: Songs) -> None:
    first = songs.commit({"a.txt": "a"}, at=1)
    songs.commit({"a.txt": "b"}, at=2)

    assert songs.repository.create_branch("old", first).commit_id == first
    assert songs.repository.branches()["old"] == first
    with pytest.raises(StoreError, match="There is a branch songs@old already"):
        songs.repository.create_branch("old")
    with pytest.raises(UnknownRefError):
        songs.repository.create_branch("other", "nowhere")


def test_a_deleted_branch_leaves_its_commits(songs: Songs) -> None:
    head = songs.commit({"a.txt": "a"})

    assert songs.repository.delete_branch("main") == head
    assert songs.repository.branches() == {}
    assert songs.repository.at(head).read_text("a.txt") == "a"
    with pytest.raises(UnknownRefError):
        songs.repository.delete_branch("main")


@pytest.mark.parametrize("name", ["tag:x", "~x", "a b", "", "a/", "a..b"])
def test_branches_and_tags_have_plain_names(songs: Songs, name: str) -> None:
    songs.commit({"a.txt": "a"})
    if name:  # an empty branch is main
        with pytest.raises(TaskDefinitionError):
            songs.repository.create_branch(name)
        with pytest.raises(TaskDefinitionError):
            songs.repository.tag(name)
    assert list(songs.repository) == ["main"]


def test_a_branch_for_workflows_is_its_name_and_knows_where_it_is(songs: Songs) -> None:
    head = songs.commit({"a.txt": "a"})

    branch = songs.repository.branch("main")

    assert branch == BranchName("songs", "main")
    assert str(branch) == "songs@main"
    assert branch.ref().commit_id == head
    assert branch.place is None
    assert isinstance(branch, Branch)
    again = pickle.loads(pickle.dumps(branch))
    assert (again, type(again)) == (branch, BranchName)


# Tags


def test_a_tag_names_a_commit_for_ever(songs: Songs) -> None:
    first = songs.commit({"a.txt": "a"}, at=1)
    songs.repository.tag("v1")
    second = songs.commit({"a.txt": "b"}, at=2)

    assert songs.repository.tags() == {"v1": first}
    assert songs.repository.branches() == {"main": second}
    assert songs.repository["v1"].read_text("a.txt") == "a"
    assert songs.repository["tag:v1"].commit_id == first
    assert songs.repository.tag("v1", first).commit_id == first
    with pytest.raises(StoreError, match=f"names {first[:12]}, and a tag never moves"):
        songs.repository.tag("v1")


def test_a_name_is_a_branch_or_a_tag(songs: Songs) -> None:
    songs.commit({"a.txt": "a"})
    songs.repository.tag("v1")

    with pytest.raises(StoreError, match="There is a tag 'v1'"):
        songs.repository.create_branch("v1")
    with pytest.raises(StoreError, match="There is a tag 'v1'"):
        songs.repository.create("v1")
    with pytest.raises(StoreError, match="There is a branch songs@main"):
        songs.repository.tag("main")


def test_a_repository_is_asked_what_it_has(songs: Songs) -> None:
    head = songs.commit({"a.txt": "a"})
    songs.repository.tag("v1")

    assert list(songs.repository) == ["main", "v1"]
    assert "main" in songs.repository
    assert head[:8] in songs.repository
    assert "nowhere" not in songs.repository
    with pytest.raises(UnknownRefError, match="Branches and tags: main, v1"):
        songs.repository.at("nowhere")


# Committing folders


def test_a_folder_becomes_the_next_commit(songs: Songs) -> None:
    first = songs.commit({"a.txt": "a", "old.txt": "o"})
    stored: list[int] = []
    folder = songs.write({"a.txt": "later", "new/b.txt": "b"}, "by hand")

    made = songs.repository.commit(folder, "by hand", user="ada", told=stored.append)

    assert songs.repository.head() == made.commit_id
    assert list(made) == ["a.txt", "new/b.txt"]
    assert made.commit.parents == (first,)
    assert made.commit.message == "by hand"
    assert made.commit.made_by == {"user": "ada", "input_ref": first}
    assert sorted(stored) == [1, 5]


def test_only_a_folder_of_the_repository_is_replaced_on_demand(songs: Songs) -> None:
    songs.commit({"a.txt": "a", "may/old.txt": "o"})
    folder = songs.write({"new.txt": "n"}, "by hand")

    assert list(songs.repository.commit(folder, "x", path="may")) == ["a.txt", "may/new.txt"]


def test_a_folder_that_is_stored_already_makes_no_commit(songs: Songs) -> None:
    first = songs.commit({"a.txt": "a"})

    made = songs.repository.commit(songs.write({"a.txt": "a"}, "by hand"), "again")

    assert made.commit_id == first
    assert songs.repository.head() == first


def test_a_branch_that_moved_since_refuses_the_folder_and_says_who_moved_it(songs: Songs) -> None:
    first = songs.commit({"a.txt": "a"})
    folder = songs.write({"b.txt": "b"}, "by hand")
    songs.repository.commit(songs.write({"c.txt": "c"}, "faster"), "songs of May", user="ben")
    won = songs.repository.head()

    with pytest.raises(PublishFenceError, match=r"user ben, at .*, 'songs of May'"):
        songs.repository.commit(folder, "late", base=first)

    assert songs.repository.head() == won


def test_a_branch_that_moves_while_the_folder_is_stored_refuses_it(songs: Songs) -> None:
    songs.commit({"a.txt": "a"})
    folder = songs.write({"b.txt": "b"}, "by hand")

    def intrude(size_bytes: int) -> None:
        songs.repository.commit(songs.write({"c.txt": "c"}, "faster"), "songs of May", user="ben")

    with pytest.raises(PublishFenceError, match="'songs of May'"):
        songs.repository.commit(folder, "late", told=intrude)

    assert list(songs.repository.at()) == ["c.txt"]


def test_a_folder_that_cannot_be_stored_is_refused(songs: Songs, tmp_path: Path) -> None:
    songs.commit({"a.txt": "a"})
    home = tmp_path / "project/.handrail"
    home.mkdir(parents=True)
    at_home = Repository("songs", songs.trees, songs.heads, home=home)

    with pytest.raises(StoreError, match="is no folder"):
        songs.repository.commit(tmp_path / "nowhere", "x")
    with pytest.raises(StoreError, match="would be stored within itself"):
        at_home.commit(tmp_path / "project", "x")
    with pytest.raises(UnknownRefError, match="No branch 'dev'"):
        songs.repository.commit(tmp_path, "x", branch="dev")


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

    problem = rf"No branch, tag or commit '{head[:5]}'.*Branches: main"
    with pytest.raises(UnknownRefError, match=problem):
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
    songs.commit(FILES)

    with pytest.raises(UnknownRefError, match=r"'charts' is a folder of songs@main, not a file"):
        songs.repository.read("main", "charts")
    with pytest.raises(UnknownRefError, match="'' is a folder"):
        songs.repository.read("main", "")
    with pytest.raises(UnknownRefError, match=r"Nothing at 'a\.txt/b'"):
        songs.repository.read("main", "a.txt/b")


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
