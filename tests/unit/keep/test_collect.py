from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from handrail.errors import UnknownRefError
from handrail.keep.base import Commit
from handrail.keep.checkout import Checkout
from handrail.keep.collect import Collected, collect_garbage, commits_in_use
from handrail.keep.memory import MemoryJournal, MemoryObjects
from handrail.keep.objects import FileObjects
from handrail.keep.trees import Trees
from handrail.testing.stores import BRANCH, A, B, acceptance, begin_and_accept, start_on

_ALL = 1 << 50


def _commit(trees: Trees, path: Path, content: str, parents: tuple[str, ...] = ()) -> str:
    path.mkdir(parents=True, exist_ok=True)
    (path / "d").mkdir(exist_ok=True)
    (path / "d/file").write_text(content)
    (path / "link").unlink(missing_ok=True)
    (path / "link").symlink_to("d")
    tree = Checkout(trees, trees.empty_tree, path).stage()
    return trees.put_commit(Commit(tree, parents, content, 1))


def test_only_what_no_commit_needs_is_removed(tmp_path: Path) -> None:
    trees = Trees(MemoryObjects())
    first = _commit(trees, tmp_path / "w", "1")
    second = _commit(trees, tmp_path / "w", "2", (first,))
    lost = _commit(trees, tmp_path / "w", "3", (second,))
    before = set(trees.objects.digests())
    collected = collect_garbage(trees, trees.objects, [second], _ALL)
    # A commit, its tree, its folder and its file are gone; the empty tree may be too.
    assert collected.removed_count in (4, 5)
    for commit in (first, second):
        for _, entry in trees.walk(trees.commit(commit).tree):
            assert entry.digest in trees.objects
    assert lost not in trees.objects
    assert len(before) == collected.kept_count + collected.removed_count
    assert collect_garbage(trees, trees.objects, [second], _ALL) == Collected(
        collected.kept_count, 0, 0
    )


def test_young_objects_are_spared_and_putting_again_makes_young(tmp_path: Path) -> None:
    objects = FileObjects(tmp_path / "objects")
    trees = Trees(objects)
    old = [objects.put_bytes(b"%d" % number).digest for number in range(3)]
    for digest in old:
        path = objects.folder / digest[:2] / digest[2:]
        os.utime(path, (1, 1))
    young = objects.put_bytes(b"young").digest
    objects.put_bytes(b"1")  # staged again by an attempt in progress
    hour_ago = int((time.time() - 3600) * 1000)
    assert collect_garbage(trees, objects, [], hour_ago) == Collected(0, 2, 2, 2)
    assert set(objects.digests()) == {old[1], young}


def test_a_missing_root_stops_the_collection_before_it_removes(tmp_path: Path) -> None:
    trees = Trees(MemoryObjects())
    digest = trees.objects.put_bytes(b"unreachable").digest
    with pytest.raises(UnknownRefError):
        collect_garbage(trees, trees.objects, ["0" * 64], _ALL)
    assert digest in trees.objects


def test_branches_and_accepted_attempts_keep_their_commits() -> None:
    journal = MemoryJournal()
    start_on(journal, A)
    begin_and_accept(journal, acceptance())
    journal.move_head(BRANCH, B, None)
    assert commits_in_use(journal, journal) == {A, B}
