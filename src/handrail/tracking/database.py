"""The SQLite file that tracking keeps: its tables, its opening, its transactions.

Any number of processes may use one file: write-ahead log, one immediate transaction per write,
waiting up to `busy_seconds` for the others. A commit survives the death of the process at once
and the loss of power after the next checkpoint (`synchronous = NORMAL`).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from handrail.errors import (
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreVersionError,
)

#: Marks the file as one of tracking (SQLite's `application_id`): "HdTr".
APPLICATION_ID = 0x48645472
#: Version of the tables (SQLite's `user_version`).
SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE pipelines (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    pipeline_type_name TEXT NOT NULL,
    pipeline_metadata TEXT,
    freshness_number INTEGER, freshness_datepart TEXT,
    timeliness_number INTEGER, timeliness_datepart TEXT,
    active INTEGER NOT NULL DEFAULT 1,
    load_lineage INTEGER NOT NULL DEFAULT 1,
    lineage_digest TEXT,
    watermark TEXT, next_watermark TEXT,
    last_target_insert INTEGER, last_target_update INTEGER, last_target_soft_delete INTEGER,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
);
CREATE TABLE executions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    client_id INTEGER,
    pipeline_id INTEGER NOT NULL REFERENCES pipelines (id),
    parent_id INTEGER, parent_key TEXT,
    continues_id INTEGER, continues_key TEXT,
    state TEXT NOT NULL, state_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL, started_at INTEGER, ended_at INTEGER,
    inserts INTEGER, updates INTEGER, soft_deletes INTEGER, total_rows INTEGER,
    watermark TEXT, next_watermark TEXT, base_watermark TEXT,
    compare_watermark INTEGER NOT NULL DEFAULT 0,
    watermark_promoted INTEGER NOT NULL DEFAULT 0,
    execution_metadata TEXT,
    error_type TEXT, error_message TEXT, error_traceback TEXT,
    lease_seconds REAL, lease_expires_at INTEGER,
    end_key TEXT, superseded_end TEXT
);
CREATE UNIQUE INDEX executions_by_client_id ON executions (client_id)
    WHERE client_id IS NOT NULL;
CREATE INDEX executions_by_pipeline ON executions (pipeline_id);
CREATE INDEX executions_by_state ON executions (state);
CREATE INDEX executions_by_parent ON executions (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX executions_by_parent_key ON executions (parent_key) WHERE parent_key IS NOT NULL;
CREATE INDEX executions_by_continues_key ON executions (continues_key)
    WHERE continues_key IS NOT NULL;
CREATE INDEX executions_by_lease ON executions (lease_expires_at)
    WHERE lease_expires_at IS NOT NULL;
CREATE TABLE addresses (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    address_type_name TEXT NOT NULL, address_type_group_name TEXT NOT NULL,
    database_name TEXT, schema_name TEXT, table_name TEXT, primary_key TEXT,
    address_metadata TEXT,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL
);
CREATE TABLE lineage (
    pipeline_id INTEGER NOT NULL REFERENCES pipelines (id),
    side TEXT NOT NULL,
    position INTEGER NOT NULL,
    address_id INTEGER NOT NULL REFERENCES addresses (id),
    PRIMARY KEY (pipeline_id, side, address_id)
) WITHOUT ROWID;
CREATE INDEX lineage_by_address ON lineage (address_id);
CREATE TABLE cursors (
    producer TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE answers (
    key TEXT PRIMARY KEY,
    call TEXT NOT NULL,
    reply TEXT NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX answers_by_time ON answers (at);
"""

_ERRORS = {
    sqlite3.SQLITE_CORRUPT: (StoreCorruptError, "is damaged. Move it away to start an empty one"),
    sqlite3.SQLITE_NOTADB: (
        StoreCorruptError,
        "is not a tracking database. Move it away to start an empty one",
    ),
    sqlite3.SQLITE_FULL: (StoreFullError, "cannot grow: no space left. Free some and try again"),
    sqlite3.SQLITE_READONLY: (StoreReadOnlyError, "may not be written. Check its permissions"),
    sqlite3.SQLITE_CANTOPEN: (StoreReadOnlyError, "cannot be opened. Check its permissions"),
    sqlite3.SQLITE_BUSY: (StoreError, "is kept busy by other processes. Try again"),
}


def _translated(path: Path, exc: sqlite3.Error) -> StoreError:
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    kind, text = _ERRORS.get(code, (StoreError, "could not be used"))
    return kind(f"Tracking database {path} {text}. ({exc})")


def _make_private_file(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its -wal and -shm files the permissions of the database itself.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as exc:
        raise StoreReadOnlyError(
            f"Tracking database {path} cannot be opened: {exc.strerror}. Check its permissions."
        ) from exc


class Database:
    """One SQLite file, used by all threads of a process through one connection."""

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self.path = path
        self._busy_seconds = busy_seconds
        self._left_behind: list[sqlite3.Connection] = []
        self._open()

    def _open(self) -> None:
        self._process_id = os.getpid()
        self._lock = threading.RLock()
        _make_private_file(self.path)
        try:
            self._connection = sqlite3.connect(
                self.path,
                timeout=self._busy_seconds,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as exc:
            raise _translated(self.path, exc) from exc
        self._connection.row_factory = sqlite3.Row
        try:
            self._prepare()
        except BaseException as exc:
            self._connection.close()
            if isinstance(exc, sqlite3.Error):
                raise _translated(self.path, exc) from exc
            raise

    def _prepare(self) -> None:
        self._use_write_ahead_log()
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        if self._found_version() == SCHEMA_VERSION:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        if self._found_version() != SCHEMA_VERSION:
            for statement in _SCHEMA.split(";"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def _use_write_ahead_log(self) -> None:
        # SQLite does not wait for others while it changes the journal mode.
        deadline = time.monotonic() + self._busy_seconds
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _found_version(self) -> int:
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        owner: int = self._connection.execute("PRAGMA application_id").fetchone()[0]
        empty = self._connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
        if owner != APPLICATION_ID and not empty:
            raise StoreCorruptError(
                f"{self.path} is not a tracking database. Move it away to start an empty one."
            )
        if version > SCHEMA_VERSION:
            raise StoreVersionError(str(self.path), version, SCHEMA_VERSION)
        return version

    def _reopen_after_fork(self) -> None:
        # A connection must not be used, nor closed, in a forked child: closing it would drop the
        # parent's locks. See https://www.sqlite.org/howtocorrupt.html, section 2.6.
        self._left_behind.append(self._connection)
        self._open()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        if self._process_id != os.getpid():
            self._reopen_after_fork()
        with self._lock:
            connection = self._connection
            try:
                connection.execute(begin)
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as exc:
                raise _translated(self.path, exc) from exc

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction that excludes other writers from its first statement on."""
        return self._transaction("BEGIN IMMEDIATE")

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction that sees one state of the database."""
        return self._transaction("BEGIN")

    def close(self) -> None:
        """Closes the file; using it again is an error."""
        with self._lock:
            self._connection.close()
