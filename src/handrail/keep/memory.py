"""Journal, heads and objects in memory: for tests, and for runs that need no record."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from handrail.contracts.event import Event, StoredEvent
from handrail.contracts.workspace import BranchName
from handrail.errors import RunNotFound, StoreError, UnknownRefError
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
    ObjectInfo,
    ObjectStore,
    RunRecord,
    Settlement,
    Watermark,
)


def _now() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class _Chunk:
    """The events of one append, and where they belong."""

    run_id: str
    epoch: int
    first: int
    events: tuple[Event, ...]

    def stored(self) -> Iterator[StoredEvent]:
        for index, event in enumerate(self.events, self.first):
            yield StoredEvent(self.run_id, self.epoch, index, event)


@dataclass(slots=True)
class _Run:
    record: RunRecord
    lease: Lease | None
    #: How many moves of heads there were when the run was created.
    moves_seen: int
    event_count: int = 0
    cancel_reason: str | None = None
    chunks: list[_Chunk] = field(default_factory=list)
    #: The current token of each piece of work, and the moves seen when it was taken.
    tokens: dict[str, tuple[Token, int]] = field(default_factory=dict)
    ledger: dict[str, Acceptance] = field(default_factory=dict)


class MemoryJournal(Journal, Heads):
    """Journal and heads of one process, safe for its threads, gone with it."""

    def __init__(self, *, now: Callable[[], int] = _now) -> None:
        self._now = now
        self._lock = threading.RLock()
        self._runs: dict[str, _Run] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._chunks: list[_Chunk] = []
        self._heads: dict[BranchName, str] = {}
        #: Every move of a head: the branch and the commit that it left.
        self._moves: list[tuple[BranchName, str | None]] = []
        self._watermarks: dict[str, str] = {}
        self._claims: dict[tuple[BranchName, str], Claim] = {}

    # Runs

    def create_run(
        self, record: RunRecord, lease: Lease, events: Sequence[Event]
    ) -> RunRecord | None:
        with self._lock:
            if record.key is not None:
                holder = self._keys.setdefault((record.workflow, record.key), record.run_id)
                if holder != record.run_id:
                    return self._runs[holder].record
            if record.run_id in self._runs:
                raise StoreError(f"A run with the id {record.run_id} is in the journal already.")
            self._runs[record.run_id] = run = _Run(record, lease, len(self._moves))
            self._append(run, events)
        return None

    def run(self, run_id: str) -> RunRecord:
        with self._lock:
            if run_id in self._runs:
                return self._runs[run_id].record
            found = [run for name, run in self._runs.items() if name.startswith(run_id)]
        if not run_id or len(found) != 1:
            raise RunNotFound(run_id, "memory")
        return found[0].record

    def run_with_key(self, workflow: str, key: str) -> RunRecord | None:
        with self._lock:
            holder = self._keys.get((workflow, key))
            return self._runs[holder].record if holder is not None else None

    def runs(
        self, *, workflow: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[RunRecord]:
        with self._lock:
            found = [
                run.record
                for run in self._runs.values()
                if workflow in (None, run.record.workflow) and state in (None, run.record.state)
            ]
        found.sort(key=lambda record: (record.started_at, record.run_id), reverse=True)
        return found[:limit]

    def lease(self, run_id: str) -> Lease | None:
        with self._lock:
            return self._run(run_id).lease

    def take_over(
        self, run_id: str, before: Lease | None, after: Lease, events: Sequence[Event]
    ) -> bool:
        with self._lock:
            run = self._run(run_id)
            if run.lease != before or run.record.epoch != after.epoch - 1:
                return False
            if run.record.state == "succeeded":
                return False
            run.lease, run.cancel_reason = after, None
            run.record = replace(
                run.record, epoch=after.epoch, state="running", finished_at=None, reason=None
            )
            self._append(run, events)
        return True

    def renew(self, lease: Lease, expires_at: int) -> bool:
        with self._lock:
            run = self._runs.get(lease.run_id)
            held = run.lease if run else None
            if not run or not held or (held.epoch, held.owner) != (lease.epoch, lease.owner):
                return False
            run.lease = replace(held, expires_at=expires_at)
        return True

    def ask_to_cancel(self, run_id: str, epoch: int, reason: str, events: Sequence[Event]) -> bool:
        with self._lock:
            run = self._run(run_id)
            if run.lease is None or run.record.epoch != epoch:
                return False
            if run.cancel_reason is None:
                run.cancel_reason = reason
                self._append(run, events)
        return True

    def cancel_reason(self, run_id: str) -> str | None:
        run = self._runs.get(run_id)
        return run.cancel_reason if run is not None else None

    # Events

    def append(
        self, run_id: str, epoch: int, events: Sequence[Event], *, durable: bool = False
    ) -> None:
        if not events:
            return
        with self._lock:
            run = self._run(run_id)
            current = run.record.epoch
            if current == epoch:
                self._append(run, events)
                return
        raise rows.stale_append(events[0].task or run_id, run_id, epoch, current)

    def events(self, run_id: str) -> list[StoredEvent]:
        with self._lock:
            run = self._runs.get(run_id)
            chunks = list(run.chunks) if run else []
        return [event for chunk in chunks for event in chunk.stored()]

    def opening(self, run_id: str) -> StoredEvent:
        with self._lock:
            return next(self._run(run_id).chunks[0].stored())

    def outbox(self, cursor: int, limit: int = 1000) -> tuple[list[StoredEvent], int]:
        with self._lock:
            chunks = self._chunks[cursor : cursor + limit]
        return [event for chunk in chunks for event in chunk.stored()], cursor + len(chunks)

    # Attempts

    def begin_attempt(self, run_id: str, logical_key: str, token: Token) -> Adopted | None:
        with self._lock:
            run = self._run(run_id)
            adopted = _adopted(run, logical_key)
            if adopted:
                return adopted
            current, _ = run.tokens.get(logical_key, (None, 0))
            if token.epoch != run.record.epoch or (current is not None and current > token):
                raise rows.stale_attempt(logical_key, token, run_id, current, run.record.epoch)
            run.tokens[logical_key] = (token, len(self._moves))
        return None

    def accept(self, acceptance: Acceptance) -> Accepted | Adopted | Conflict:
        with self._lock:
            run = self._runs.get(acceptance.run_id)
            token = acceptance.token
            if run is None:
                return rows.stale_token(token, None, None)
            adopted = _adopted(run, acceptance.logical_key)
            if adopted:
                return adopted
            epoch = run.record.epoch
            current, seen = run.tokens.get(acceptance.logical_key, (None, 0))
            if epoch != token.epoch or current != token:
                return rows.stale_token(token, current, epoch)
            conflict = self._publish(acceptance, seen)
            if conflict:
                return conflict
            run.ledger[acceptance.logical_key] = replace(acceptance, events=())
            self._append(run, acceptance.events)
        return Accepted(acceptance.output_ref)

    def settle(self, settlement: Settlement) -> Accepted | Conflict:
        with self._lock:
            run = self._run(settlement.run_id)
            record = run.record
            if record.epoch != settlement.epoch or run.lease is None:
                return rows.lost_lease(settlement.epoch, record.epoch, record.state)
            conflict = self._watermark_conflict(settlement.watermark)
            conflict = conflict or self._publish(settlement, run.moves_seen)
            if conflict:
                return conflict
            self._move_watermark(settlement.watermark)
            self._append(run, settlement.events)
            run.lease = None
            run.record = replace(
                record, state=settlement.state, reason=settlement.reason, finished_at=self._now()
            )
        return Accepted(settlement.output_ref)

    def accepted(self, run_id: str) -> list[Acceptance]:
        with self._lock:
            run = self._runs.get(run_id)
            return list(run.ledger.values()) if run else []

    def watermark(self, pipeline: str) -> str | None:
        return self._watermarks.get(pipeline)

    def close(self) -> None:
        """Nothing is held."""

    # Heads

    def head(self, branch: BranchName) -> str | None:
        return self._heads.get(branch)

    def move_head(self, branch: BranchName, before: str | None, after: str | None) -> bool:
        with self._lock:
            if self._heads.get(branch) != before:
                return False
            if before == after:
                return True
            if after is None:
                del self._heads[branch]
            else:
                self._heads[branch] = after
            self._moves.append((branch, before))
        return True

    def heads(self, repository: str | None = None) -> dict[BranchName, str]:
        with self._lock:
            found = sorted(self._heads.items())
        return {name: ref for name, ref in found if repository in (None, name.repository)}

    def moved_to(self, branch: BranchName) -> str | None:
        return self._heads.get(branch)

    def claim(self, claim: Claim) -> Claimed | Adopted | Conflict:
        with self._lock:
            won = self._claims.get((claim.branch, claim.input_ref))
            if won is not None:
                return rows.answer_to(claim, won)
            if not self.move_head(claim.branch, claim.input_ref, claim.output_ref):
                found = self._heads.get(claim.branch)
                return rows.moved_branch(claim.branch, claim.input_ref, found)
            self._claims[claim.branch, claim.input_ref] = claim
        return Claimed(claim.output_ref)

    def claimed(self, branch: BranchName, input_ref: str) -> Claim | None:
        return self._claims.get((branch, input_ref))

    def drop_branch(self, branch: BranchName) -> None:
        with self._lock:
            self.move_head(branch, self._heads.get(branch), None)
            for place in [place for place in self._claims if place[0] == branch]:
                del self._claims[place]

    # Parts; called with the lock held

    def _run(self, run_id: str) -> _Run:
        run = self._runs.get(run_id)
        if run is None:
            raise RunNotFound(run_id, "memory")
        return run

    def _append(self, run: _Run, events: Sequence[Event]) -> None:
        if events:
            record = run.record
            chunk = _Chunk(record.run_id, record.epoch, run.event_count, tuple(events))
            run.event_count += len(events)
            run.chunks.append(chunk)
            self._chunks.append(chunk)

    def _publish(self, asked: Acceptance | Settlement, moves_seen: int) -> Conflict | None:
        branch, before, after = asked.branch, asked.input_ref, asked.output_ref
        if branch is None or after is None or before == after:
            return None
        left = (branch, before) in self._moves[moves_seen:]
        if not left and self.move_head(branch, before, after):
            return None
        return rows.moved_branch(branch, before, self._heads.get(branch))

    def _watermark_conflict(self, watermark: Watermark | None) -> Conflict | None:
        if watermark is None:
            return None
        return rows.moved_watermark(watermark, self._watermarks.get(watermark.pipeline))

    def _move_watermark(self, watermark: Watermark | None) -> None:
        if watermark is None:
            return
        if watermark.after is None:
            self._watermarks.pop(watermark.pipeline, None)
        else:
            self._watermarks[watermark.pipeline] = watermark.after


class MemoryObjects(ObjectStore):
    """Objects of one process, safe for its threads, gone with it."""

    def __init__(self, *, now: Callable[[], int] = _now) -> None:
        self._now = now
        #: Content and the time it was last put.
        self._objects: dict[str, tuple[bytes, int]] = {}

    def put_bytes(self, content: bytes) -> ObjectInfo:
        digest = hashlib.sha256(content).hexdigest()
        self._objects[digest] = (bytes(content), self._now())
        return ObjectInfo(digest, len(content))

    def put_file(self, path: Path) -> ObjectInfo:
        before = _times(path)
        content = path.read_bytes()
        if _times(path) != before:
            raise StoreError(f"{path} changed while it was being read.")
        return self.put_bytes(content)

    def flush(self) -> None:
        """Nothing is ever on disk."""

    def open(self, digest: str) -> BinaryIO:
        return io.BytesIO(self._content(digest))

    def copy_to(self, digest: str, path: Path, mode: int) -> None:
        content = self._content(digest)
        with path.open("xb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)

    def __contains__(self, digest: str) -> bool:
        return digest in self._objects

    def digests(self) -> Iterator[str]:
        return iter(list(self._objects))

    def delete(self, digest: str, stored_before: int) -> bool:
        _, stored_at = self._objects.get(digest, (b"", stored_before))
        return stored_at < stored_before and self._objects.pop(digest, None) is not None

    def _content(self, digest: str) -> bytes:
        found = self._objects.get(digest)
        if found is None:
            raise UnknownRefError(f"No object {digest!r} in this store.")
        return found[0]


def _times(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size


def _adopted(run: _Run, logical_key: str) -> Adopted | None:
    row = run.ledger.get(logical_key)
    return Adopted(row.attempt_id, row.output_ref, row.result) if row else None
