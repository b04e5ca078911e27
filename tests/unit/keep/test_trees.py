from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from handrail.errors import StoreCorruptError, UnknownRefError
from handrail.keep.base import Commit, TreeEntry
from handrail.keep.memory import MemoryObjects
from handrail.keep.trees import Trees

Files = dict[str, str | None]


@pytest.fixture
def trees() -> Trees:
    return Trees(MemoryObjects())


def _tree(trees: Trees, files: Files) -> str:
    """The tree of `{path: content}`; None makes an empty folder."""
    tree = trees.empty_tree
    folders: dict[str, Files] = {}
    entries = []
    for path, content in files.items():
        name, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(name, {})[rest] = content
        elif content is None:
            entries.append(trees.folder_entry(name, trees.empty_tree))
        else:
            entries.append(
                TreeEntry(name, "file", 0o644, *trees.objects.put_bytes(content.encode()))
            )
    for name, below in folders.items():
        entries.append(trees.folder_entry(name, _tree(trees, below)))
    return trees.put_tree(entries) if entries else tree


def _shown(trees: Trees, tree: str) -> Files:
    return {
        path: None if entry.kind == "tree" else trees.objects.read_bytes(entry.digest).decode()
        for path, entry in trees.walk(tree)
    }


A, B = "a" * 64, "b" * 64
NOT_EMPTY: Files = {"a.txt": "1", "d/e/f.txt": "2", "d/g.txt": "3", "z.txt": "4"}
SONGS: Files = {"a.txt": "1", "d/e/f.txt": "2", "d/g.txt": "3", "empty": None, "z.txt": "4"}


def test_a_tree_has_one_documented_encoding(trees: Trees) -> None:
    digest = trees.put_tree(
        [TreeEntry("ü", "link", 0, "b" * 64, 1), TreeEntry("a", "file", 0o644, "a" * 64, 12)]
    )
    text = f'{{"entries":[["a","file",420,"{A}",12],["ü","link",0,"{B}",1]],"kind":"tree"}}'
    assert trees.objects.read_bytes(digest) == text.encode()
    assert digest == hashlib.sha256(text.encode()).hexdigest()


def test_the_order_of_entries_does_not_matter(trees: Trees) -> None:
    entries = [TreeEntry(name, "file", 0o644, "a" * 64, 1) for name in ("b", "a", "B")]
    assert trees.put_tree(entries) == trees.put_tree(reversed(entries))
    assert [entry.name for entry in trees.entries(trees.put_tree(entries))] == ["B", "a", "b"]


def test_a_commit_has_one_documented_encoding_and_comes_back(trees: Trees) -> None:
    commit = Commit("a" * 64, ("b" * 64,), "hello", 1_700_000_000_000, {"run": "r", "by": "ü"})
    commit_id = trees.put_commit(commit)
    text = (
        '{"at":1700000000000,"kind":"commit","made_by":{"by":"ü","run":"r"},"message":"hello",'
        f'"parents":["{B}"],"tree":"{A}"}}'
    )
    assert trees.objects.read_bytes(commit_id) == text.encode()
    assert trees.commit(commit_id) == commit


def test_a_message_may_hold_half_characters(trees: Trees) -> None:
    commit = Commit(trees.empty_tree, (), "bad \udc80", 1)
    assert trees.commit(trees.put_commit(commit)) == commit


@pytest.mark.parametrize("ref", ["main", "songs@main", "abc123", "A" * 64, ""])
def test_a_branch_name_is_not_taken_for_a_commit(trees: Trees, ref: str) -> None:
    with pytest.raises(UnknownRefError, match="branch name is not accepted where a commit"):
        trees.commit(ref)


def test_what_is_no_commit_is_told(trees: Trees) -> None:
    with pytest.raises(UnknownRefError, match="No commit"):
        trees.commit("0" * 64)
    for content in (b"plain", b"\xff\xfe", b"[]"):
        digest = trees.objects.put_bytes(content).digest
        with pytest.raises(UnknownRefError, match="is not a commit"):
            trees.commit(digest)
        with pytest.raises(UnknownRefError, match="is not a folder"):
            trees.entries(digest)
    with pytest.raises(UnknownRefError, match="is not a commit"):
        trees.commit(trees.empty_tree)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\0b"])
def test_a_crafted_name_is_refused(trees: Trees, name: str) -> None:
    digest = trees.put_tree([TreeEntry(name, "file", 0o644, "a" * 64, 1)])
    with pytest.raises(StoreCorruptError, match="impossible name"):
        trees.entries(digest)


def test_a_walk_gives_files_and_empty_folders_in_order(trees: Trees) -> None:
    assert _shown(trees, _tree(trees, SONGS)) == SONGS
    assert list(_shown(trees, _tree(trees, SONGS))) == sorted(SONGS)
    assert list(trees.walk(trees.empty_tree)) == []


