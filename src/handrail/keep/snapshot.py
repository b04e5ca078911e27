"""Whether a folder holds the same files as before, whoever stores them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from handrail.keep.scan import WORKERS, file_clock_ns, in_threads


class _Look(NamedTuple):
    """What the file system shows of a file, without reading it."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class _Seen(NamedTuple):
    look: _Look
    digest: str


class Snapshot:
    """Files by content and links by target. Folders and permissions do not count.

    Files that look as they did are not read again. A change sets a file's ctime, which no
    program can set back; one that was set within the tick of the clock in which the snapshot was
    taken may be changed unseen, so those files are read in any case.
    """

    def __init__(self, root: Path, seen: dict[str, _Seen], taken_ns: int) -> None:
        self._root = root
        self._seen = seen
        self._taken_ns = taken_ns

    @classmethod
    def of(cls, root: Path) -> Snapshot:
        """Looks at everything in a folder."""
        taken_ns = file_clock_ns()
        found = dict(_files(root))
        return cls(root, _read(root, found), taken_ns)

    def has_changed(self) -> bool:
        """Does the folder hold anything else by now?"""
        found = dict(_files(self._root))
        if found.keys() != self._seen.keys():
            return True
        doubtful = {
            path: look
            for path, look in found.items()
            if look != self._seen[path].look or look.ctime_ns >= self._taken_ns
        }
        if any(
            look.size_bytes != self._seen[path].look.size_bytes for path, look in doubtful.items()
        ):
            return True
        now = _read(self._root, doubtful)
        return any(seen.digest != self._seen[path].digest for path, seen in now.items())


def _files(root: Path, below: str = "") -> Iterator[tuple[str, _Look]]:
    with os.scandir(root / below) as items:
        for item in items:
            path = below + item.name
            if item.is_dir(follow_symlinks=False):
                yield from _files(root, path + "/")
            else:
                found = item.stat(follow_symlinks=False)
                yield (
                    path,
                    _Look(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino),
                )


def _read(root: Path, files: dict[str, _Look]) -> dict[str, _Seen]:
    seen: dict[str, _Seen] = {}

    def read(path: str) -> None:
        seen[path] = _Seen(files[path], _digest(root / path))

    in_threads(WORKERS, read, list(files))
    return seen


def _digest(path: Path) -> str:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"link {os.readlink(path)}"
    if not stat.S_ISREG(mode):
        return f"special {stat.S_IFMT(mode)}"  # never read: that may block for ever
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
