"""Immutable contents as files, named by their SHA-256.

An object `abcdef…` is the file `ab/cdef…`, read-only. It is written beside, in `incoming/`,
and renamed, so that a name always stands for a whole content while this machine runs; `flush`
makes it so through a power cut as well.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from handrail.errors import StoreCorruptError, StoreError, UnknownRefError, UnsupportedFileError
from handrail.keep.base import ObjectInfo, ObjectStore
from handrail.keep.faults import storage_faults
from handrail.keep.scan import file_clock_ns

#: Contents are read in pieces of this size, whatever their length.
PIECE_BYTES = 1 << 20

#: ioctl of linux/fs.h: two files share their blocks until one is written.
_FICLONE = 0x40049409
_NO_CLONES = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS})
_CLONE_FROM_BYTES = 1 << 16

#: What opening says of a file that was removed, or replaced by a link or a socket.
_GONE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR})

#: Modes of files whose content is on the disk, and of others.
_SEALED, _UNSEALED = 0o444, 0o400

#: Objects that are remembered as verified, so that copying them again reads them only once.
_MOST_VERIFIED = 100_000

_FLUSH_WORKERS = 8
_FEW = 8

_DIGEST = re.compile(r"[0-9a-f]{64}")

_Item = TypeVar("_Item")


def is_digest(text: str) -> bool:
    """Is `text` a SHA-256 in hexadecimal digits?"""
    return _DIGEST.fullmatch(text) is not None


class FileObjects(ObjectStore):
    """Objects in a folder of the local disk, shared by the processes of this machine.

    A file that all may read (mode 0444) has its content on the disk. Until then only its owner
    may, and its content is looked at before it is taken for the object: names, lengths and
    contents may survive a power cut in any order.

    Putting a content that is there already writes nothing but its time, which tells sweeps
    that it is in use again. (A longer file than a piece is written to `incoming/` while it
    is hashed, and thrown away if the object exists: reading it twice would cost more.)
    """

    def __init__(self, folder: Path) -> None:
        """Uses `folder`; the first put makes it if missing."""
        self.folder = folder
        self._root = str(folder)
        self._incoming = folder / "incoming"
        self._unflushed: set[str] = set()
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._numbers = count()
        self._clones = True
        #: Objects whose content was right when they looked like this.
        self._verified: dict[str, _State] = {}

    def put_bytes(self, content: bytes) -> ObjectInfo:
        info = ObjectInfo(hashlib.sha256(content).hexdigest(), len(content))
        with storage_faults(self.folder):
            if not self._freshen(
                info, lambda file: _read_all(file, info.size_bytes + 1) == content
            ):
                with self._temporary() as temporary:
                    _write_all(temporary.number, content)
                    self._keep(temporary, info.digest)
            self._remember(info.digest)
        return info

    def put_file(self, path: Path) -> ObjectInfo:
        with storage_faults(path):
            source = _open_to_read(path)
        try:
            before = _state(source)
            if before.size_bytes <= PIECE_BYTES:
                with storage_faults(path):
                    content = _read_all(source, before.size_bytes + 1)
                _check_unchanged(path, before, _state(source), len(content))
                return self.put_bytes(content)
            return self._put_long(path, source, before)
        finally:
            os.close(source)

    def _put_long(self, path: Path, source: int, before: _State) -> ObjectInfo:
        with storage_faults(self.folder), self._temporary() as temporary:
            digest, size_bytes = _copy_pieces(source, temporary.number)
            _check_unchanged(path, before, _state(source), size_bytes)
            info = ObjectInfo(digest, size_bytes)
            if not self._freshen(info, lambda file: _copy_pieces(file, None) == info):
                self._keep(temporary, digest)
            self._remember(digest)
        return info

    def flush(self) -> None:
        # One at a time: what another thread is bringing to the disk may be ours.
        with self._flushing:
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            digests, self._unflushed = self._unflushed, set()
        try:
            with storage_faults(self.folder):
                paths = [self._path(digest) for digest in digests]
                _for_each(_seal, paths)
                folders = {os.path.dirname(path) for path in paths}
                _for_each(_sync, [*folders, self._root] if folders else [])
        except BaseException:
            with self._lock:
                self._unflushed |= digests
            raise

    def open(self, digest: str) -> BinaryIO:
        with storage_faults(self.folder):
            try:
                return open(self._path(digest), "rb")
            except FileNotFoundError:
                raise _unknown(digest) from None

    def copy_to(self, digest: str, path: Path, mode: int) -> None:
        try:
            source = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _unknown(digest) from None
        except OSError as error:
            with storage_faults(self.folder):
                raise error
        try:
            with storage_faults(path):
                self._copy(source, digest, path, mode)
        finally:
            os.close(source)

    def _copy(self, source: int, digest: str, path: Path, mode: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = os.open(path, flags, 0o600)
        try:
            before = _state(source)
            if self._verified.get(digest) == before:
                self._fill_unread(source, target, before.size_bytes)
            elif self._fill(source, target) == digest:
                self._remember_verified(digest, before)
            else:
                raise StoreCorruptError(
                    f"Object {digest} in {self.folder} does not have the content that its name "
                    f"says. Restore it from a copy, or delete it and run again what made it."
                )
            os.fchmod(target, mode)
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(target)

    def __contains__(self, digest: str) -> bool:
        return is_digest(digest) and os.path.exists(self._path(digest))

    def digests(self) -> Iterator[str]:
        with storage_faults(self.folder):
            for folder in _names(self.folder):
                if len(folder) == 2:
                    for name in _names(self.folder / folder):
                        if is_digest(folder + name):
                            yield folder + name

    def delete(self, digest: str, stored_before: int) -> bool:
        path = self._path(digest)
        with storage_faults(self.folder):
            try:
                if _stored_at(path) >= stored_before:
                    return False
                # Put aside first: a put of the same content between the look and the removal
                # either finds it missing and writes it again, or has renewed its time by now.
                aside = self._incoming / f"deleted-{os.getpid()}-{next(self._numbers)}"
                os.rename(path, aside)
                if _stored_at(aside) >= stored_before:
                    os.rename(aside, path)
                    return False
                os.unlink(aside)
            except FileNotFoundError:
                return False
        return True

    def delete_abandoned(self, stored_before: int) -> int:
        """Removes what puts that never ended left in `incoming/`; returns how many files."""
        removed = 0
        with storage_faults(self.folder):
            for name in _names(self._incoming):
                path = self._incoming / name
                try:
                    if _stored_at(path) < stored_before:
                        path.unlink()
                        removed += 1
                except FileNotFoundError:
                    continue
        return removed

    def _path(self, digest: str) -> str:
        if not is_digest(digest):
            raise _unknown(digest)
        return f"{self._root}/{digest[:2]}/{digest[2:]}"

    def _freshen(self, info: ObjectInfo, is_content: Callable[[int], bool]) -> bool:
        """Is the object there? If so, sets its time, so that no sweep takes it for old.

        What a power cut left in its place is not the object, and is written again.

        Args:
            is_content: reads the content of an open file; is it the object's?
        """
        path = self._path(info.digest)
        try:
            found = os.stat(path)
            if found.st_size != info.size_bytes:
                return False
            if stat.S_IMODE(found.st_mode) != _SEALED and info.digest not in self._unflushed:
                source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if not is_content(source):
                        return False
                finally:
                    os.close(source)
            os.utime(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return False
        return True

    def _temporary(self) -> _Temporary:
        name = f"{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}"
        return _Temporary(self._incoming / name)

    def _keep(self, temporary: _Temporary, digest: str) -> None:
        path = self._path(digest)
        try:
            temporary.move(path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            temporary.move(path)

    def _remember(self, digest: str) -> None:
        # Also what was there already: whoever put it may not have flushed it.
        with self._lock:
            self._unflushed.add(digest)

    def _fill(self, source: int, target: int) -> str:
        """Gives `target` the content of `source`; returns its digest as it was read."""
        size_bytes = os.fstat(source).st_size
        if self._clones and size_bytes >= _CLONE_FROM_BYTES and self._clone(source, target):
            return _copy_pieces(source, None)[0]
        if size_bytes <= PIECE_BYTES:
            content = _read_all(source, size_bytes)
            _write_all(target, content)
            return hashlib.sha256(content).hexdigest()
        return _copy_pieces(source, target)[0]

    def _fill_unread(self, source: int, target: int, size_bytes: int) -> None:
        """Gives `target` the content of `source` without a look at it."""
        if self._clones and size_bytes >= _CLONE_FROM_BYTES and self._clone(source, target):
            return
        while size_bytes and (piece := os.read(source, min(size_bytes, PIECE_BYTES))):
            _write_all(target, piece)
            size_bytes -= len(piece)
        if size_bytes:
            raise OSError(errno.EIO, "an object became shorter while it was copied")

    def _remember_verified(self, digest: str, state: _State) -> None:
        # A change within one tick of the clock that stamps files may bear the same time; see
        # `handrail.keep.scan`.
        if state.ctime_ns < file_clock_ns():
            if len(self._verified) >= _MOST_VERIFIED:
                self._verified.clear()
            self._verified[digest] = state

    def _clone(self, source: int, target: int) -> bool:
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError as error:
            if error.errno not in _NO_CLONES:
                raise
            self._clones = False
            return False
        return True


class _Temporary:
    """A file in `incoming/`, gone when the block is left unless it was moved."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._moved = False

    def __enter__(self) -> _Temporary:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self.number = os.open(self.path, flags, _UNSEALED)
        except FileNotFoundError:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.number = os.open(self.path, flags, _UNSEALED)
        return self

    def move(self, path: str) -> None:
        os.rename(self.path, path)
        self._moved = True

    def __exit__(self, *_: object) -> None:
        os.close(self.number)
        if not self._moved:
            os.unlink(self.path)