def test_entries_are_found_by_path(trees: Trees) -> None:
    tree = _tree(trees, SONGS)
    found = trees.find(tree, "d/e/f.txt")
    assert found is not None
    assert (found.name, found.kind, found.size_bytes) == ("f.txt", "file", 1)
    folder = trees.find(tree, "d")
    assert folder is not None
    assert (folder.kind, folder.size_bytes) == ("tree", 2)
    for missing in ("x", "d/x", "a.txt/x", "d/e/f.txt/x", "", "/"):
        assert trees.find(tree, missing) is None


def test_a_subtree_is_the_folder_or_empty(trees: Trees) -> None:
    tree = _tree(trees, SONGS)
    assert _shown(trees, trees.subtree(tree, "d")) == {"e/f.txt": "2", "g.txt": "3"}
    assert trees.subtree(tree, "/") == tree
    assert trees.subtree(tree, "missing/deep") == trees.empty_tree
    with pytest.raises(UnknownRefError, match=r"'a\.txt' is a file"):
        trees.subtree(tree, "a.txt")


def test_a_replaced_folder_leaves_the_rest(trees: Trees) -> None:
    tree = _tree(trees, SONGS)
    changed = trees.replace(tree, "d/e", _tree(trees, {"new.txt": "5"}))
    expected = {**SONGS, "d/e/new.txt": "5"}
    del expected["d/e/f.txt"]
    assert changed == _tree(trees, expected)
    made = trees.replace(tree, "x/y", _tree(trees, {"new.txt": "5"}))
    assert made == _tree(trees, {**SONGS, "x/y/new.txt": "5"})
    assert trees.replace(tree, "/", trees.empty_tree) == trees.empty_tree
    emptied = trees.replace(tree, "d/e", trees.empty_tree)
    assert _shown(trees, emptied)["d/e"] is None
    with pytest.raises(UnknownRefError, match=r"'a\.txt' is a file"):
        trees.replace(tree, "a.txt/x", changed)


def test_replacing_a_folder_by_itself_changes_nothing(trees: Trees) -> None:
    tree = _tree(trees, SONGS)
    for prefix in ("/", "d", "d/e", "missing", "missing/deep"):
        assert trees.replace(tree, prefix, trees.subtree(tree, prefix)) == tree


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (SONGS, []),
        ({}, [("removed", path) for path in sorted(SONGS)]),
        ({**SONGS, "d/g.txt": "x"}, [("changed", "d/g.txt")]),
        ({**SONGS, "d/new": "x"}, [("added", "d/new")]),
        ({**NOT_EMPTY, "empty/x": "1"}, [("removed", "empty"), ("added", "empty/x")]),
        (
            {"a.txt": "1", "d": "now a file", "empty": None, "z.txt": "4"},
            [("removed", "d/e/f.txt"), ("removed", "d/g.txt"), ("added", "d")],
        ),
        (
            {"a.txt": "1", "d/e": None, "d/g.txt": "3", "empty": None, "z.txt": "4"},
            [("added", "d/e"), ("removed", "d/e/f.txt")],
        ),
    ],
)
def test_a_diff_names_what_differs(
    trees: Trees, after: Files, expected: list[tuple[str, str]]
) -> None:
    changes = list(trees.diff(_tree(trees, SONGS), _tree(trees, after)))
    assert [(change.kind, change.path) for change in changes] == expected


def test_a_changed_mode_is_a_change(trees: Trees) -> None:
    info = trees.objects.put_bytes(b"x")
    before = trees.put_tree([TreeEntry("a", "file", 0o644, *info)])
    after = trees.put_tree([TreeEntry("a", "file", 0o755, *info)])
    (change,) = trees.diff(before, after)
    assert change.before is not None
    assert change.after is not None
    assert (change.before.mode, change.after.mode) == (0o644, 0o755)


def test_a_diff_does_not_read_what_is_equal(trees: Trees) -> None:
    before = _tree(trees, {"same/a": "1", "b": "1"})
    after = _tree(trees, {"same/a": "1", "b": "2"})
    same = trees.subtree(before, "same")
    assert trees.objects.delete(same, stored_before=1 << 50)
    assert [change.path for change in trees.diff(before, after)] == ["b"]


def test_a_log_follows_first_parents(trees: Trees, tmp_path: Path) -> None:
    first = trees.put_commit(Commit(trees.empty_tree, (), "first", 1))
    side = trees.put_commit(Commit(trees.empty_tree, (), "side", 1))
    second = trees.put_commit(Commit(trees.empty_tree, (first, side), "second", 2))
    assert [commit.message for _, commit in trees.log(second)] == ["second", "first"]
    assert [commit_id for commit_id, _ in trees.log(second)] == [second, first]
