"""Failures of disks and databases, told in Handrail's own errors.

| cause | error |
|---|---|
| no space, quota used up, file size limit | `StoreFullError` |
| read-only file system or folder, missing permission | `StoreReadOnlyError` |
| malformed database, or not one | `StoreCorruptError` |
| too many open files, locked for too long, any other failure | `StoreError` |

Each message names the path and the next step; the cause is kept as `__cause__`.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handrail.errors import (
    HandrailError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
)

#: EFBIG is what a process under `ulimit -f` meets.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_TOO_MANY_FILES = frozenset({errno.EMFILE, errno.ENFILE})

#: Primary result codes, https://www.sqlite.org/rescode.html
_SQLITE_READ_ONLY = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})
_SQLITE_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_SQLITE_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
#: What SQLite says when a quota is used up, or the files beside the database cannot grow.
_SQLITE_DISK = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
#: As much as SQLite writes at a time, and more.
_TRIED_BYTES = 1 << 16


@contextmanager
def storage_faults(path: str | os.PathLike[str]) -> Iterator[None]:
    """Translates failures of the operating system and of SQLite while `path` is used.

    Raises:
        StoreError: or one below it; see the table on top of this module.
    """
    try:
        yield
    except HandrailError:
        raise
    except (OSError, sqlite3.Error) as error:
        raise store_error(error, path) from error


def store_error(error: OSError | sqlite3.Error, path: str | os.PathLike[str]) -> StoreError:
    """The error of Handrail that says what `error` means for `path`."""
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error, Path(path))
    return _of_system(error, Path(path))


def is_read_only(error: OSError | sqlite3.Error) -> bool:
    """Does `error` mean that nothing may be written there?"""
    if isinstance(error, OSError):
        return error.errno in _READ_ONLY
    return _primary_code(error) in _SQLITE_READ_ONLY


def _of_system(error: OSError, path: Path) -> StoreError:
    if error.errno in _FULL:
        return _full(path, error.errno)
    if error.errno in _READ_ONLY:
        return _read_only(path, error.errno, str(error.filename or path))
    if error.errno in _TOO_MANY_FILES:
        return StoreError(
            f"Too many open files while using {path}. Raise the limit with: ulimit -n 4096"
        )
    return StoreError(f"{path} could not be used: {error}. Check the disk, then try again.")


def _of_sqlite(error: sqlite3.Error, path: Path) -> StoreError:
    code = _primary_code(error)
    if code == sqlite3.SQLITE_FULL or (code in _SQLITE_DISK and _has_no_space(path)):
        return _full(path, errno.ENOSPC)
    if code in _SQLITE_READ_ONLY:
        return _read_only(path, errno.EROFS, str(path))
    if code in _SQLITE_CORRUPT:
        return StoreCorruptError(
            f"{path} is damaged or not a database ({error}). Restore it from a copy, "
            f"or move the folder {path.parent} away to start afresh."
        )
    if code in _SQLITE_BUSY:
        return StoreError(
            f"{path} stayed locked by another process for too long. "
            f"See who holds it with: fuser -v {path}"
        )
    return StoreError(f"{path} could not be used: {error}. Check the disk, then try again.")


def _primary_code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _has_no_space(path: Path) -> bool:
    """Is the disk full, or a quota used up? That shows only when something is written."""
    try:
        if os.statvfs(path.parent).f_bavail == 0:
            return True
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(bytes(_TRIED_BYTES))
    except OSError as error:
        return error.errno in _FULL
    return False


def _full(path: Path, number: int) -> StoreFullError:
    error = StoreFullError(
        f"No space left for {path}. Free some space there, or collect what no branch "
        f"needs with: handrail workspace gc"
    )
    error.errno = number
    return error


def _read_only(path: Path, number: int, refused: str) -> StoreReadOnlyError:
    error = StoreReadOnlyError(
        f"Handrail may not write {path}{f' ({refused})' if refused != str(path) else ''}. "
        f"Give this user write permission, or set HANDRAIL_HOME to a folder of its own."
    )
    error.errno = number
    return error
