from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from handrail.errors import (
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    UnknownRefError,
)
from handrail.keep.faults import storage_faults


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EFBIG, StoreFullError),
        (errno.EROFS, StoreReadOnlyError),
        (errno.EACCES, StoreReadOnlyError),
        (errno.EPERM, StoreReadOnlyError),
        (errno.EMFILE, StoreError),
        (errno.EIO, StoreError),
    ],
)
def test_failures_of_the_system_are_translated(number: int, kind: type[StoreError]) -> None:
    cause = OSError(number, "text of the system")
    with pytest.raises(StoreError) as caught, storage_faults("/some/where"):
        raise cause
    assert type(caught.value) is kind
    assert caught.value.__cause__ is cause
    assert "/some/where" in str(caught.value)
    if isinstance(caught.value, OSError):
        assert caught.value.errno == number


def test_too_many_open_files_tells_how_to_allow_more() -> None:
    with pytest.raises(StoreError, match="ulimit -n"), storage_faults("/some/where"):
        raise OSError(errno.EMFILE, "too many")


def test_errors_of_handrail_pass_unchanged() -> None:
    for error in (StoreFullError("mine"), UnknownRefError("mine")):
        with pytest.raises(StoreError) as caught, storage_faults("/some/where"):
            raise error
        assert caught.value is error


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError), storage_faults("/some/where"):
        raise ZeroDivisionError


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    connection = sqlite3.connect(tmp_path / "x.db")
    told = pytest.raises(StoreCorruptError, match=r"x\.db is damaged or not a database")
    with told, storage_faults(tmp_path / "x.db"):
        connection.execute("SELECT * FROM sqlite_master")
    connection.close()


def test_a_read_only_database_is_told(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "x.db").close()
    connection = sqlite3.connect(f"file:{tmp_path / 'x.db'}?mode=ro", uri=True)
    with pytest.raises(StoreReadOnlyError), storage_faults(tmp_path / "x.db"):
        connection.execute("CREATE TABLE a (b)")
    connection.close()


def test_a_full_database_is_told(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreFullError, match="No space left"), storage_faults(tmp_path / "x.db"):
        connection.execute("CREATE TABLE a (b)")
    connection.close()


def test_a_locked_database_is_told(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None, timeout=0)
    with pytest.raises(StoreError, match="stayed locked"), storage_faults(tmp_path / "x.db"):
        connection.execute("BEGIN IMMEDIATE")
    connection.close()
    holder.close()
