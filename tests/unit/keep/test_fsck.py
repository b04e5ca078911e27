from __future__ import annotations

from pathlib import Path

import pytest

from handrail.contracts.workspace import BranchName
from handrail.keep.base import Commit, TreeEntry
from handrail.keep.fsck import Checked, Damage, Roots, check
from handrail.keep.memory import MemoryJournal
from handrail.keep.objects import FileObjects
from handrail.keep.trees import Trees
from handrail.testing.stores import A, B, acceptance, begin_and_accept, start_on


class Home:
    """Objects on disk, whose files can be damaged."""

    def __init__(self, folder: Path) -> None:
        self.objects = FileObjects(folder)
        self.trees = Trees(self.objects)
        self.heads: dict[BranchName, str] = {}

    def commit(self, files: dict[str, str], *parents: str, run: str = "") -> str:
        """A commit with these files, each in a folder of the top, or at the top."""
        tree = self.trees.empty_tree
        top: list[TreeEntry] = []
        for path, text in files.items():
            folder, _, name = path.rpartition("/")
            info = self.objects.put_bytes(text.encode())
            entry = TreeEntry(name, "file", 0o644, info.digest, info.size_bytes)
            if folder:
                tree = self.trees.replace(tree, folder, self.trees.put_tree([entry]))
            else:
                top.append(entry)
        tree = self.trees.put_tree([*top, *self.trees.entries(tree)])
        made_by = {"run": run} if run else {}
        return self.trees.put_commit(Commit(tree, parents, "", 1, made_by))

    def path(self, digest: str) -> Path:
        return self.objects.folder / digest[:2] / digest[2:]

    def damage(self, digest: str, content: bytes | None) -> None:
        self.path(digest).unlink()
        if content is not None:
            self.path(digest).write_bytes(content)

    def check(self, *, is_all: bool = False) -> Checked:
        return check(self.objects, Roots.of(self.heads, None), is_all=is_all)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "objects")


MAIN, DEV = BranchName("songs"), BranchName("songs", "dev")


def test_what_is_sound_is_counted(home: Home) -> None:
    first = home.commit({"a.txt": "a", "raw/one.csv": "1"})
    home.heads[MAIN] = home.commit({"a.txt": "A", "raw/one.csv": "1"}, first)
    checked = home.check()
    assert checked.damages == ()
    assert (checked.commit_count, checked.folder_count, checked.content_count) == (2, 3, 3)
    whole = home.check(is_all=True)
    # Folders that were stored on the way, and nothing refers to.
    assert whole.unreferenced_count > 0
    sizes = [home.path(digest).stat().st_size for digest in home.objects.digests()]
    assert whole.size_bytes == sum(sizes) > checked.size_bytes


def test_a_damaged_file_is_named_with_all_that_hangs_on_it(home: Home) -> None:
    first = home.commit({"a.txt": "a"}, run="r1")
    second = home.commit({"a.txt": "a", "raw/one.csv": "anchor"}, first, run="r2")
    third = home.commit({"a.txt": "b", "raw/one.csv": "anchor"}, second)
    home.heads.update({MAIN: third, DEV: first})
    digest = home.objects.put_bytes(b"anchor").digest
    home.damage(digest, b"Xnchor")
    (damage,) = home.check().damages
    assert damage == Damage(
        digest,
        "file",
        "is damaged: its content is not what its name says",
        "raw/one.csv",
        tuple(sorted((second, third))),
        ("songs@main",),
        ("r2",),
    )


def test_missing_objects_of_each_kind_are_found_in_one_go(home: Home) -> None:
    first = home.commit({"a.txt": "a"})
    second = home.commit({"b.txt": "b", "raw/c.txt": "c"}, first)
    home.heads[MAIN] = second
    tree = home.trees.commit(second).tree
    folder = home.trees.find(tree, "raw")
    assert folder is not None
    file = home.objects.put_bytes(b"b").digest
    for digest in (first, folder.digest, file):
        home.damage(digest, None)
    found = {damage.digest: damage for damage in home.check().damages}
    assert {damage.kind for damage in found.values()} == {"commit", "folder", "file"}
    assert {damage.problem for damage in found.values()} == {"is missing"}
    assert found[folder.digest].path == "raw"
    assert {damage.commits for damage in found.values()} == {(second,)}


def test_a_head_of_a_commit_that_is_missing_is_named(home: Home) -> None:
    home.heads[MAIN] = "0" * 64
    (damage,) = home.check().damages
    assert (damage.kind, damage.heads, damage.commits) == ("commit", ("songs@main",), ())


def test_a_head_of_something_else_than_a_commit_is_named(home: Home) -> None:
    home.heads[MAIN] = home.objects.put_bytes(b"no commit").digest
    (damage,) = home.check().damages
    assert "is not a commit" in damage.problem


def test_a_folder_that_lies_about_a_length_is_found(home: Home) -> None:
    info = home.objects.put_bytes(b"anchor")
    tree = home.trees.put_tree([TreeEntry("a", "file", 0o644, info.digest, 7)])
    home.heads[MAIN] = home.trees.put_commit(Commit(tree, (), "", 1))
    (damage,) = home.check().damages
    assert damage.problem == "has 6 bytes where its folder says 7"


@pytest.mark.parametrize(
    "content",
    [
        b'{"entries":[["..","file",420,"x",1]],"kind":"tree"}',
        b'{"entries":[["a"]],"kind":"tree"}',
        b'{"kind":"tree"}',
        b"text",
    ],
)
def test_folders_that_make_no_sense_are_found(home: Home, content: bytes) -> None:
    tree = home.objects.put_bytes(content).digest
    home.heads[MAIN] = home.trees.put_commit(Commit(tree, (), "", 1))
    (damage,) = home.check().damages
    assert (damage.kind, damage.digest) == ("folder", tree)


def test_what_nothing_refers_to_is_read_on_demand(home: Home) -> None:
    home.heads[MAIN] = home.commit({"a.txt": "a"})
    lost = home.objects.put_bytes(b"lost").digest
    home.damage(lost, b"Xost")
    assert home.check().damages == ()
    checked = home.check(is_all=True)
    assert [(damage.digest, damage.kind) for damage in checked.damages] == [(lost, "object")]
    assert checked.unreferenced_count >= 1


def test_many_objects_are_read_in_parallel_and_told(home: Home) -> None:
    home.heads[MAIN] = home.commit({f"{number}.txt": str(number) for number in range(1200)})
    told: list[int] = []
    checked = check(home.objects, Roots.of(home.heads, None), workers=4, told=told.append)
    assert checked.content_count == 1200
    assert len(told) == 1202
    assert sum(told) == checked.size_bytes


def test_what_accepted_attempts_started_from_and_left_is_looked_for() -> None:
    journal = MemoryJournal()
    start_on(journal, A)
    begin_and_accept(journal, acceptance())
    roots = Roots.of(journal.heads(), journal)
    assert set(roots) == {A, B}
    assert len(roots.runs[A]) == len(roots.runs[B]) == 1
