"""One SQLite file: opened, given its tables, and written in two classes of commit.

Sources: https://www.sqlite.org/wal.html (durability of WAL under `synchronous`),
https://www.sqlite.org/pragma.html#pragma_synchronous.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from handrail.errors import StoreCorruptError, StoreError, StoreVersionError
from handrail.keep.faults import is_read_only, storage_faults, store_error

#: How long a writer waits for another process's transaction.
BUSY_SECONDS = 30.0


class Database:
    """A connection shared by the threads of this process.

    A folder that may not be written is opened for reading where SQLite can; a write is then a
    `StoreReadOnlyError`. Not to be used across a fork.
    """

    def __init__(
        self,
        path: Path,
        schema: Sequence[str],
        version: int,
        migrations: Mapping[int, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        """Opens `path`; makes it, for its user only, and its tables if missing.

        Args:
            schema: statements that make the tables.
            version: kept in the file; a file with a larger one is refused.
            migrations: statements that bring a file of the version before to each version.
                One that may only be read stays as it is.

        Raises:
            StoreVersionError: a newer Handrail made it.
            StoreCorruptError: it is damaged, or another program's.
            StoreReadOnlyError, StoreFullError: it has to be made and cannot be.
        """
        self.path = path
        self.lock = threading.Lock()
        with storage_faults(path):
            self.connection = self._open()
            try:
                self._ensure(schema, version, migrations)
            except BaseException:
                self.connection.close()
                raise
        self._durable = False

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Everything a query answers."""
        with storage_faults(self.path), self.lock:
            return self.connection.execute(statement, values).fetchall()

    def row(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The first row a query answers, or none."""
        with storage_faults(self.path), self.lock:
            return self.connection.execute(statement, values).fetchone()

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """One transaction that holds the write lock from its beginning.

        Durable: it and all before it are on disk when the block is left, whoever wrote them,
        because the commit syncs the whole log file. An exception rolls everything back.
        """
        with storage_faults(self.path), self.lock:
            self.use(durable=durable)
            connection = self.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def use(self, *, durable: bool) -> None:
        """Sets the class of the next commits; call with the lock held, outside of any."""
        if durable is not self._durable:
            self.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def fault(self, error: sqlite3.Error) -> StoreError:
        """The error of Handrail that says what `error` means."""
        return store_error(error, self.path)

    def close(self) -> None:
        """Closes the file; closing again does nothing."""
        with storage_faults(self.path), self.lock:
            self.connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._open_for_writing()
        except (OSError, sqlite3.Error) as error:
            if not self._is_closed_to_us(error) or not self._has_content():
                raise
            try:
                return self._open_for_reading()
            except sqlite3.Error:
                raise error from None

    def _open_for_writing(self) -> sqlite3.Connection:
        # Made here, because SQLite would make it readable for all; its helpers inherit the mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = self._connect(str(self.path), uri=False)
        try:
            _while_busy(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchone())
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_for_reading(self) -> sqlite3.Connection:
        address = f"file:{quote(str(self.path))}?mode=ro"
        log = self.path.with_name(self.path.name + "-wal")
        if not log.exists() or log.stat().st_size == 0:
            # Without its helper files, which nobody may make here, SQLite reads such a
            # database only on the promise that it does not change.
            address += "&immutable=1"
        connection = self._connect(address, uri=True)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, address: str, *, uri: bool) -> sqlite3.Connection:
        return sqlite3.connect(
            address,
            uri=uri,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
        )

    def _is_closed_to_us(self, error: OSError | sqlite3.Error) -> bool:
        """Does `error` come from a folder or file that may only be read?"""
        if is_read_only(error):
            return True
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CANTOPEN:
            return False
        try:  # SQLite does not say why it could not make its helper files, so one is made
            tempfile.TemporaryFile(dir=self.path.parent).close()
        except OSError as reason:
            return is_read_only(reason)
        return False

    def _has_content(self) -> bool:
        try:
            return self.path.stat().st_size > 0
        except OSError:
            return False

    def _ensure(
        self, schema: Sequence[str], version: int, migrations: Mapping[int, Sequence[str]]
    ) -> None:
        found = self._version(version)
        if found == version or (found and self._is_read_only):
            return
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            found = self._version(version)  # another process may have been faster
            if found == 0:
                self._check_empty()
                self._make(schema)
            for number in range(found + 1, version + 1) if found else ():
                self._make(migrations[number])
            self.connection.execute(f"PRAGMA user_version = {version}")
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def _version(self, known: int) -> int:
        found = int(self.connection.execute("PRAGMA user_version").fetchone()[0])
        if found > known:
            raise StoreVersionError(str(self.path), found, known)
        return found

    @property
    def _is_read_only(self) -> bool:
        return bool(self.connection.execute("PRAGMA query_only").fetchone()[0])

    def _make(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self.connection.execute(statement)

    def _check_empty(self) -> None:
        if self.connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StoreCorruptError(
                f"{self.path} is a database of another program. Move it away, "
                f"or set HANDRAIL_HOME to a folder of Handrail's own."
            )


def _while_busy(act: Callable[[], object]) -> None:
    """Repeats `act` while the file is locked: SQLite does not wait when the log mode is set."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            act()
            return
        except sqlite3.OperationalError as error:
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(0.005)
