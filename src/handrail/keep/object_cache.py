"""Contents from elsewhere, kept on the local disk: checked at each use, bounded in size.

Nothing here is the only copy. What is damaged is thrown away; what was not used for longest, by
the hour, goes first when there is too much.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from handrail.errors import StoreCorruptError, UnknownRefError
from handrail.keep.base import ObjectInfo
from handrail.keep.faults import storage_faults
from handrail.keep.objects import PIECE_BYTES, FileObjects

#: On average the folder is looked through once for each such part of the limit that was added.
_PARTS = 16
#: What is left of a full cache.
_KEPT_PARTS = 14

_HOUR_SECONDS = 3600
_DAY_MS = 86_400_000


class _Entry(NamedTuple):
    used_at_ns: int
    size_bytes: int
    digest: str


class ObjectCache(FileObjects):
    """Objects in a folder that all processes of this machine may share.

    Args:
        limit_bytes: about how much is kept; it may be a sixteenth more for a while.
        chance: gives numbers from 0 up to 1. Counting what every process adds would need a
            lock on each; so each looks through the folder now and then, by chance.
    """

    def __init__(
        self, folder: Path, limit_bytes: int, *, chance: Callable[[], float] = random.random
    ) -> None:
        super().__init__(folder)
        self.limit_bytes = limit_bytes
        self._chance = chance

    def put_bytes(self, content: bytes) -> ObjectInfo:
        info = super().put_bytes(content)
        self._grown(info)
        return info

    def put_file(self, path: Path) -> ObjectInfo:
        info = super().put_file(path)
        if info.size_bytes > PIECE_BYTES:  # shorter ones were put as bytes
            self._grown(info)
        return info

    def copy_to(self, digest: str, path: Path, mode: int) -> None:
        super().copy_to(digest, path, mode)
        self._used(digest)

    def copy_open(self, file: BinaryIO, path: Path, mode: int) -> None:
        """Like `copy_to`, from what `sound` or `receive` gave, even if it was removed since."""
        source = file.fileno()
        with storage_faults(path):
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.lseek(source, 0, os.SEEK_SET)
                self._fill_unread(source, target, os.fstat(source).st_size)
                os.fchmod(target, mode)
            except BaseException:
                os.unlink(path)
                raise
            finally:
                os.close(target)

    def sound(self, digest: str) -> BinaryIO | None:
        """A cached content, open and checked; none if it is not here. A damaged one is removed."""
        try:
            file = self.open(digest)
        except UnknownRefError:
            return None
        try:
            with storage_faults(self.folder):
                hashing = hashlib.sha256()
                while piece := file.read(PIECE_BYTES):
                    hashing.update(piece)
                file.seek(0)
        except BaseException:
            file.close()
            raise
        if hashing.hexdigest() != digest:
            file.close()
            self.drop(digest)
            return None
        self._used(digest)
        return file

    def receive(self, digest: str, pieces: Iterator[bytes], origin: str) -> BinaryIO:
        """Keeps a content that comes in pieces; returns it open, and checked.

        Raises:
            StoreCorruptError: it is not what `digest` says; nothing is kept.
        """
        hashing = hashlib.sha256()
        size_bytes = 0
        with storage_faults(self.folder), self._temporary() as temporary:
            for piece in pieces:
                hashing.update(piece)
                _write_all(temporary.number, piece)
                size_bytes += len(piece)
            if hashing.hexdigest() != digest:
                raise StoreCorruptError(
                    f"Object {digest} in {origin} does not have the content that its name says. "
                    f"Restore it from a copy, or delete it and run again what made it."
                )
            file = open(temporary.path, "rb")  # noqa: SIM115  # the caller closes it
            try:
                self._keep(temporary, digest)
            except BaseException:
                file.close()
                raise
        self._grown(ObjectInfo(digest, size_bytes))
        return file

    def drop(self, digest: str) -> None:
        """Removes a content; a missing one is fine."""
        with storage_faults(self.folder), suppress(FileNotFoundError):
            os.unlink(self._path(digest))

    @contextmanager
    def alone(self, digest: str) -> Iterator[None]:
        """While the block runs, no other thread or process of this machine is in it for `digest`.

        (Seldom one is, when a lock's file was removed as another had just opened it. Two then
        receive the same content, which does no harm.)
        """
        path = self._incoming / f"receiving-{digest}"
        with storage_faults(self.folder):
            self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
            os.close(number)

    def trim(self, spared: str = "") -> None:
        """Removes what was not used for longest, except `spared`, if it is more than the limit."""
        with storage_faults(self.folder):
            entries = list(self._entries())
            excess = sum(entry.size_bytes for entry in entries) - self.limit_bytes
            if excess > 0:
                excess += self.limit_bytes * (_PARTS - _KEPT_PARTS) // _PARTS
                for entry in sorted(entries):
                    if excess <= 0:
                        break
                    if entry.digest == spared:
                        continue
                    self.drop(entry.digest)
                    excess -= entry.size_bytes
        self.delete_abandoned(time.time_ns() // 1_000_000 - _DAY_MS)

    def size_bytes(self) -> int:
        """How much is kept."""
        with storage_faults(self.folder):
            return sum(entry.size_bytes for entry in self._entries())

    def _entries(self) -> Iterator[_Entry]:
        for digest in self.digests():
            with suppress(FileNotFoundError):
                found = os.stat(self._path(digest))
                yield _Entry(found.st_mtime_ns, found.st_size, digest)

    def _remember(self, digest: str) -> None:
        """Nothing: what is here need not outlive a power cut."""

    def _used(self, digest: str) -> None:
        path = self._path(digest)
        with suppress(FileNotFoundError, PermissionError):
            # Not each time: that would make a file look changed that is known to be sound.
            if time.time() - os.stat(path).st_mtime > _HOUR_SECONDS:
                os.utime(path)

    def _grown(self, added: ObjectInfo) -> None:
        if self._chance() * self.limit_bytes < added.size_bytes * _PARTS:
            self.trim(spared=added.digest)


def _write_all(number: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(number, view) :]
