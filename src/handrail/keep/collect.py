"""Finding and removing the objects that no commit needs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

from handrail.keep.base import Heads, Journal, ObjectStore
from handrail.keep.trees import Trees


class Collected(NamedTuple):
    """What a collection did."""

    kept_count: int
    removed_count: int
    #: Objects that nothing refers to, but put too recently to be judged.
    spared_count: int


def collect_garbage(
    trees: Trees, objects: ObjectStore, roots: Iterable[str], keep_newer_than: int
) -> Collected:
    """Removes every object that no commit in `roots`, or before one of them, refers to.

    Safe while others work: what an attempt has stored and not yet published is young.

    Args:
        roots: commits, as `commits_in_use` gives them.
        keep_newer_than: milliseconds since 1970, UTC. Objects put later are kept. Must lie
            before the start of the oldest attempt in progress.

    Raises:
        UnknownRefError: a commit or tree in use is missing; nothing is removed then.
    """
    reachable = _reachable(trees, roots)
    removed = spared = 0
    for digest in list(objects.digests()):
        if digest in reachable:
            continue
        if objects.delete(digest, keep_newer_than):
            removed += 1
        else:
            spared += 1
    return Collected(len(reachable), removed, spared)


def commits_in_use(heads: Heads, journal: Journal) -> set[str]:
    """The commits of every branch, and those that accepted attempts started from and made."""
    found = set(heads.heads().values())
    for run in journal.runs(limit=sys.maxsize):
        for acceptance in journal.accepted(run.run_id):
            found.update(ref for ref in (acceptance.input_ref, acceptance.output_ref) if ref)
    return found


def _reachable(trees: Trees, roots: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    commits = list(roots)
    folders: list[str] = []
    while commits:
        commit_id = commits.pop()
        if commit_id not in seen:
            seen.add(commit_id)
            commit = trees.commit(commit_id)
            commits.extend(commit.parents)
            folders.append(commit.tree)
    while folders:
        tree = folders.pop()
        if tree not in seen:
            seen.add(tree)
            for entry in trees.entries(tree):
                if entry.kind == "tree":
                    folders.append(entry.digest)
                else:
                    seen.add(entry.digest)
    return seen