class _State(NamedTuple):
    """What tells whether a file was written to."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int


def _state(number: int) -> _State:
    found = os.fstat(number)
    return _State(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _open_to_read(path: Path) -> int:
    try:
        # Not through a link, and never waiting for a FIFO that took the file's place.
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise UnsupportedFileError(
            f"{path} may not be read. Give its owner read permission before the task returns."
        ) from error
    except OSError as error:
        if error.errno in _GONE:
            raise _changed(path) from error
        raise


def _check_unchanged(path: Path, before: _State, after: _State, read_bytes: int) -> None:
    if before != after or read_bytes != before.size_bytes:
        raise _changed(path)


def _changed(path: Path) -> StoreError:
    return StoreError(
        f"{path} changed while it was being read. "
        f"Let everything that writes there end before the task returns."
    )


def _read_all(number: int, limit_bytes: int) -> bytes:
    """Up to `limit_bytes` from the file's position; one read unless it is cut short."""
    content = os.read(number, limit_bytes)
    while len(content) < limit_bytes:
        more = os.read(number, limit_bytes - len(content))
        if not more:
            break
        content += more
    return content


def _write_all(number: int, content: bytes | memoryview) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(number, view) :]


def _copy_pieces(source: int, target: int | None) -> tuple[str, int]:
    """Hashes a file, and writes what was hashed to `target`; returns digest and length."""
    digest = hashlib.sha256()
    buffer = bytearray(PIECE_BYTES)
    view = memoryview(buffer)
    size_bytes = 0
    while read := os.readv(source, [buffer]):
        piece = view[:read]
        digest.update(piece)
        if target is not None:
            _write_all(target, piece)
        size_bytes += read
    return digest.hexdigest(), size_bytes


def _seal(path: str) -> None:
    """Brings a file to the disk, and marks it as being there."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
        if stat.S_IMODE(os.fstat(number).st_mode) != _SEALED:
            with suppress(PermissionError):  # another user's: looked at each time
                os.fchmod(number, _SEALED)
    finally:
        os.close(number)


def _sync(path: str) -> None:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _for_each(act: Callable[[_Item], object], items: Iterable[_Item]) -> None:
    """Runs `act` on every item; many at a time if they are many, since each one waits."""
    items = list(items)
    if len(items) <= _FEW:
        for item in items:
            act(item)
        return
    with ThreadPoolExecutor(_FLUSH_WORKERS, thread_name_prefix="handrail-flush") as pool:
        for _ in pool.map(act, items, chunksize=1):
            pass


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _stored_at(path: str | Path) -> int:
    return os.stat(path).st_mtime_ns // 1_000_000


def _unknown(digest: str) -> UnknownRefError:
    return UnknownRefError(f"No object {digest!r} in this store.")
