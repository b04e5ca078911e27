"""Everything that commits are made of: themselves, those before them, folders, contents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from handrail.keep.trees import Trees


@dataclass(slots=True)
class Closure:
    """Objects by what they are."""

    commits: set[str] = field(default_factory=set)
    trees: set[str] = field(default_factory=set)
    #: Files and targets of links: `{digest: length in bytes}`.
    contents: dict[str, int] = field(default_factory=dict)

    def __contains__(self, digest: object) -> bool:
        return digest in self.commits or digest in self.trees or digest in self.contents

    def __len__(self) -> int:
        return len(self.commits) + len(self.trees) + len(self.contents)


def closure_of(
    trees: Trees, roots: Iterable[str], told: Callable[[int], None] = lambda count: None
) -> Closure:
    """All that the commits `roots` need, each object once. Contents are not read.

    Args:
        told: called with 1 for each commit and folder that was read.

    Raises:
        UnknownRefError: a commit or a folder is missing.
        StoreCorruptError: one of them is not what it should be.
    """
    found = Closure()
    commits, folders = list(roots), []
    while commits:
        commit_id = commits.pop()
        if commit_id not in found.commits:
            commit = trees.commit(commit_id)
            found.commits.add(commit_id)
            commits.extend(commit.parents)
            folders.append(commit.tree)
            told(1)
    while folders:
        tree = folders.pop()
        if tree in found.trees:
            continue
        for entry in trees.entries(tree):
            if entry.kind == "tree":
                folders.append(entry.digest)
            else:
                found.contents[entry.digest] = entry.size_bytes
        found.trees.add(tree)
        told(1)
    return found
