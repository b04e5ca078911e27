"""The commits before a commit, in an order that shows each before those it follows."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator

from handrail.keep.base import Commit
from handrail.keep.trees import Trees


def history(trees: Trees, commit_id: str) -> Iterator[tuple[str, Commit]]:
    """A commit and all before it, through all parents, newest first.

    No commit comes before one that follows it, whatever their clocks said: the order of
    `git log --date-order`.
    """
    commits = ancestors(trees, commit_id)
    followers = Counter(parent for commit in commits.values() for parent in set(commit.parents))
    ready = [(-commits[commit_id].at, commit_id)]
    while ready:
        _, found = heapq.heappop(ready)
        yield found, commits[found]
        for parent in set(commits[found].parents):
            followers[parent] -= 1
            if not followers[parent]:
                heapq.heappush(ready, (-commits[parent].at, parent))


def ancestors(trees: Trees, *commit_ids: str) -> dict[str, Commit]:
    """Those commits and all before them, through all parents."""
    found: dict[str, Commit] = {}
    waiting = list(commit_ids)
    while waiting:
        commit_id = waiting.pop()
        if commit_id not in found:
            found[commit_id] = commit = trees.commit(commit_id)
            waiting += commit.parents
    return found
