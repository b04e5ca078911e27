"""A journal with its heads in the tables of a database, whichever that is.

The statements here are understood by every database that Handrail uses; what they do not
share is left to the subclass: transactions, locks, and the append.

Locks are taken in this order, so nobody waits in a circle:

    start key, or run  ->  watermark  ->  moves of heads
    limits, by tag     (alone: who holds them takes no other)
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from handrail.contracts.event import Event, StoredEvent
from handrail.contracts.workspace import BranchName
from handrail.errors import RunNotFound
from handrail.ids import Token
from handrail.keep import rows
from handrail.keep.base import (
    Acceptance,
    Accepted,
    Adopted,
    Claim,
    Claimed,
    Conflict,
    Heads,
    Journal,
    Lease,
    RunRecord,
    Settlement,
    Watermark,
)

_Answer = TypeVar("_Answer")

_CLAIM = (
    "SELECT input_ref, output_ref, logical_key, result, attempt_id FROM claims"
    " WHERE repository = ? AND branch = ? AND input_ref = ?"
)
_LAST_MOVE = "SELECT coalesce(max(move_id), 0) FROM head_moves"


class Answer(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """Rows that were written."""
        ...

    def fetchone(self) -> Any:
        """The next row, or none."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows."""
        ...


class Connection(Protocol):
    """What statements are given to; places of values are marked `?`."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Answer:
        """Runs one statement."""
        ...


class _Work(NamedTuple):
    """A piece of work as the tables know it."""

    epoch: int
    #: The current token, and the last move of any head when it was taken.
    token: Token | None
    moves_seen: int
    #: The last move there is.
    last_move: int
    adopted: Adopted | None


def milliseconds() -> int:
    """Now, in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class SqlJournal(Journal, Heads):
    """Journal and heads of a database."""

    #: May the database fall and lose what it was slow to write, while its users live on?
    falls_alone = False

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now

    # What the database has to offer

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, as messages name it; without secrets."""

    @property
    @abstractmethod
    def product(self) -> str:
        """Name and version of the database."""

    @abstractmethod
    def transact(self, act: Callable[[Connection], _Answer], *, durable: bool) -> _Answer:
        """Returns what `act` returns, within one transaction.

        `act` may be called again where it is certain that nothing of the call before was
        kept. An exception of it rolls everything back.
        """

    @abstractmethod
    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Everything a query answers."""

    @abstractmethod
    def _append(
        self, connection: Connection, run_id: str, epoch: int, events: Sequence[Event]
    ) -> None:
        """Adds events within a transaction that knows the epoch to be right."""

    @abstractmethod
    def _append_alone(self, run_id: str, epoch: int, events: Sequence[Event]) -> bool:
        """Adds events as a transaction of their own. False: the run is in another epoch."""

    # What has to be locked where writers do not simply follow one another. Each lock is held
    # to the end of the transaction.

    def _lock_key(self, connection: Connection, workflow: str, key: str) -> None:
        """Keeps others from creating a run with that start key."""

    def _lock_run(self, connection: Connection, run_id: str) -> None:
        """Keeps others from writing anything of that run."""

    def _lock_watermark(self, connection: Connection, pipeline: str) -> None:
        """Keeps others from moving that watermark."""

    def _lock_moves(self, connection: Connection) -> None:
        """Keeps others from moving any head, so that `move_id` is the order of commit."""

    def lock_limits(self, connection: Connection, tags: Iterable[str]) -> None:
        """Keeps others from taking places or starts under these limits.

        For `handrail.keep.limits`, whose transactions take no other lock.
        """

    # Runs

    def create_run(
        self, record: RunRecord, lease: Lease, events: Sequence[Event]
    ) -> RunRecord | None:
        def create(connection: Connection) -> RunRecord | None:
            if record.key is not None:
                self._lock_key(connection, record.workflow, record.key)
                found = connection.execute(
                    f"SELECT {rows.RUN} FROM runs WHERE workflow = ? AND key = ?",
                    (record.workflow, record.key),
                ).fetchone()
                if found:
                    return RunRecord(*found)
            connection.execute(
                f"INSERT INTO runs ({rows.RUN}, lease_owner, lease_expires_at, moves_seen)"
                f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ({_LAST_MOVE}))",
                (*rows.run_values(record), lease.owner, lease.expires_at),
            )
            self._append(connection, record.run_id, record.epoch, events)
            return None

        return self.transact(create, durable=True)

    def run(self, run_id: str) -> RunRecord:
        found = self.rows(
            f"SELECT {rows.RUN} FROM runs WHERE run_id >= ? AND run_id < ? ORDER BY run_id LIMIT 2",
            (run_id, run_id + "\U0010ffff"),
        )
        if not run_id or not found or (len(found) > 1 and found[0][0] != run_id):
            raise self._not_found(run_id)
        return RunRecord(*found[0])

    def run_with_key(self, workflow: str, key: str) -> RunRecord | None:
        found = self.rows(
            f"SELECT {rows.RUN} FROM runs WHERE workflow = ? AND key = ?", (workflow, key)
        )
        return RunRecord(*found[0]) if found else None

    def runs(
        self, *, workflow: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[RunRecord]:
        found = self.rows(
            f"SELECT {rows.RUN} FROM runs WHERE (CAST(? AS TEXT) IS NULL OR workflow = ?)"
            " AND (CAST(? AS TEXT) IS NULL OR state = ?)"
            " ORDER BY started_at DESC, run_id DESC LIMIT ?",
            (workflow, workflow, state, state, limit),
        )
        return [RunRecord(*row) for row in found]

    def lease(self, run_id: str) -> Lease | None:
        found = self.rows(f"SELECT {rows.LEASE} FROM runs WHERE run_id = ?", (run_id,))
        if not found:
            raise self._not_found(run_id)
        return rows.lease_of(run_id, found[0])

    def take_over(
        self, run_id: str, before: Lease | None, after: Lease, events: Sequence[Event]
    ) -> bool:
        def take(connection: Connection) -> bool:
            self._lock_run(connection, run_id)
            row = connection.execute(
                f"SELECT {rows.LEASE}, state FROM runs WHERE run_id = ?", (run_id,)
            ).fetchone()
            if row is None:
                raise self._not_found(run_id)
            *held, state = row
            if rows.lease_of(run_id, held) != before:
                return False
            if state == "succeeded" or held[0] != after.epoch - 1:
                return False
            connection.execute(
                "UPDATE runs SET epoch = ?, lease_owner = ?, lease_expires_at = ?,"
                " state = 'running', finished_at = NULL, reason = NULL, cancel_reason = NULL"
                " WHERE run_id = ?",
                (after.epoch, after.owner, after.expires_at, run_id),
            )
            self._append(connection, run_id, after.epoch, events)
            return True

        return self.transact(take, durable=True)

    def renew(self, lease: Lease, expires_at: int) -> bool:
        def renew(connection: Connection) -> bool:
            renewed = connection.execute(
                "UPDATE runs SET lease_expires_at = ?"
                " WHERE run_id = ? AND epoch = ? AND lease_owner = ?",
                (expires_at, lease.run_id, lease.epoch, lease.owner),
            )
            return renewed.rowcount > 0

        return self.transact(renew, durable=False)

    def ask_to_cancel(self, run_id: str, epoch: int, reason: str, events: Sequence[Event]) -> bool:
        def ask(connection: Connection) -> bool:
            self._lock_run(connection, run_id)
            row = connection.execute(
                "SELECT epoch, lease_owner, cancel_reason FROM runs WHERE run_id = ?", (run_id,)
            ).fetchone()
            if row is None:
                raise self._not_found(run_id)
            found, owner, asked = row
            if found != epoch or owner is None:
                return False
            if asked is None:
                connection.execute(
                    "UPDATE runs SET cancel_reason = ? WHERE run_id = ?",
                    (rows.storable(reason), run_id),
                )
                self._append(connection, run_id, epoch, events)
            return True

        return self.transact(ask, durable=True)

    def cancel_reason(self, run_id: str) -> str | None:
        found = self.rows("SELECT cancel_reason FROM runs WHERE run_id = ?", (run_id,))
        return found[0][0] if found else None

    # Events

    def append(
        self, run_id: str, epoch: int, events: Sequence[Event], *, durable: bool = False
    ) -> None:
        append = self._append_durably if durable else self._append_alone
        if events and not append(run_id, epoch, events):
            found = self.rows("SELECT epoch FROM runs WHERE run_id = ?", (run_id,))
            if not found:
                raise self._not_found(run_id)
            raise rows.stale_append(events[0].task or run_id, run_id, epoch, found[0][0])

    def _append_durably(self, run_id: str, epoch: int, events: Sequence[Event]) -> bool:
        def append(connection: Connection) -> bool:
            self._lock_run(connection, run_id)
            held = "SELECT 1 FROM runs WHERE run_id = ? AND epoch = ?"
            if connection.execute(held, (run_id, epoch)).fetchone() is None:
                return False
            self._append(connection, run_id, epoch, events)
            return True

        return self.transact(append, durable=True)

    def events(self, run_id: str) -> list[StoredEvent]:
        found = self.rows(
            f"SELECT {rows.CHUNK} FROM events WHERE run_id = ? ORDER BY first", (run_id,)
        )
        return rows.stored_events(found)

    def opening(self, run_id: str) -> StoredEvent:
        found = self.rows(
            f"SELECT {rows.CHUNK} FROM events WHERE run_id = ? ORDER BY first LIMIT 1", (run_id,)
        )
        if not found:
            raise self._not_found(run_id)
        return rows.stored_events(found)[0]

    # Attempts

    def begin_attempt(self, run_id: str, logical_key: str, token: Token) -> Adopted | None:
        seen: list[int] = []

        def begin(connection: Connection) -> Adopted | None:
            self._lock_run(connection, run_id)
            work = _work(connection, run_id, logical_key)
            if work is None:
                raise self._not_found(run_id)
            if work.adopted:
                return work.adopted
            if token.epoch != work.epoch or (work.token is not None and work.token > token):
                raise rows.stale_attempt(logical_key, token, run_id, work.token, work.epoch)
            if not seen:  # when repeated, what was seen first counts
                seen.append(work.last_move)
            connection.execute(
                "INSERT INTO attempts VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (run_id, logical_key) DO UPDATE SET epoch = excluded.epoch,"
                " sequence = excluded.sequence, moves_seen = excluded.moves_seen",
                (run_id, logical_key, *token, seen[0]),
            )
            return None

        return self.transact(begin, durable=False)

    def accept(self, acceptance: Acceptance) -> Accepted | Adopted | Conflict:
        asked, run_id = acceptance.token, acceptance.run_id

        def accept(connection: Connection) -> Accepted | Adopted | Conflict:
            self._lock_run(connection, run_id)
            work = _work(connection, run_id, acceptance.logical_key)
            if work is None:
                return rows.stale_token(asked, None, None)
            if work.adopted:
                return work.adopted
            if work.epoch != asked.epoch or work.token != asked:
                return rows.stale_token(asked, work.token, work.epoch)
            conflict = self._publish(connection, acceptance, acceptance.attempt_id, work.moves_seen)
            if conflict:
                return conflict
            connection.execute(
                f"INSERT INTO ledger ({rows.LEDGER}, accepted_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*rows.ledger_values(acceptance), self._now()),
            )
            self._append(connection, run_id, asked.epoch, acceptance.events)
            return Accepted(acceptance.output_ref)

        return self.transact(accept, durable=True)

    def settle(self, settlement: Settlement) -> Accepted | Conflict:
        run_id = settlement.run_id

        def settle(connection: Connection) -> Accepted | Conflict:
            self._lock_run(connection, run_id)
            row = connection.execute(
                "SELECT epoch, lease_owner, state, moves_seen FROM runs WHERE run_id = ?",
                (run_id,),
            ).fetchone()
            if row is None:
                raise self._not_found(run_id)
            epoch, owner, state, moves_seen = row
            if epoch != settlement.epoch or owner is None:
                return rows.lost_lease(settlement.epoch, epoch, state)
            conflict = self._watermark_conflict(connection, settlement.watermark)
            # Last of the checks and the first to write: a conflict leaves nothing behind.
            conflict = conflict or self._publish(connection, settlement, run_id, moves_seen)
            if conflict:
                return conflict
            self._move_watermark(connection, settlement)
            self._append(connection, run_id, epoch, settlement.events)
            connection.execute(
                "UPDATE runs SET state = ?, reason = ?, finished_at = ?, lease_owner = NULL,"
                " lease_expires_at = NULL WHERE run_id = ?",
                (settlement.state, rows.storable(settlement.reason), self._now(), run_id),
            )
            return Accepted(settlement.output_ref)

        return self.transact(settle, durable=True)

    def accepted(self, run_id: str) -> list[Acceptance]:
        found = self.rows(
            f"SELECT {rows.LEDGER} FROM ledger WHERE run_id = ? ORDER BY ledger_id", (run_id,)
        )
        return [rows.acceptance_of(row) for row in found]

    def watermark(self, pipeline: str) -> str | None:
        found = self.rows("SELECT value FROM watermarks WHERE pipeline = ?", (pipeline,))
        return found[0][0] if found else None

    # Heads

    def head(self, branch: BranchName) -> str | None:
        found = self.rows(
            "SELECT commit_id FROM heads WHERE repository = ? AND branch = ?", tuple(branch)
        )
        return found[0][0] if found else None

    def move_head(self, branch: BranchName, before: str | None, after: str | None) -> bool:
        def move(connection: Connection) -> bool:
            self._lock_moves(connection)
            return self._move(connection, branch, before, after, moved_by="")

        return self.transact(move, durable=True)

    def heads(self, repository: str | None = None) -> dict[BranchName, str]:
        found = self.rows(
            "SELECT repository, branch, commit_id FROM heads"
            " WHERE CAST(? AS TEXT) IS NULL OR repository = ? ORDER BY repository, branch",
            (repository, repository),
        )
        return {BranchName(*row[:2]): row[2] for row in found}

    def moved_to(self, branch: BranchName) -> str | None:
        found = self.rows(
            "SELECT after FROM head_moves WHERE repository = ? AND branch = ?"
            " ORDER BY move_id DESC LIMIT 1",
            tuple(branch),
        )
        return found[0][0] if found else None

    def claim(self, claim: Claim) -> Claimed | Adopted | Conflict:
        branch, before, after = claim.branch, claim.input_ref, claim.output_ref

        def publish(connection: Connection) -> Claimed | Adopted | Conflict:
            self._lock_moves(connection)
            row = connection.execute(_CLAIM, (*branch, before)).fetchone()
            if row:
                return rows.answer_to(claim, rows.claim_of(branch, row))
            if not self._move(connection, branch, before, after, moved_by=claim.attempt_id):
                return rows.moved_branch(branch, before, _head(connection, branch))
            connection.execute(
                "INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?, ?)", rows.claim_values(claim)
            )
            return Claimed(after)

        return self.transact(publish, durable=True)

    def claimed(self, branch: BranchName, input_ref: str) -> Claim | None:
        found = self.rows(_CLAIM, (*branch, input_ref))
        return rows.claim_of(branch, found[0]) if found else None

    def drop_branch(self, branch: BranchName) -> None:
        def drop(connection: Connection) -> None:
            self._lock_moves(connection)
            head = _head(connection, branch)
            if head is not None:
                self._move(connection, branch, head, None, moved_by="")
            connection.execute(
                "DELETE FROM claims WHERE repository = ? AND branch = ?", tuple(branch)
            )

        self.transact(drop, durable=True)

    # Parts of transactions

    def _publish(
        self,
        connection: Connection,
        asked: Acceptance | Settlement,
        moved_by: str,
        moves_seen: int,
    ) -> Conflict | None:
        """Moves the branch, or says why not and writes nothing.

        A branch that left the input ref after the last move seen and came back is a conflict
        too: the ref is the same, the state it was read from is not.
        """
        branch, before, after = asked.branch, asked.input_ref, asked.output_ref
        if branch is None or after is None or before == after:
            return None
        self._lock_moves(connection)
        left = connection.execute(
            "SELECT 1 FROM head_moves WHERE repository = ? AND branch = ? AND move_id > ?"
            " AND (before = ? OR (before IS NULL AND CAST(? AS TEXT) IS NULL)) LIMIT 1",
            (*branch, moves_seen, before, before),
        ).fetchone()
        if not left and self._move(connection, branch, before, after, moved_by=moved_by):
            return None
        return rows.moved_branch(branch, before, _head(connection, branch))

    def _move(
        self,
        connection: Connection,
        branch: BranchName,
        before: str | None,
        after: str | None,
        *,
        moved_by: str,
    ) -> bool:
        if before == after:
            return _head(connection, branch) == before
        if before is None:
            moved = connection.execute(
                "INSERT INTO heads VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (*branch, after)
            )
        elif after is None:
            moved = connection.execute(
                "DELETE FROM heads WHERE repository = ? AND branch = ? AND commit_id = ?",
                (*branch, before),
            )
        else:
            moved = connection.execute(
                "UPDATE heads SET commit_id = ?"
                " WHERE repository = ? AND branch = ? AND commit_id = ?",
                (after, *branch, before),
            )
        if moved.rowcount == 0:
            return False
        connection.execute(
            "INSERT INTO head_moves (repository, branch, before, after, moved_at, moved_by)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (*branch, before, after, self._now(), moved_by),
        )
        return True

    def _watermark_conflict(
        self, connection: Connection, watermark: Watermark | None
    ) -> Conflict | None:
        if watermark is None:
            return None
        self._lock_watermark(connection, watermark.pipeline)
        row = connection.execute(
            "SELECT value FROM watermarks WHERE pipeline = ?", (watermark.pipeline,)
        ).fetchone()
        return rows.moved_watermark(watermark, row[0] if row else None)

    def _move_watermark(self, connection: Connection, settlement: Settlement) -> None:
        watermark = settlement.watermark
        if watermark is None or watermark.before == watermark.after:
            return
        pipeline, before, after = watermark.pipeline, watermark.before, watermark.after
        if after is None:
            connection.execute("DELETE FROM watermarks WHERE pipeline = ?", (pipeline,))
        else:
            connection.execute(
                "INSERT INTO watermarks VALUES (?, ?)"
                " ON CONFLICT (pipeline) DO UPDATE SET value = excluded.value",
                (pipeline, after),
            )
        connection.execute(
            "INSERT INTO watermark_moves (pipeline, before, after, moved_at, run_id)"
            " VALUES (?, ?, ?, ?, ?)",
            (pipeline, before, after, self._now(), settlement.run_id),
        )

    def _not_found(self, run_id: str) -> RunNotFound:
        return RunNotFound(run_id, self.place)


def _work(connection: Connection, run_id: str, logical_key: str) -> _Work | None:
    """What is on record of a piece of work; none if there is no such run."""
    row = connection.execute(
        "SELECT runs.epoch, attempts.epoch, attempts.sequence, attempts.moves_seen,"
        f" ({_LAST_MOVE}),"
        " ledger.attempt_id, ledger.output_ref, ledger.result FROM runs"
        " LEFT JOIN attempts ON attempts.run_id = runs.run_id AND attempts.logical_key = ?"
        " LEFT JOIN ledger ON ledger.run_id = runs.run_id AND ledger.logical_key = ?"
        " WHERE runs.run_id = ?",
        (logical_key, logical_key, run_id),
    ).fetchone()
    if row is None:
        return None
    epoch, token_epoch, sequence, moves_seen, last_move, attempt_id, ref, result = row
    token = Token(token_epoch, sequence) if token_epoch is not None else None
    adopted = Adopted(attempt_id, ref, result) if attempt_id is not None else None
    return _Work(epoch, token, moves_seen or 0, last_move, adopted)


def _head(connection: Connection, branch: BranchName) -> str | None:
    row = connection.execute(
        "SELECT commit_id FROM heads WHERE repository = ? AND branch = ?", tuple(branch)
    ).fetchone()
    return row[0] if row else None
