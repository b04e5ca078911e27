"""Cached trees seen through a mount, which alone holds what a body changes.

An attempt's folder then has `upper/`, where the kernel puts changes, `work/`, which is its own,
and `workspace/`, where both are seen as one. Nothing is copied before, and what changed is what
lies in `upper/`; its form is told in Documentation/filesystems/overlayfs.rst:

| in `upper/` | means |
|---|---|
| file, link | written, or changed in whatever way: it is read |
| character device 0/0 ("whiteout") | removed |
| folder | what lies below the same path shows through ... |
| - with xattr `trusted.overlay.redirect` | ... or below that other one: it was renamed |
| - with xattr `trusted.overlay.opaque` = y | nothing shows through |

What differs from other ways: a file that was opened to be read goes on showing its old content
after another one opened it to write.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from handrail.errors import StoreError
from handrail.keep.base import TreeEntry
from handrail.keep.checkout import WORKERS, Checkout
from handrail.keep.copies import KnownFolder
from handrail.keep.links import links_outside
from handrail.keep.mounts import mount_overlay, unmount
from handrail.keep.removal import trial_folder
from handrail.keep.scan import FoundFolder, Look, Scan, UnknownFile, check_depth, check_name
from handrail.keep.tree_cache import CachedTree, TreeCache
from handrail.keep.trees import Trees

_OPAQUE = "trusted.overlay.opaque"
_REDIRECT = "trusted.overlay.redirect"


class OverlayCheckout(Checkout):
    """Files of one tree in a mount of their own, for one body to change.

    Made with `OverlayCheckout.mount`.
    """

    way = "overlay"

    _cached: CachedTree
    _upper: Path
    _device: int

    @classmethod
    def mount(
        cls, cache: TreeCache, trees: Trees, tree: str, folder: Path, *, workers: int = WORKERS
    ) -> OverlayCheckout:
        """Shows `tree` at `folder/workspace`, an empty folder.

        Raises:
            OSError: the mount is not possible.
            StoreError: the tree cannot be read, or its files not be written to the cache.
        """
        checkout = cls(trees, tree, folder / "workspace", workers=workers)
        checkout._cached = cache.open(trees, tree)
        checkout._upper = folder / "upper"
        try:
            checkout._mount(folder / "work")
        except BaseException:
            checkout.close()
            raise
        return checkout

    def close(self) -> None:
        self._cached.close()

    def _mount(self, work: Path) -> None:
        self._upper.mkdir(mode=0o700)
        work.mkdir(mode=0o700)
        mount_overlay(self.path, self._cached.layers, self._upper, work)
        self._device = os.stat(self.path).st_dev
        for path in links_outside(self._cached.links):
            entry = self.trees.find(self.tree, path)
            assert entry is not None
            self._hidden[path] = entry

    def _scan(self) -> tuple[Scan, FoundFolder]:
        if os.stat(self.path).st_dev != self._device:
            raise StoreError(
                f"{self.path} was unmounted or mounted over while the task ran, so what it wrote "
                f"cannot be told. Let the task leave its workspace as it is."
            )
        scan = _UpperScan(self, self._upper)
        return scan, scan.walk()

    def _has_links_to_check(self, scan: Scan) -> bool:
        assert isinstance(scan, _UpperScan)
        return scan.has_renamed_folders or super()._has_links_to_check(scan)


class _Below(NamedTuple):
    """The stored folder that shows through one of `upper/`."""

    #: In the tree that was checked out: "" or a path that ends in "/".
    path: str
    tree: str
    entries: dict[str, TreeEntry]


class _UpperScan(Scan):
    """One look over the upper folder of a mount."""

    def __init__(self, checkout: OverlayCheckout, upper: Path) -> None:
        super().__init__(upper, checkout._index, read_from=checkout.path)
        self.has_renamed_folders = False
        self._checkout = checkout

    def walk(self) -> FoundFolder:
        return self._folder("", "", 0, self._below("", self._checkout.tree))

    def _folder(self, path: str, name: str, depth: int, below: _Below | None) -> FoundFolder:
        check_depth(path, depth)
        found = FoundFolder(path, name)
        seen = set()
        with self.open_folder(path) as items:
            for item in items:
                if not item.name.isascii():
                    check_name(path, item.name)
                seen.add(item.name)
                if item.is_dir(follow_symlinks=False):
                    inside = self._below_folder(path + item.name, below)
                    found.folders.append(
                        self._folder(f"{path}{item.name}/", item.name, depth + 1, inside)
                    )
                else:
                    self._file(found, item)
        if below is not None:
            self._checkout._known_folders[path] = KnownFolder(
                below.tree, tuple(below.entries.values())
            )
            found.entries.extend(
                entry
                for name, entry in below.entries.items()
                if name not in seen and below.path + name not in self._checkout._hidden
            )
        return found

    def _file(self, folder: FoundFolder, item: os.DirEntry[str]) -> None:
        result = item.stat(follow_symlinks=False)
        if stat.S_ISCHR(result.st_mode) and result.st_rdev == 0:
            return
        look = Look.of(result)
        entry = self._index.entry(folder.path + item.name, look)
        if entry is not None:
            folder.entries.append(entry)
        else:
            self.unknown.append(UnknownFile(folder, item.name, look))

    def _below(self, path: str, tree: str) -> _Below:
        entries = self._checkout.trees.entries(tree)
        return _Below(path, tree, {entry.name: entry for entry in entries})

    def _below_folder(self, path: str, parent: _Below | None) -> _Below | None:
        place = f"{self._root}/{path}"
        if _attribute(place, _OPAQUE) == b"y":
            return None
        redirect = _attribute(place, _REDIRECT)
        if redirect is not None:
            self.has_renamed_folders = True
            origin = os.fsdecode(redirect)
            if origin.startswith("/"):
                return self._below_origin(origin[1:])
        else:
            origin = os.path.basename(path)
        entry = parent.entries.get(origin) if parent is not None else None
        if parent is None or entry is None or entry.kind != "tree":
            return None
        return self._below(f"{parent.path}{origin}/", entry.digest)

    def _below_origin(self, origin: str) -> _Below | None:
        entry = self._checkout.trees.find(self._checkout.tree, origin)
        if entry is None or entry.kind != "tree":
            return None
        return self._below(f"{origin}/", entry.digest)


def why_not(folder: Path) -> str | None:
    """Tries an overlay mount in `folder`; says why it is not possible there, or none if it is."""
    with trial_folder(folder) as place:
        for each in ("lower/folder", "upper", "work", "seen"):
            (place / each).mkdir(parents=True)
        (place / "lower/file").write_text("1")
        try:
            mount_overlay(place / "seen", [place / "lower"], place / "upper", place / "work")
        except OSError as error:
            return _reason(error)
        try:
            return _what_is_odd(place)
        except OSError as error:
            return f"a mount was made, and does not work: {error.strerror}"
        finally:
            unmount(str(place / "seen"))


def _what_is_odd(place: Path) -> str | None:
    seen, upper = place / "seen", place / "upper"
    (seen / "file").unlink()
    (seen / "folder").rename(seen / "renamed")
    (seen / "folder").mkdir()
    whiteout = os.lstat(upper / "file")
    if not stat.S_ISCHR(whiteout.st_mode) or whiteout.st_rdev != 0:
        return "a removed file is marked in an unknown way"
    if _attribute(str(upper / "renamed"), _REDIRECT) is None:
        return "a renamed folder is marked in an unknown way"
    if _attribute(str(upper / "folder"), _OPAQUE) != b"y":
        return "a replaced folder is marked in an unknown way"
    return None


_REASONS = {
    errno.EPERM: "only root may mount, and in a container only if that permits it",
    errno.EACCES: "a security policy forbids mounts",
    errno.ENODEV: "this kernel has no overlay file system",
    errno.ENOSYS: "this system has no overlay file system",
    errno.EINVAL: "the file system of the home cannot hold the changes of an overlay mount",
    errno.EOPNOTSUPP: "the file system of the home cannot hold the marks of an overlay mount",
}


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0, f"mounting failed: {error.strerror}")


def _attribute(place: str, name: str) -> bytes | None:
    try:
        return os.getxattr(place, name, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise
