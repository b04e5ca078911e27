"""One Postgres database: reached through a few connections, written in two classes of commit.

**Grouped** commits are answered before they are on disk (`synchronous_commit = off`).
**Durable** ones are on disk, and with them every commit that was answered before.

**A lost connection.** When it breaks before the answer to a commit has come, nobody here knows
whether the transaction was kept. So each transaction begins by writing a *receipt*, a number
of its own, into a table with a unique key. The transaction is tried again on another
connection and with the same receipt. If the receipt is there, the first try was kept, and its
answer stands. If the first try is not over yet, the server lets the second one wait at that
key until it is. If there is no receipt, nothing was kept. No transaction is done twice, and
none is taken for somebody else's.

**A server that fell.** After a crash the last grouped commits may be gone though they were
answered. They are remembered here until a later durable commit has brought them to disk. A
connection that is opened anew looks for their receipts, and does again those that are missing,
in order, before anything else.

Sources: https://www.postgresql.org/docs/current/wal-async-commit.html,
https://www.postgresql.org/docs/current/runtime-config-client.html.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from handrail.errors import (
    RunNotFound,
    RuntimeConfigError,
    StaleAttemptError,
    StoreCorruptError,
    StoreError,
    StoreVersionError,
)
from handrail.keep.postgres_faults import gave_way, is_lost, server_faults
from handrail.keep.sql import milliseconds

log = logging.getLogger("handrail.keep")

_Answer = TypeVar("_Answer")

#: Where the tables lie.
SCHEMA_NAME = "handrail"
#: Connections that one process opens at most.
CONNECTION_COUNT = 8
#: Longer than a restart takes.
PATIENCE_SECONDS = 15.0
#: Grouped commits that are remembered until a durable one, at most so many ...
UNFLUSHED_COUNT = 128
#: ... and so long: a server that runs brings them to disk within seconds.
UNFLUSHED_SECONDS = 600
#: How long receipts are kept.
RECEIPT_SECONDS = 86_400

#: Advisory locks of Handrail are of this class ("hand" in ASCII) and the few after it.
LOCKS = 0x68616E64

#: A network that died without a word is noticed by these; any of them may stand in the URL.
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "application_name": "handrail",
}

# A process that was stopped inside a transaction loses it, so that others can go on.
_SESSION = f"""
    SHOW synchronous_commit;
    SET synchronous_commit = off;
    SET search_path = {SCHEMA_NAME}, pg_temp;
    SET default_transaction_isolation = 'read committed';
    SET lock_timeout = '30s';
    SET idle_in_transaction_session_timeout = '10s';
    SET client_encoding = 'UTF8'"""


class Session:
    """One connection."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection
        level = connection.execute(_SESSION).fetchone()
        # Whoever asked for more than the local disk, such as a standby, is not given less.
        self._durable = "on" if level is None or level[0] == "off" else level[0]

    def execute(
        self, statement: str, values: Sequence[Any] = ()
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Runs one statement; places of values are marked `?`."""
        return self._connection.execute(_marked(statement), values)

    def begin(self, receipt: UUID, *, durable: bool) -> bool:
        """Begins a transaction. False, and there is none: the one with that receipt was kept."""
        level = f"SET LOCAL synchronous_commit = {self._durable};" if durable else ""
        answer = self._connection.execute(
            f"BEGIN; {level} INSERT INTO receipts VALUES ('{receipt}') ON CONFLICT DO NOTHING"
        )
        while answer.nextset():
            pass
        if answer.rowcount:
            return True
        self.rollback()
        return False

    def commit(self) -> None:
        """Ends the transaction; everything is kept."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Ends the transaction, if there is one; nothing is kept."""
        if self._connection.info.transaction_status is not TransactionStatus.IDLE:
            self._connection.execute("ROLLBACK")

    @property
    def is_usable(self) -> bool:
        """Is it open, and in no transaction?"""
        status = self._connection.info.transaction_status
        return not self._connection.closed and status is TransactionStatus.IDLE

    @property
    def encoding(self) -> str:
        """In which the database keeps text."""
        return self._connection.info.parameter_status("server_encoding") or "unknown"

    @property
    def version(self) -> str:
        """The server's."""
        return self._connection.info.parameter_status("server_version") or "unknown"

    def close(self) -> None:
        """Closes it; closing again does nothing."""
        self._connection.close()


class _Write(NamedTuple):
    """A grouped commit that may not be on disk yet."""

    number: int
    receipt: UUID
    act: Callable[[Session], object]


class Server:
    """A database of a server; safe for threads, not to be used across a fork.

    Args:
        url: as libpq reads it: `postgresql://user:password@host:port/database`.
        patience_seconds: how long a server that was there and does not answer is waited for.

    Raises:
        RuntimeConfigError: the URL cannot be read.
    """

    def __init__(self, url: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        try:
            given = conninfo_to_dict(url)
            self._address = make_conninfo("", **{**_DEFAULTS, **given})
        except psycopg.Error:  # its text may quote the password
            raise RuntimeConfigError(
                "The address of the Postgres database cannot be read. "
                "Expected postgresql://user:password@host:port/database, with "
                "special characters in the password percent-encoded."
            ) from None
        #: Without the password.
        self.name = _name(given)
        self._patience_seconds = patience_seconds
        self._idle: list[Session] = []
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(CONNECTION_COUNT)
        self._is_closed = False
        self._was_reached = False
        self._write_count = 0
        self._unflushed: deque[_Write] = deque()

    def prepare(
        self, schema: Sequence[str], version: int, migrations: Mapping[int, Sequence[str]]
    ) -> None:
        """Makes the tables if they are missing; one of several processes does.

        Raises:
            StoreVersionError: a newer Handrail made them.
            StoreCorruptError: a schema of that name belongs to another program.
            StoreError: the server cannot be reached, or refuses.
        """
        with server_faults(self.name), self._session() as session:
            if session.encoding != "UTF8":
                raise StoreError(
                    f"{self.name} keeps text as {session.encoding}. Make a database for "
                    f"Handrail with: createdb --encoding=UTF8 --template=template0 NAME"
                )
            if self._version(session, version) < version:
                self._make_tables(session, schema, version, migrations)
        self._was_reached = True

    def version(self) -> str:
        """The server's version."""
        return self._use(lambda session: session.version)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Everything a query answers."""
        return self._use(lambda session: session.execute(statement, values).fetchall())

    def transact(
        self,
        act: Callable[[Session], _Answer],
        *,
        durable: bool,
        at_once: Callable[[Session, UUID], _Answer] | None = None,
        unheard: _Answer | None = None,
    ) -> _Answer:
        """Returns what `act` returns, within one transaction that is kept once.

        Args:
            act: called again when it is certain that nothing of the call before was kept.
                Where it returns False it has written nothing.
            at_once: tried first: does the same in one statement that writes the receipt too.
            unheard: the answer of `at_once` when it was kept and its reply was lost.
        """
        receipt, before = _new_receipt(), self._write_count
        answers: list[_Answer] = []
        first = [at_once] if at_once is not None else []

        def attempt(session: Session) -> None:
            if first:
                answers.append(first.pop()(session, receipt))
            elif session.begin(receipt, durable=durable):
                answers.append(act(session))
                session.commit()

        self._use(attempt)
        answer = answers[-1] if answers else unheard
        if durable:
            self._forget(before)
        elif answer is not False:
            self._remember(receipt, act)
        return cast(_Answer, answer)

    def close(self) -> None:
        """Closes every connection; closing again does nothing."""
        self._is_closed = True
        self._unflushed.clear()
        self._drop_idle()

    # Connections

    def _use(self, use: Callable[[Session], _Answer]) -> _Answer:
        """Calls `use` with a connection, and again with another each time one is lost."""
        pause, until = 0.0, 0.0
        with server_faults(self.name):
            while True:
                try:
                    with self._session() as session:
                        return use(session)
                except psycopg.Error as error:
                    until = until or time.monotonic() + self._patience_seconds
                    if not self._may_go_on(error) or time.monotonic() + pause > until:
                        raise
                time.sleep(pause)
                pause = min(pause * 2 or 0.01, 0.5)

    def _may_go_on(self, error: psycopg.Error) -> bool:
        if is_lost(error):
            self._drop_idle()  # what broke one connection mostly broke all
            return self._was_reached
        return gave_way(error)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with self._places:
            session = self._take()
            try:
                yield session
            except BaseException:
                self._recover(session)
                raise
            self._give_back(session)

    def _take(self) -> Session:
        with self._lock:
            if self._is_closed:
                raise StoreError(f"{self.name}: the journal is closed.")
            if self._idle:
                return self._idle.pop()
        return self._open()

    def _open(self) -> Session:
        connection = psycopg.connect(self._address, autocommit=True)
        try:
            session = Session(connection)
            self._repeat_lost(session)
        except BaseException:
            connection.close()
            raise
        return session

    def _recover(self, session: Session) -> None:
        try:
            session.rollback()
        except psycopg.Error:
            log.debug("%s: a connection is given up", self.name, exc_info=True)
            session.close()
        self._give_back(session)

    def _give_back(self, session: Session) -> None:
        with self._lock:
            if session.is_usable and not self._is_closed:
                self._idle.append(session)
                return
        session.close()

    def _drop_idle(self) -> None:
        with self._lock:
            dropped, self._idle = self._idle, []
        for session in dropped:
            session.close()

    # Grouped commits that may not be on disk

    def _remember(self, receipt: UUID, act: Callable[[Session], object]) -> None:
        with self._lock:
            self._unflushed.append(_Write(self._write_count, receipt, act))
            self._write_count += 1
            is_much = len(self._unflushed) > UNFLUSHED_COUNT
        if is_much:
            self.transact(_nothing, durable=True)

    def _forget(self, before: int) -> None:
        with self._lock:
            while self._unflushed and self._unflushed[0].number < before:
                self._unflushed.popleft()

    def _repeat_lost(self, session: Session) -> None:
        oldest = _receipt_of(milliseconds() - UNFLUSHED_SECONDS * 1000)
        with self._lock:
            writes = [write for write in self._unflushed if write.receipt > oldest]
        if not writes:
            return
        asked = [write.receipt for write in writes]
        found = session.execute("SELECT receipt FROM receipts WHERE receipt = ANY(?)", (asked,))
        kept = {receipt for (receipt,) in found.fetchall()}
        lost = [write for write in writes if write.receipt not in kept]
        if lost:
            log.warning("%s lost %d commits when it fell; repeating them", self.name, len(lost))
        for write in lost:
            try:
                if session.begin(write.receipt, durable=False):
                    write.act(session)
                    session.commit()
            except (StaleAttemptError, RunNotFound) as error:
                # Somebody took the run over meanwhile, and has done that work himself.
                session.rollback()
                log.warning("%s: not repeated: %s", self.name, error)

    # Tables

    def _version(self, session: Session, known: int) -> int:
        """Version of the tables; 0 if there are none."""
        # A query, because the cache behind to_regclass does not see what was made meanwhile.
        tables = "SELECT 1 FROM pg_tables WHERE schemaname = ? AND tablename = 'format'"
        if session.execute(tables, (SCHEMA_NAME,)).fetchone() is None:
            return 0
        row = session.execute("SELECT version FROM format").fetchone()
        found = row[0] if row else 0
        if found > known:
            raise StoreVersionError(self.name, found, known)
        return int(found)

    def _make_tables(
        self,
        session: Session,
        schema: Sequence[str],
        version: int,
        migrations: Mapping[int, Sequence[str]],
    ) -> None:
        session.execute("BEGIN")
        session.execute("SET LOCAL synchronous_commit = on")
        session.execute("SELECT pg_advisory_xact_lock(?, 0)", (LOCKS,))
        found = self._version(session, version)  # another process may have been faster
        if found == 0:
            self._make_schema(session)
            for statement in schema:
                session.execute(statement)
        for number in range(found + 1, version + 1) if found else ():
            for statement in migrations[number]:
                session.execute(statement)
        session.commit()

    def _make_schema(self, session: Session) -> None:
        # Looked for first: asking for it needs a right on the database even where it is there.
        there = session.execute(
            "SELECT oid FROM pg_namespace WHERE nspname = ?", (SCHEMA_NAME,)
        ).fetchone()
        if there is None:
            session.execute(f"CREATE SCHEMA {SCHEMA_NAME}")
        elif session.execute("SELECT 1 FROM pg_class WHERE relnamespace = ?", there).fetchone():
            raise StoreCorruptError(
                f"{self.name} has a schema '{SCHEMA_NAME}' of another program. "
                f"Name another database in HANDRAIL_DATABASE_URL."
            )


def old_receipts() -> UUID:
    """Receipts that are smaller are of no use any more."""
    return _receipt_of(milliseconds() - RECEIPT_SECONDS * 1000)


def _new_receipt() -> UUID:
    return _receipt_of(milliseconds(), int.from_bytes(os.urandom(10), "big"))


def _receipt_of(at: int, chance: int = 0) -> UUID:
    return UUID(int=(at << 80) | chance)


def _nothing(session: Session) -> None:
    """A transaction of its receipt alone: brings what was answered before to disk."""


@lru_cache(maxsize=256)
def _marked(statement: str) -> str:
    return statement.replace("?", "%s")


def _name(given: Mapping[str, Any]) -> str:
    user, database = given.get("user"), given.get("dbname") or given.get("user") or ""
    host, port = given.get("host") or given.get("hostaddr") or "", given.get("port")
    front = f"{user}@" if user else ""
    return f"postgresql://{front}{host}{f':{port}' if port else ''}/{database}"
