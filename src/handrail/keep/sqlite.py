"""The journal, its ledger and the heads in one SQLite file.

Events are kept as chunks, one row for each `append`, so that a group of any size costs one
statement. What must be durable is committed with `synchronous=FULL` on the same connection;
that syncs the log and with it every grouped commit before.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from handrail.contracts.event import Event, StoredEvent
from handrail.contracts.workspace import BranchName
from handrail.errors import RunNotFound, StaleAttemptError
from handrail.ids import Token
from handrail.keep.base import (
    Acceptance,
    Accepted,
    Adopted,
    Conflict,
    Heads,
    Journal,
    Lease,
    RunRecord,
    Settlement,
    Watermark,
)
from handrail.keep.database import Database
from handrail.keep.schema import SCHEMA, VERSION

# No row when the run is in another epoch. One statement, so it is a transaction by itself.
_APPEND = """
    INSERT INTO events (run_id, epoch, first, count, events)
    SELECT run_id, epoch, coalesce(
        (SELECT first + count FROM events WHERE events.run_id = runs.run_id
         ORDER BY first DESC LIMIT 1), 0), ?, ?
    FROM runs WHERE run_id = ? AND epoch = ?"""

_LAST_MOVE = "SELECT coalesce(max(move_id), 0) FROM head_moves"
_RUN = "run_id, workflow, reference, key, state, epoch, started_at, finished_at, reason"
_LEASE = "epoch, lease_owner, lease_expires_at"

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def _now() -> int:
    return time.time_ns() // 1_000_000


class SqliteJournal(Journal, Heads):
    """Journal and heads of one machine, shared by all its processes through one file.

    Args:
        path: the database file, made if missing, readable for its user only.
        now: the clock, in milliseconds since 1970, UTC.

    Raises:
        StoreError: or one below it, when the file cannot be used; also from every method.
    """

    def __init__(self, path: Path, *, now: Callable[[], int] = _now) -> None:
        self._database = Database(path, SCHEMA, VERSION)
        self._now = now

    # Runs

    def create_run(
        self, record: RunRecord, lease: Lease, events: Sequence[Event]
    ) -> RunRecord | None:
        with self._database.transaction(durable=True) as connection:
            if record.key is not None:
                found = connection.execute(
                    f"SELECT {_RUN} FROM runs WHERE workflow = ? AND key = ?",
                    (record.workflow, record.key),
                ).fetchone()
                if found:
                    return RunRecord(*found)
            connection.execute(
                f"INSERT INTO runs ({_RUN}, lease_owner, lease_expires_at, moves_seen)"
                f" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ({_LAST_MOVE}))",
                (
                    record.run_id,
                    record.workflow,
                    record.reference,
                    record.key,
                    record.state,
                    record.epoch,
                    record.started_at,
                    record.finished_at,
                    _storable(record.reason),
                    lease.owner,
                    lease.expires_at,
                ),
            )
            _append(connection, record.run_id, record.epoch, events)
        return None

    def run(self, run_id: str) -> RunRecord:
        rows = self._database.rows(
            f"SELECT {_RUN} FROM runs WHERE run_id >= ? AND run_id < ? ORDER BY run_id LIMIT 2",
            (run_id, run_id + "\U0010ffff"),
        )
        if not run_id or not rows or (len(rows) > 1 and rows[0][0] != run_id):
            raise self._not_found(run_id)
        return RunRecord(*rows[0])

    def runs(
        self, *, workflow: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[RunRecord]:
        rows = self._database.rows(
            f"SELECT {_RUN} FROM runs WHERE (?1 IS NULL OR workflow = ?1)"
            " AND (?2 IS NULL OR state = ?2) ORDER BY started_at DESC, run_id DESC LIMIT ?3",
            (workflow, state, limit),
        )
        return [RunRecord(*row) for row in rows]

    def lease(self, run_id: str) -> Lease | None:
        row = self._database.row(f"SELECT {_LEASE} FROM runs WHERE run_id = ?", (run_id,))
        if row is None:
            raise self._not_found(run_id)
        return _lease(run_id, row)

    def take_over(
        self, run_id: str, before: Lease | None, after: Lease, events: Sequence[Event]
    ) -> bool:
        with self._database.transaction(durable=True) as connection:
            row = connection.execute(
                f"SELECT {_LEASE} FROM runs WHERE run_id = ?", (run_id,)
            ).fetchone()
            if row is None:
                raise self._not_found(run_id)
            if _lease(run_id, row) != before or row[0] >= after.epoch:
                return False
            connection.execute(
                "UPDATE runs SET epoch = ?, lease_owner = ?, lease_expires_at = ?,"
                " state = 'running', finished_at = NULL, reason = NULL WHERE run_id = ?",
                (after.epoch, after.owner, after.expires_at, run_id),
            )
            _append(connection, run_id, after.epoch, events)
        return True

    def renew(self, lease: Lease, expires_at: int) -> bool:
        with self._database.transaction(durable=False) as connection:
            renewed = connection.execute(
                "UPDATE runs SET lease_expires_at = ?"
                " WHERE run_id = ? AND epoch = ? AND lease_owner = ?",
                (expires_at, lease.run_id, lease.epoch, lease.owner),
            )
            return renewed.rowcount > 0

    # Events

    def append(self, run_id: str, epoch: int, events: Sequence[Event]) -> None:
        if not events:
            return
        database = self._database
        values = (len(events), _encode(events), run_id, epoch)
        try:
            with database.lock:
                database.use(durable=False)
                appended = database.connection.execute(_APPEND, values).rowcount
        except sqlite3.Error as error:
            raise database.fault(error) from error
        if not appended:
            raise self._stale(run_id, epoch, events[0].task or run_id)

    def events(self, run_id: str) -> list[StoredEvent]:
        rows = self._database.rows(
            "SELECT run_id, epoch, first, events FROM events WHERE run_id = ? ORDER BY first",
            (run_id,),
        )
        return [event for row in rows for event in _decode(*row)]

    def outbox(self, cursor: int, limit: int = 1000) -> tuple[list[StoredEvent], int]:
        rows = self._database.rows(
            "SELECT run_id, epoch, first, events, chunk_id FROM events WHERE chunk_id > ?"
            " ORDER BY chunk_id LIMIT ?",
            (cursor, limit),
        )
        found = [event for row in rows for event in _decode(*row[:4])]
        return found, rows[-1][4] if rows else cursor

    # Attempts

    def begin_attempt(self, run_id: str, logical_key: str, token: Token) -> Adopted | None:
        with self._database.transaction(durable=False) as connection:
            adopted = _adopted(connection, run_id, logical_key)
            if adopted:
                return adopted
            epoch, current = _current(connection, run_id, logical_key)
            if epoch is None:
                raise self._not_found(run_id)
            if token.epoch != epoch or (current is not None and current > token):
                raise StaleAttemptError(
                    logical_key, f"token {_text(token)}, run {run_id} has {_text(current, epoch)}"
                )
            connection.execute(
                f"INSERT INTO attempts VALUES (?, ?, ?, ?, ({_LAST_MOVE}))"
                " ON CONFLICT DO UPDATE SET epoch = excluded.epoch,"
                " sequence = excluded.sequence, moves_seen = excluded.moves_seen",
                (run_id, logical_key, *token),
            )
        return None

    def accept(self, acceptance: Acceptance) -> Accepted | Adopted | Conflict:
        with self._database.transaction(durable=True) as connection:
            adopted = _adopted(connection, acceptance.run_id, acceptance.logical_key)
            if adopted:
                return adopted
            epoch, current = _current(connection, acceptance.run_id, acceptance.logical_key)
            if epoch != acceptance.token.epoch or current != acceptance.token:
                return Conflict(True, _text(acceptance.token), _text(current, epoch), "token")
            seen = (
                "SELECT moves_seen FROM attempts WHERE run_id = ? AND logical_key = ?",
                (acceptance.run_id, acceptance.logical_key),
            )
            conflict = self._publish(connection, acceptance, acceptance.attempt_id, seen)
            if conflict:
                return conflict
            self._write_ledger(connection, acceptance)
            _append(connection, acceptance.run_id, acceptance.token.epoch, acceptance.events)
        return Accepted(acceptance.output_ref)

    def settle(self, settlement: Settlement) -> Accepted | Conflict:
        with self._database.transaction(durable=True) as connection:
            row = connection.execute(
                "SELECT epoch, lease_owner, state FROM runs WHERE run_id = ?", (settlement.run_id,)
            ).fetchone()
            if row is None:
                raise self._not_found(settlement.run_id)
            epoch, owner, state = row
            if epoch != settlement.epoch or owner is None:
                expected, found = f"epoch {settlement.epoch}", f"epoch {epoch}, {state}"
                return Conflict(True, expected, found, "lease")
            conflict = _watermark_conflict(connection, settlement.watermark)
            if conflict:
                return conflict
            seen = ("SELECT moves_seen FROM runs WHERE run_id = ?", (settlement.run_id,))
            # Last of the checks and the first to write: a conflict leaves nothing behind.
            conflict = self._publish(connection, settlement, settlement.run_id, seen)
            if conflict:
                return conflict
            self._move_watermark(connection, settlement)
            _append(connection, settlement.run_id, epoch, settlement.events)
            connection.execute(
                "UPDATE runs SET state = ?, reason = ?, finished_at = ?, lease_owner = NULL,"
                " lease_expires_at = NULL WHERE run_id = ?",
                (settlement.state, _storable(settlement.reason), self._now(), settlement.run_id),
            )
        return Accepted(settlement.output_ref)

    def accepted(self, run_id: str) -> list[Acceptance]:
        rows = self._database.rows(
            "SELECT run_id, logical_key, task_id, attempt_id, epoch, sequence, result,"
            " repository, branch, input_ref, output_ref FROM ledger WHERE run_id = ?"
            " ORDER BY ledger_id",
            (run_id,),
        )
        return [_acceptance(*row) for row in rows]

    def watermark(self, pipeline: str) -> str | None:
        row = self._database.row("SELECT value FROM watermarks WHERE pipeline = ?", (pipeline,))
        return row[0] if row else None

    def close(self) -> None:
        self._database.close()

    # Heads

    def head(self, branch: BranchName) -> str | None:
        row = self._database.row(
            "SELECT commit_id FROM heads WHERE repository = ? AND branch = ?", tuple(branch)
        )
        return row[0] if row else None

    def move_head(self, branch: BranchName, before: str | None, after: str | None) -> bool:
        with self._database.transaction(durable=True) as connection:
            return self._move(connection, branch, before, after, moved_by="")

    def heads(self, repository: str | None = None) -> dict[BranchName, str]:
        rows = self._database.rows(
            "SELECT repository, branch, commit_id FROM heads"
            " WHERE ?1 IS NULL OR repository = ?1 ORDER BY repository, branch",
            (repository,),
        )
        return {BranchName(*row[:2]): row[2] for row in rows}

    # Parts of transactions

    def _publish(
        self,
        connection: sqlite3.Connection,
        asked: Acceptance | Settlement,
        moved_by: str,
        seen: tuple[str, tuple[str, ...]],
    ) -> Conflict | None:
        """Moves the branch, or says why not and writes nothing.

        A branch that left the input ref after the last move in `seen` and came back is a
        conflict too: the ref is the same, the state it was read from is not.
        """
        branch, before, after = asked.branch, asked.input_ref, asked.output_ref
        if branch is None or after is None or before == after:
            return None
        moves_seen = connection.execute(*seen).fetchone()[0]
        left = connection.execute(
            "SELECT 1 FROM head_moves WHERE repository = ? AND branch = ? AND move_id > ?"
            " AND before IS ?",
            (*branch, moves_seen, before),
        ).fetchone()
        if not left and self._move(connection, branch, before, after, moved_by=moved_by):
            return None
        return Conflict(False, before or "", _head(connection, branch), str(branch))

    def _move(
        self,
        connection: sqlite3.Connection,
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
                "INSERT OR IGNORE INTO heads VALUES (?, ?, ?)", (*branch, after)
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

    def _write_ledger(self, connection: sqlite3.Connection, acceptance: Acceptance) -> None:
        connection.execute(
            "INSERT INTO ledger (run_id, logical_key, task_id, attempt_id, epoch, sequence,"
            " result, repository, branch, input_ref, output_ref, accepted_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                acceptance.run_id,
                acceptance.logical_key,
                acceptance.task_id,
                acceptance.attempt_id,
                *acceptance.token,
                acceptance.result,
                *(acceptance.branch or (None, None)),
                acceptance.input_ref,
                acceptance.output_ref,
                self._now(),
            ),
        )

    def _move_watermark(self, connection: sqlite3.Connection, settlement: Settlement) -> None:
        watermark = settlement.watermark
        if watermark is None or watermark.before == watermark.after:
            return
        if watermark.after is None:
            connection.execute("DELETE FROM watermarks WHERE pipeline = ?", (watermark.pipeline,))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO watermarks VALUES (?, ?)",
                (watermark.pipeline, watermark.after),
            )
        connection.execute(
            "INSERT INTO watermark_moves (pipeline, before, after, moved_at, run_id)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                watermark.pipeline,
                watermark.before,
                watermark.after,
                self._now(),
                settlement.run_id,
            ),
        )

    # Errors

    def _not_found(self, run_id: str) -> RunNotFound:
        return RunNotFound(run_id, str(self._database.path.parent))

    def _stale(self, run_id: str, epoch: int, what: str) -> Exception:
        row = self._database.row("SELECT epoch FROM runs WHERE run_id = ?", (run_id,))
        if row is None:
            return self._not_found(run_id)
        return StaleAttemptError(what, f"epoch {epoch}, run {run_id} is in epoch {row[0]}")


def _append(
    connection: sqlite3.Connection, run_id: str, epoch: int, events: Sequence[Event]
) -> None:
    if events:
        connection.execute(_APPEND, (len(events), _encode(events), run_id, epoch))


def _decode(run_id: str, epoch: int, first: int, text: str) -> list[StoredEvent]:
    return [
        StoredEvent(run_id, epoch, index, Event(*event))
        for index, event in enumerate(json.loads(text), first)
    ]


def _lease(run_id: str, row: tuple[int, str | None, int]) -> Lease | None:
    epoch, owner, expires_at = row
    return Lease(run_id, epoch, owner, expires_at) if owner is not None else None


def _acceptance(
    run_id: str,
    logical_key: str,
    task_id: str,
    attempt_id: str,
    epoch: int,
    sequence: int,
    result: str,
    repository: str | None,
    branch: str | None,
    input_ref: str | None,
    output_ref: str | None,
) -> Acceptance:
    return Acceptance(
        run_id=run_id,
        logical_key=logical_key,
        task_id=task_id,
        attempt_id=attempt_id,
        token=Token(epoch, sequence),
        result=result,
        branch=BranchName(repository, branch) if repository and branch else None,
        input_ref=input_ref,
        output_ref=output_ref,
    )


def _adopted(connection: sqlite3.Connection, run_id: str, logical_key: str) -> Adopted | None:
    row = connection.execute(
        "SELECT attempt_id, output_ref, result FROM ledger WHERE run_id = ? AND logical_key = ?",
        (run_id, logical_key),
    ).fetchone()
    return Adopted(*row) if row else None


def _current(
    connection: sqlite3.Connection, run_id: str, logical_key: str
) -> tuple[int | None, Token | None]:
    """The run's epoch, and the current token of that work."""
    row = connection.execute(
        "SELECT runs.epoch, attempts.epoch, sequence FROM runs LEFT JOIN attempts"
        " ON attempts.run_id = runs.run_id AND logical_key = ? WHERE runs.run_id = ?",
        (logical_key, run_id),
    ).fetchone()
    if row is None:
        return None, None
    return row[0], Token(row[1], row[2]) if row[1] is not None else None


def _head(connection: sqlite3.Connection, branch: BranchName) -> str | None:
    row = connection.execute(
        "SELECT commit_id FROM heads WHERE repository = ? AND branch = ?", tuple(branch)
    ).fetchone()
    return row[0] if row else None


def _watermark_conflict(
    connection: sqlite3.Connection, watermark: Watermark | None
) -> Conflict | None:
    if watermark is None:
        return None
    row = connection.execute(
        "SELECT value FROM watermarks WHERE pipeline = ?", (watermark.pipeline,)
    ).fetchone()
    found = row[0] if row else None
    if found == watermark.before:
        return None
    return Conflict(False, watermark.before or "", found, f"watermark of {watermark.pipeline}")


def _text(token: Token | None, epoch: int | None = None) -> str:
    held = f"{token.epoch}.{token.sequence}" if token else "none"
    return held if epoch is None else f"{held} in epoch {epoch}"


def _storable(text: str | None) -> str | None:
    """`text` without the half characters that a body's message may hold and UTF-8 cannot."""
    return text and text.encode("utf-8", "backslashreplace").decode("utf-8")
