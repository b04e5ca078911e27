"""A stored folder as files for one body to change, and back.

    Checkout          files of the body's own, written from the objects: `copies`, `reflink`
    OverlayCheckout   the files of a cached tree seen through a mount: see `handrail.keep.overlay`

Whatever a body does to its files, no file shares its bytes with a stored object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from handrail.errors import StoreError, UnsupportedFileError
from handrail.keep.base import TreeEntry
from handrail.keep.copies import KnownFolder, TreeWriter
from handrail.keep.faults import storage_faults
from handrail.keep.mounts import mounts_below
from handrail.keep.scan import (
    MAX_DEPTH,
    WORKERS,
    FoundFolder,
    Scan,
    StatIndex,
    check_depth,
    check_links,
)
from handrail.keep.trees import Trees

__all__ = ["MAX_DEPTH", "WORKERS", "Checkout"]


class Checkout:
    """Files of one tree in a folder of their own, for one body to change.

    Made with `Checkout.create`.
    """

    #: How its files were made: "overlay", "reflink" or "copies".
    way = "copies"

    def __init__(self, trees: Trees, tree: str, path: Path, *, workers: int = WORKERS) -> None:
        self.trees = trees
        #: What was checked out.
        self.tree = tree
        self.path = path
        self._workers = workers
        self._index = StatIndex()
        self._known_folders: dict[str, KnownFolder] = {}
        #: Links that are not shown, since they lead out of the tree, by path.
        self._hidden: dict[str, TreeEntry] = {}

    @classmethod
    def create(
        cls,
        trees: Trees,
        tree: str,
        path: Path,
        *,
        workers: int = WORKERS,
        way: str = "copies",
    ) -> Checkout:
        """Writes `tree` to `path`, a folder that is missing or empty, and that only we may enter.

        Links that lead out of the tree (of a sub-folder checked out alone, say) are left
        out of the folder, and kept in what is staged.

        Args:
            workers: threads that copy files.
            way: what is told of it; "reflink" where the disk is known to share blocks.

        Raises:
            UnknownRefError: the tree or one of its contents is not stored.
            StoreCorruptError: a content is not what its digest says.
            UnsupportedFileError: two names of a folder are one to the file system there.
            StoreFullError, StoreReadOnlyError, StoreError: the files cannot be written.
        """
        checkout = cls(trees, tree, path, workers=workers)
        checkout.way = way
        with storage_faults(path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            if os.listdir(path):
                raise StoreError(f"{path} is not empty. Choose a folder that does not exist.")
            checkout._write()
        return checkout

    def stage(self) -> str:
        """Stores what the folder holds now; returns its digest, the same if nothing changed.

        Contents, names, permission bits, links and empty folders count. Nothing is flushed.

        Raises:
            UnsupportedFileError: a socket, FIFO or device; a name that is not UTF-8; a file
                that may not be read; a link that is absolute or leads outside; a mount.
            StoreError: a file changed while it was read.
        """
        with storage_faults(self.path):
            self._check_mounts()
            scan, root = self._scan()
            scan.read_links()
            if self._has_links_to_check(scan):
                links = self._links_of(root, scan, 0)
                check_links(scan.targets | links, links)
            scan.read(self.trees.objects, self._workers)
        return self._put_folder(root).digest

    def close(self) -> None:
        """Lets go of what the files come from; called when the folder is gone."""

    # From tree to files

    def _write(self) -> None:
        writer = TreeWriter(self.trees, self.path, self._workers, self._index)
        writer.folder("", self.tree, 0)
        hidden = writer.hidden()
        self._known_folders = writer.folders
        self._hidden = {path: writer.entry_of_link(path) for path in hidden}
        writer.finish(hidden)
        self._index.settle()

    # From files to tree

    def _check_mounts(self) -> None:
        for point in mounts_below(self.path):
            name = os.path.relpath(point, os.path.realpath(self.path))
            raise UnsupportedFileError(
                f"'{name}' is a mount. Let what mounted it unmount it before the task returns."
            )

    def _scan(self) -> tuple[Scan, FoundFolder]:
        scan = Scan(self.path, self._index)
        return scan, scan.walk()

    def _has_links_to_check(self, scan: Scan) -> bool:
        """May a link lead elsewhere than before? One that stayed may, through another one."""
        return bool(scan.targets)

    def _links_of(self, folder: FoundFolder, scan: Scan, depth: int) -> dict[str, str]:
        """Targets of all links that are found below a folder, by path."""
        links = {}
        prefix = folder.path
        for path, target in scan.targets.items():
            if path.rpartition("/")[0] == prefix.rstrip("/"):
                links[path] = target
        for entry in folder.entries:
            if entry.kind == "link":
                links[prefix + entry.name] = self._target(entry)
            elif entry.kind == "tree":
                below = prefix + entry.name + "/"
                links.update(self._stored_links(below, entry.digest, depth + 1))
        for each in folder.folders:
            links.update(self._links_of(each, scan, depth + 1))
        return links

    def _stored_links(self, path: str, tree: str, depth: int) -> Iterator[tuple[str, str]]:
        check_depth(path, depth)
        for entry in self.trees.entries(tree):
            below = path + entry.name
            if entry.kind == "tree":
                yield from self._stored_links(below + "/", entry.digest, depth + 1)
            elif entry.kind == "link" and below not in self._hidden:
                yield below, self._target(entry)

    def _target(self, link: TreeEntry) -> str:
        return self.trees.objects.read_bytes(link.digest).decode("utf-8")

    def _put_folder(self, folder: FoundFolder) -> KnownFolder:
        entries = folder.entries
        for below in folder.folders:
            put = self._put_folder(below)
            size_bytes = sum(entry.size_bytes for entry in put.entries)
            entries.append(TreeEntry(below.name, "tree", 0, put.digest, size_bytes))
        if self._hidden:
            taken = {entry.name for entry in entries}
            entries.extend(
                entry for entry in self._hidden_in(folder.path) if entry.name not in taken
            )
        content = tuple(sorted(entries))
        known = self._known_folders.get(folder.path)
        if known is None or known.entries != content:
            known = KnownFolder(self.trees.put_tree(content), content)
            self._known_folders[folder.path] = known
        return known

    def _hidden_in(self, folder: str) -> list[TreeEntry]:
        return [entry for path, entry in self._hidden.items() if path == folder + entry.name]
