"""Folders and commits as objects.

Both are JSON in one canonical form, so that equal states have equal digests: UTF-8, no
spaces, keys sorted, entries sorted by name.

    {"entries":[["a.txt","file",420,"<digest>",12],["b","tree",0,"<digest>",99]],"kind":"tree"}
    {"at":1700000000000,"kind":"commit","made_by":{"run":"…"},"message":"…","parents":["<id>"],
     "tree":"<digest>"}

An entry is `[name, kind, mode, digest, size_bytes]`: see `TreeEntry`. Links and folders have
mode 0; a folder's size is the sum of its entries' sizes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from handrail.errors import StoreCorruptError, UnknownRefError
from handrail.keep.base import Change, Commit, ObjectStore, TreeEntry
from handrail.keep.objects import is_digest

_encode = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), sort_keys=True, check_circular=False
).encode

_NO_NAMES = frozenset({"", ".", ".."})


class Trees:
    """Reads and writes folders and commits in an object store.

    What is put here is on disk only after `objects.flush()`.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects

    # Commits

    def put_commit(self, commit: Commit) -> str:
        """Stores a commit; returns its id."""
        return self._put(
            {
                "at": commit.at,
                "kind": "commit",
                "made_by": commit.made_by,
                "message": commit.message,
                "parents": commit.parents,
                "tree": commit.tree,
            }
        )

    def commit(self, commit_id: str) -> Commit:
        """Reads a commit.

        Raises:
            UnknownRefError: that is no commit id, or there is no such commit.
        """
        if not is_digest(commit_id):
            raise UnknownRefError(
                f"'{commit_id}' is not a commit id (64 hexadecimal digits). A branch name is "
                f"not accepted where a commit is needed, because it may move while it is read."
            )
        try:
            content = self.objects.read_bytes(commit_id)
        except UnknownRefError:
            raise UnknownRefError(f"No commit {commit_id} in this store.") from None
        found = _decode(content, "commit")
        if found is None:
            raise UnknownRefError(f"Object {commit_id} is not a commit.")
        return Commit(
            tree=found["tree"],
            parents=tuple(found["parents"]),
            message=found["message"],
            at=found["at"],
            made_by=found["made_by"],
        )

    def log(self, commit_id: str) -> Iterator[tuple[str, Commit]]:
        """A commit and its first parents, newest first."""
        following: str | None = commit_id
        while following is not None:
            commit = self.commit(following)
            yield following, commit
            following = commit.parents[0] if commit.parents else None

    # Trees

    @property
    def empty_tree(self) -> str:
        """The digest of a folder with nothing in it, which is stored."""
        return self.put_tree(())

    def put_tree(self, entries: Iterable[TreeEntry]) -> str:
        """Stores a folder, its entries in any order; returns its digest."""
        return self._put({"entries": sorted(entries), "kind": "tree"})

    def entries(self, tree: str) -> tuple[TreeEntry, ...]:
        """What a folder holds, sorted by name.

        Raises:
            UnknownRefError: there is no such folder.
            StoreCorruptError: it has a name that no folder can have.
        """
        found = _decode(self.objects.read_bytes(tree), "tree")
        if found is None:
            raise UnknownRefError(f"Object {tree} is not a folder.")
        entries = tuple(TreeEntry(*entry) for entry in found["entries"])
        for entry in entries:
            # A content that somebody crafted must not lead a checkout out of its folder.
            if entry.name in _NO_NAMES or "/" in entry.name or "\0" in entry.name:
                raise StoreCorruptError(f"Folder {tree} holds an impossible name: {entry.name!r}.")
        return entries

    def walk(self, tree: str, prefix: str = "") -> Iterator[tuple[str, TreeEntry]]:
        """Files, links and empty folders with their paths, folder by folder in order of name."""
        for entry in self.entries(tree):
            path = prefix + entry.name
            if entry.kind != "tree":
                yield path, entry
                continue
            below = self.walk(entry.digest, path + "/")
            first = next(below, None)
            if first is None:
                yield path, entry
            else:
                yield first
                yield from below

    def find(self, tree: str, path: str) -> TreeEntry | None:
        """The entry at `path`; none if there is none, or if `path` is the root."""
        entry = None
        for name in _segments(path):
            if entry is not None:
                if entry.kind != "tree":
                    return None
                tree = entry.digest
            entry = next((entry for entry in self.entries(tree) if entry.name == name), None)
            if entry is None:
                return None
        return entry

    def subtree(self, tree: str, prefix: str) -> str:
        """The digest of the folder at `prefix`, `"/"` being `tree` itself; empty if missing.

        Raises:
            UnknownRefError: `prefix` is a file.
        """
        if not _segments(prefix):
            return tree
        entry = self.find(tree, prefix)
        if entry is None:
            return self.empty_tree
        if entry.kind != "tree":
            raise UnknownRefError(f"'{prefix}' is a {entry.kind}, where a folder is needed.")
        return entry.digest

    def replace(self, tree: str, prefix: str, subtree: str) -> str:
        """The digest of `tree` with the folder at `prefix` replaced, its parents made.

        A missing folder replaced by an empty one stays missing.

        Raises:
            UnknownRefError: `prefix` leads through a file.
        """
        if self.subtree(tree, prefix) == subtree:
            return tree
        return self._replace(tree, _segments(prefix), subtree)

    def _replace(self, tree: str, segments: list[str], subtree: str) -> str:
        if not segments:
            return subtree
        name, *rest = segments
        entries = {entry.name: entry for entry in self.entries(tree)}
        old = entries.get(name)
        if old is not None and old.kind != "tree":
            raise UnknownRefError(f"'{name}' is a {old.kind}, where a folder is needed.")
        digest = self._replace(old.digest if old else self.empty_tree, rest, subtree)
        entries[name] = self.folder_entry(name, digest)
        return self.put_tree(entries.values())

    def folder_entry(self, name: str, digest: str) -> TreeEntry:
        """The entry for a stored folder under `name`."""
        size_bytes = sum(entry.size_bytes for entry in self.entries(digest))
        return TreeEntry(name, "tree", 0, digest, size_bytes)

    def diff(self, before: str, after: str, prefix: str = "") -> Iterator[Change]:
        """Files, links and empty folders that differ, in order; equal folders are not read."""
        if before == after:
            return
        old = {entry.name: entry for entry in self.entries(before)}
        fresh = {entry.name: entry for entry in self.entries(after)}
        for name in sorted(old.keys() | fresh.keys()):
            if old.get(name) != fresh.get(name):
                yield from self._changes(prefix + name, old.get(name), fresh.get(name))

    def _changes(
        self, path: str, before: TreeEntry | None, after: TreeEntry | None
    ) -> Iterator[Change]:
        if before and after and before.kind == after.kind:
            if before.kind == "tree":
                yield from self._folder_changes(path, before, after)
            else:
                yield Change("changed", path, before, after)
            return
        if before:
            for below, entry in self._leaves(path, before):
                yield Change("removed", below, entry, None)
        if after:
            for below, entry in self._leaves(path, after):
                yield Change("added", below, None, entry)

    def _folder_changes(self, path: str, before: TreeEntry, after: TreeEntry) -> Iterator[Change]:
        # An empty folder is a leaf: filled, it is gone, and emptied, it has come.
        if not self.entries(before.digest):
            yield Change("removed", path, before, None)
        if not self.entries(after.digest):
            yield Change("added", path, None, after)
        yield from self.diff(before.digest, after.digest, path + "/")

    def _leaves(self, path: str, entry: TreeEntry) -> Iterator[tuple[str, TreeEntry]]:
        if entry.kind != "tree":
            yield path, entry
            return
        below = list(self.walk(entry.digest, path + "/"))
        yield from below or [(path, entry)]

    def _put(self, value: dict[str, Any]) -> str:
        # Half characters become JSON's own escape of them, and come back the same.
        content = _encode(value).encode("utf-8", "backslashreplace")
        return self.objects.put_bytes(content).digest


def _decode(content: bytes, kind: str) -> dict[str, Any] | None:
    """The value of a tree or commit; none if the content is something else."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.get("kind") == kind else None


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]
