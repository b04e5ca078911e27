"""What differs between two stored folders, written as a layer of an overlay mount."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from itertools import islice
from typing import Protocol

from handrail.errors import UnknownRefError
from handrail.keep.base import TreeEntry
from handrail.keep.copies import TreeWriter
from handrail.keep.links import links_outside
from handrail.keep.trees import Trees

#: A tree is written as a difference if no more than this, or a quarter of its files, differ.
_FEW_CHANGES = 64

_OPAQUE = "trusted.overlay.opaque"


class BaseTree(Protocol):
    """What the layer is to lie upon."""

    digest: str
    file_count: int
    #: Targets of all its links, those that are hidden as well.
    links: Mapping[str, str]


class TreeDifference:
    """Writes what differs between a cached tree and another one, as a layer upon it."""

    def __init__(self, writer: TreeWriter, base: BaseTree) -> None:
        self.writer = writer
        self.file_count = base.file_count
        #: Targets of all links of the tree that is written.
        self.links = dict(base.links)
        #: Links in the place of what the base shows.
        self._covering: set[str] = set()
        self._base = base
        self._root = str(writer.root)

    def write(self, tree: str) -> bool:
        """False: a link that stayed is to be hidden or shown, so the layer is of no use."""
        self._folder("", self._base.digest, tree, 0)
        self.links.update(self.writer.links)
        self.file_count += self.writer.file_count
        hidden = links_outside(self.links)
        stayed = self.links.keys() - self.writer.links.keys()
        if hidden & stayed != links_outside(self._base.links) & stayed:
            return False
        self.writer.finish(hidden)
        for path in self._covering & hidden:
            self._whiteout(path)
        return True

    def _folder(self, path: str, before: str, after: str, depth: int) -> None:
        old = {entry.name: entry for entry in self.writer.trees.entries(before)}
        fresh = {entry.name: entry for entry in self.writer.trees.entries(after)}
        for name in old.keys() - fresh.keys():
            self._leave(path + name, old[name])
            self._whiteout(path + name)
        for name, entry in fresh.items():
            if entry != old.get(name):
                self._entry(path + name, old.get(name), entry, depth)

    def _entry(self, path: str, old: TreeEntry | None, entry: TreeEntry, depth: int) -> None:
        if old is not None and old.kind == entry.kind == "tree":
            os.mkdir(f"{self._root}/{path}")
            self._folder(path + "/", old.digest, entry.digest, depth + 1)
            return
        if old is not None:
            self._leave(path, old)
            if entry.kind == "link":
                self._covering.add(path)
        self.writer.add(path, entry, depth)
        if entry.kind == "tree":
            os.setxattr(f"{self._root}/{path}", _OPAQUE, b"y")

    def _leave(self, path: str, entry: TreeEntry) -> None:
        """Strikes what is no more out of the books."""
        if entry.kind == "file":
            self.file_count -= 1
        elif entry.kind == "link":
            self.links.pop(path, None)
        else:
            for below in self.writer.trees.entries(entry.digest):
                self._leave(f"{path}/{below.name}", below)

    def _whiteout(self, path: str) -> None:
        os.mknod(f"{self._root}/{path}", stat.S_IFCHR, os.makedev(0, 0))


def is_alike(trees: Trees, base: BaseTree, tree: str) -> bool:
    """Do so few files differ that the difference is worth writing?"""
    most = max(_FEW_CHANGES, base.file_count // 4)
    try:
        changes = sum(1 for _ in islice(trees.diff(base.digest, tree), most + 1))
    except UnknownRefError:  # the other one was collected meanwhile
        return False
    return changes <= most
