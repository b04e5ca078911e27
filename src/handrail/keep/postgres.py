"""The journal, its ledger and the heads in a Postgres database, for several machines.

The tables, the statements and what they mean are those of SQLite (`handrail.keep.sql`). What
differs is that writers work at the same time:

- Whoever writes of a run locks its row first, so a run's events have no gaps.
- Heads are moved by one transaction after another, so that `move_id` is the order of commit;
  all other transactions of different runs go side by side.
- Chunks get their place in the outbox only after they are committed, from whoever reads it.
  So none that commits late is passed over, and what is read there is on disk.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from handrail.contracts.event import Event, StoredEvent
from handrail.keep import rows
from handrail.keep.postgres_schema import MIGRATIONS, SCHEMA, VERSION
from handrail.keep.postgres_server import LOCKS, PATIENCE_SECONDS, Server, Session, old_receipts
from handrail.keep.sql import Connection, SqlJournal, milliseconds

_Answer = TypeVar("_Answer")

_KEYS, _WATERMARKS, _MOVES, _PLACES, _LIMITS = range(LOCKS + 1, LOCKS + 6)

# The update comes first: it waits for others that append to the run, and counts after them.
_COUNT = """
    WITH run AS (
        UPDATE runs SET event_count = event_count + ? WHERE run_id = ? AND epoch = ?
        RETURNING run_id, epoch, event_count)"""
_CHUNK = """
    INSERT INTO events (run_id, epoch, first, count, events)
    SELECT run_id, epoch, event_count - ?, ?, ? FROM run"""
_RECEIPT = ", receipt AS (INSERT INTO receipts SELECT CAST(? AS UUID) FROM run)"

_APPEND = _COUNT + _CHUNK
_APPEND_ALONE = _COUNT + _RECEIPT + _CHUNK

_GIVE_PLACES = """
    UPDATE events SET place = given.place FROM (
        SELECT chunk_id, row_number() OVER (ORDER BY chunk_id)
            + (SELECT coalesce(max(place), 0) FROM events WHERE place IS NOT NULL) AS place
        FROM events WHERE place IS NULL ORDER BY chunk_id LIMIT ?) AS given
    WHERE events.chunk_id = given.chunk_id"""


class PostgresJournal(SqlJournal):
    """Journal and heads of all processes, on any machine, that reach one Postgres database.

    The tables are made on first use, in a schema `handrail`. A connection that breaks is opened
    anew, and nothing is lost or done twice by that.

    Args:
        url: `postgresql://user:password@host:port/database`, as libpq reads it.
        now: the clock, in milliseconds since 1970, UTC.
        patience_seconds: how long a server that was there and does not answer is waited for.

    Raises:
        RuntimeConfigError: the URL cannot be read.
        StoreError: or one below it, when the database cannot be used; also from every method.
    """

    falls_alone = True

    def __init__(
        self,
        url: str,
        *,
        now: Callable[[], int] = milliseconds,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        super().__init__(now)
        self._server = Server(url, patience_seconds=patience_seconds)
        self._closing = weakref.finalize(self, self._server.close)
        self._server.prepare(SCHEMA, VERSION, MIGRATIONS)

    @property
    def place(self) -> str:
        return self._server.name

    @property
    def product(self) -> str:
        return f"PostgreSQL {self._server.version()}"

    def outbox(self, cursor: int, limit: int = 1000) -> tuple[list[StoredEvent], int]:
        self._give_places(limit)
        found = self.rows(
            f"SELECT {rows.CHUNK}, place FROM events WHERE place > ? ORDER BY place LIMIT ?",
            (cursor, limit),
        )
        return rows.stored_events(found), found[-1][-1] if found else cursor

    def close(self) -> None:
        self._closing()

    # Transactions

    def transact(self, act: Callable[[Connection], _Answer], *, durable: bool) -> _Answer:
        return self._server.transact(act, durable=durable)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._server.rows(statement, values)

    def _append(
        self, connection: Connection, run_id: str, epoch: int, events: Sequence[Event]
    ) -> None:
        if events:
            text = rows.encode_events(events)
            connection.execute(_APPEND, _append_values(run_id, epoch, len(events), text))

    def _append_alone(self, run_id: str, epoch: int, events: Sequence[Event]) -> bool:
        count, text = len(events), rows.encode_events(events)
        values = _append_values(run_id, epoch, count, text)

        def at_once(session: Session, receipt: UUID) -> bool:
            return session.execute(_APPEND_ALONE, (*values[:3], receipt, *values[3:])).rowcount > 0

        def append(session: Session) -> bool:
            self._lock_run(session, run_id)
            return session.execute(_APPEND, values).rowcount > 0

        return self._server.transact(append, durable=False, at_once=at_once, unheard=True)

    def _give_places(self, limit: int) -> None:
        waiting = "SELECT 1 FROM events WHERE place IS NULL LIMIT 1"

        def give(session: Session) -> None:
            session.execute("SELECT pg_advisory_xact_lock(?, 0)", (_PLACES,))
            session.execute(_GIVE_PLACES, (max(limit, 1000),))
            session.execute("DELETE FROM receipts WHERE receipt < ?", (old_receipts(),))

        if self.rows(waiting):
            # Durable: a place that a reader has seen must not be given to another chunk after
            # a crash, and the chunk itself must still be there.
            self._server.transact(give, durable=True)

    # Locks

    def _lock_key(self, connection: Connection, workflow: str, key: str) -> None:
        _lock(connection, _KEYS, f"{workflow}\n{key}")

    def _lock_run(self, connection: Connection, run_id: str) -> None:
        connection.execute("SELECT 1 FROM runs WHERE run_id = ? FOR UPDATE", (run_id,))

    def _lock_watermark(self, connection: Connection, pipeline: str) -> None:
        _lock(connection, _WATERMARKS, pipeline)

    def _lock_moves(self, connection: Connection) -> None:
        _lock(connection, _MOVES, "")

    def lock_limits(self, connection: Connection, tags: Iterable[str]) -> None:
        for tag in sorted(tags):
            _lock(connection, _LIMITS, tag)


def _append_values(run_id: str, epoch: int, count: int, text: str) -> tuple[Any, ...]:
    return count, run_id, epoch, count, count, text


def _lock(connection: Connection, kind: int, name: str) -> None:
    connection.execute("SELECT pg_advisory_xact_lock(?, hashtext(?))", (kind, name))
