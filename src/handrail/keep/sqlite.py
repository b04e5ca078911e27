"""The journal, its ledger and the heads in one SQLite file.

Events are kept as chunks, one row for each `append`, so that a group of any size costs one
statement. What must be durable is committed with `synchronous=FULL` on the same connection;
that syncs the log and with it every grouped commit before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from handrail.contracts.event import Event, StoredEvent
from handrail.keep import rows
from handrail.keep.database import Database
from handrail.keep.schema import MIGRATIONS, SCHEMA, VERSION
from handrail.keep.sql import Connection, SqlJournal, milliseconds

_Answer = TypeVar("_Answer")

# No row when the run is in another epoch. One statement, so it is a transaction by itself.
_APPEND = """
    INSERT INTO events (run_id, epoch, first, count, events)
    SELECT run_id, epoch, coalesce(
        (SELECT first + count FROM events WHERE events.run_id = runs.run_id
         ORDER BY first DESC LIMIT 1), 0), ?, ?
    FROM runs WHERE run_id = ? AND epoch = ?"""


class SqliteJournal(SqlJournal):
    """Journal and heads of one machine, shared by all its processes through one file.

    Writers follow one another, so a transaction needs no locks besides its own.

    Args:
        path: the database file, made if missing, readable for its user only.
        now: the clock, in milliseconds since 1970, UTC.

    Raises:
        StoreError: or one below it, when the file cannot be used; also from every method.
    """

    def __init__(self, path: Path, *, now: Callable[[], int] = milliseconds) -> None:
        super().__init__(now)
        self._database = Database(path, SCHEMA, VERSION, MIGRATIONS)

    @property
    def place(self) -> str:
        return str(self._database.path.parent)

    @property
    def product(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def outbox(self, cursor: int, limit: int = 1000) -> tuple[list[StoredEvent], int]:
        found = self.rows(
            f"SELECT {rows.CHUNK}, chunk_id FROM events WHERE chunk_id > ?"
            " ORDER BY chunk_id LIMIT ?",
            (cursor, limit),
        )
        return rows.stored_events(found), found[-1][-1] if found else cursor

    def close(self) -> None:
        self._database.close()

    def transact(self, act: Callable[[Connection], _Answer], *, durable: bool) -> _Answer:
        with self._database.transaction(durable=durable) as connection:
            return act(connection)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._database.rows(statement, values)

    def _append(
        self, connection: Connection, run_id: str, epoch: int, events: Sequence[Event]
    ) -> None:
        if events:
            values = (len(events), rows.encode_events(events), run_id, epoch)
            connection.execute(_APPEND, values)

    def _append_alone(self, run_id: str, epoch: int, events: Sequence[Event]) -> bool:
        database = self._database
        values = (len(events), rows.encode_events(events), run_id, epoch)
        try:
            with database.lock:
                database.use(durable=False)
                return database.connection.execute(_APPEND, values).rowcount > 0
        except sqlite3.Error as error:
            raise database.fault(error) from error
