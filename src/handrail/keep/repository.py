"""A repository of versioned files, for looking into: branches, commits, files, differences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from handrail.contracts.workspace import BranchName
from handrail.errors import UnknownRefError
from handrail.keep.base import Change, Commit, Heads, TreeEntry
from handrail.keep.checkout import Checkout
from handrail.keep.trees import Trees

#: First character of the branches that runs work on until they publish.
HIDDEN = "~"
#: Fewest digits of a commit id that stand for it.
PREFIX_LENGTH = 6

_PREFIX = re.compile(rf"[0-9a-f]{{{PREFIX_LENGTH},63}}")
_COMMIT_ID = re.compile(r"[0-9a-f]{64}")
_SHOWN = 10


class Repository:
    """Branches of one name, and the files that their commits hold.

    A `ref` is a branch, a commit id, or the first digits of one; see `resolve`. Paths are
    relative to the top of the repository, which is `""` or `"/"`.
    """

    def __init__(self, name: str, trees: Trees, heads: Heads) -> None:
        self.name = name
        self._trees = trees
        self._heads = heads

    # Branches

    def create(self, branch: str = "main") -> str:
        """The head of `branch`, which is made, with an empty first commit, if there is none."""
        name = BranchName(self.name, branch)
        while True:
            head = self._heads.head(name)
            if head is not None:
                return head
            # At time 0, so that all who create at once make the same commit.
            empty = Commit(self._trees.empty_tree, (), f"{name}: created", 0)
            first = self._trees.put_commit(empty)
            self._trees.objects.flush()
            if self._heads.move_head(name, None, first):
                return first

    def branches(self) -> dict[str, str]:
        """Commits by branch, sorted by name; the branches of runs at work are left out."""
        found = self._heads.heads(self.name).items()
        return {
            name.branch: head for name, head in sorted(found) if not name.branch.startswith(HIDDEN)
        }

    def head(self, branch: str = "main") -> str:
        """The commit that a branch names.

        Raises:
            UnknownRefError: there is no such branch.
        """
        head = self._heads.head(BranchName(self.name, branch))
        if head is None:
            raise UnknownRefError(f"No branch '{branch}' in {self._described()}")
        return head

    def resolve(self, ref: str) -> str:
        """The commit that `ref` means: a branch, a commit id, or the first digits of one.

        Args:
            ref: of a commit id at least 6 digits, which only one commit of any branch has.

        Raises:
            UnknownRefError: nothing is called that, or several commits are.
        """
        head = self._heads.head(BranchName(self.name, ref))
        if head is not None:
            return head
        text = ref.lower()
        if _COMMIT_ID.fullmatch(text):
            self._trees.commit(text)
            return text
        found = sorted(self._starting_with(text)) if _PREFIX.fullmatch(text) else []
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(commit_id[:16] for commit_id in found[:_SHOWN])
            raise UnknownRefError(f"'{ref}' may be {several}. Give more digits.")
        raise UnknownRefError(f"No branch or commit '{ref}' in {self._described()}")

    def _starting_with(self, prefix: str) -> set[str]:
        return {commit_id for commit_id in self._reachable() if commit_id.startswith(prefix)}

    def _reachable(self) -> set[str]:
        waiting = list(self._heads.heads(self.name).values())
        seen: set[str] = set()
        while waiting:
            commit_id = waiting.pop()
            if commit_id not in seen:
                seen.add(commit_id)
                waiting += self._trees.commit(commit_id).parents
        return seen

    def _described(self) -> str:
        names = list(self.branches())
        if not names:
            return f"repository '{self.name}', which has no branches."
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return f"repository '{self.name}'. Branches: {', '.join(names[:_SHOWN])}{more}."

    # Commits and files

    def log(self, ref: str = "main") -> Iterator[tuple[str, Commit]]:
        """A commit and those before it, each with its id, newest first."""
        return self._trees.log(self.resolve(ref))

    def ls(
        self, ref: str = "main", path: str = "", *, recursive: bool = False
    ) -> list[tuple[str, TreeEntry]]:
        """What a folder holds, with paths from the top, in order; of a file, the file itself.

        Args:
            recursive: list files, links and empty folders of all folders below, too.

        Raises:
            UnknownRefError: no such commit, or nothing at `path`.
        """
        tree = self._tree(ref)
        path = path.strip("/")
        if path:
            entry = self._entry(tree, ref, path)
            if entry.kind != "tree":
                return [(path, entry)]
            tree, path = entry.digest, f"{path}/"
        if recursive:
            return list(self._trees.walk(tree, path))
        return [(path + entry.name, entry) for entry in self._trees.entries(tree)]

    def read(self, ref: str, path: str) -> BinaryIO:
        """The content of a file, open for reading.

        Raises:
            UnknownRefError: no such commit, or no file at `path`.
        """
        entry = self._entry(self._tree(ref), ref, path)
        if entry.kind == "tree":
            raise UnknownRefError(f"'{path}' is a folder of {self._at(ref)}, not a file.")
        if entry.kind == "link":
            target = self._trees.objects.read_bytes(entry.digest).decode("utf-8")
            raise UnknownRefError(
                f"'{path}' is a link to '{target}' in {self._at(ref)}. Read that instead."
            )
        return self._trees.objects.open(entry.digest)

    def diff(self, before: str, after: str) -> Iterator[Change]:
        """Files, links and empty folders that differ between two refs, in order of path."""
        return self._trees.diff(self._tree(before), self._tree(after))

    def checkout(self, ref: str, folder: Path, path: str = "/") -> None:
        """Writes the files of a commit, or of its folder `path`, into `folder`.

        Args:
            folder: must be empty or missing; becomes private to its user.

        Raises:
            UnknownRefError: no such commit, or no folder at `path`.
            StoreError: `folder` holds something, or cannot be written.
        """
        tree = self._tree(ref)
        if path.strip("/"):
            entry = self._entry(tree, ref, path)
            if entry.kind != "tree":
                raise UnknownRefError(f"'{path}' is a {entry.kind} of {self._at(ref)}, no folder.")
            tree = entry.digest
        Checkout.create(self._trees, tree, folder)

    def _tree(self, ref: str) -> str:
        return self._trees.commit(self.resolve(ref)).tree

    def _entry(self, tree: str, ref: str, path: str) -> TreeEntry:
        entry = self._trees.find(tree, path)
        if entry is None:
            raise UnknownRefError(
                f"Nothing at '{path}' in {self._at(ref)}. "
                f"See what is there: handrail workspace ls {self.name}@{ref}"
            )
        return entry

    def _at(self, ref: str) -> str:
        return f"{self.name}@{ref}"
