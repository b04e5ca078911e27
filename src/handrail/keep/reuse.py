"""Results that may be taken again: what each hangs on, and where it is found.

They are a convenience. The ledger decides what is accepted; a kept result that is lost or
cannot be read only makes a body run.
"""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from handrail.keep.rows import storable

if TYPE_CHECKING:
    from handrail.keep.sql import Connection, SqlJournal

#: Results that memory holds at most; the oldest are forgotten.
MEMORY_COUNT = 10_000


@dataclass(frozen=True, slots=True)
class Basis:
    """What a result hangs on. Equal bases, equal results."""

    #: Name of the task in its workflow; of a mapped task for its items.
    task: str
    #: Digest of the code and of what was declared about it.
    code: str
    #: What the task's `CachePolicy` says.
    version: str = ""
    #: `{parameter: digest of its value}`
    params: Mapping[str, str] = field(default_factory=dict)
    #: Digest of the folder that was read; none for tasks without files.
    files: str | None = None

    @property
    def key(self) -> str:
        """SHA-256 of all of it, 64 hex digits."""
        parts = [self.task, self.code, self.version, dict(self.params), self.files]
        text = json.dumps(parts, separators=(",", ":"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class KeptNote:
    """Who made a result, of what, and when."""

    basis: Basis
    run_id: str
    attempt_id: str
    #: Milliseconds since 1970, UTC.
    kept_at: int


@dataclass(frozen=True, slots=True)
class KeptResult(KeptNote):
    """A result with whoever made it."""

    #: As JSON text; see `handrail.contracts.values`.
    result: str
    #: Commit that it left; none for tasks without files.
    output_ref: str | None = None

    @property
    def note(self) -> KeptNote:
        """The same without the result."""
        return KeptNote(self.basis, self.run_id, self.attempt_id, self.kept_at)


class KeptResults(ABC):
    """Results that were accepted, by what they hang on."""

    @abstractmethod
    def find(self, basis: Basis) -> KeptResult | None:
        """The result that hangs on exactly this."""

    @abstractmethod
    def recent(self, task: str, limit: int = 20) -> list[KeptNote]:
        """What is kept of a task, newest first, to tell what differs."""

    @abstractmethod
    def keep(self, results: Sequence[KeptResult]) -> None:
        """Keeps results. Of those with one basis the last one stays."""

    @abstractmethod
    def count(self, *, before: int | None = None) -> int:
        """How many results were kept before then (milliseconds since 1970, UTC); all by default."""

    @abstractmethod
    def forget(self, *, before: int | None = None, task: str | None = None) -> int:
        """Forgets what was kept before then (milliseconds since 1970, UTC), of that task; all by
        default. Returns how many results that were."""


class MemoryKeptResults(KeptResults):
    """Kept results of one process, safe for its threads, gone with it.

    Args:
        most_count: beyond so many the oldest are forgotten.
    """

    def __init__(self, most_count: int = MEMORY_COUNT) -> None:
        self._most_count = most_count
        self._lock = threading.Lock()
        #: By key, and by task and key; what was kept last is at the end.
        self._results: dict[str, KeptResult] = {}
        self._tasks: dict[str, dict[str, KeptResult]] = {}

    def find(self, basis: Basis) -> KeptResult | None:
        return self._results.get(basis.key)

    def recent(self, task: str, limit: int = 20) -> list[KeptNote]:
        with self._lock:
            found = list(islice(reversed(self._tasks.get(task, {}).values()), limit))
        return [each.note for each in found]

    def keep(self, results: Sequence[KeptResult]) -> None:
        with self._lock:
            for each in results:
                key = each.basis.key
                self._remove(key)
                self._results[key] = each
                self._tasks.setdefault(each.basis.task, {})[key] = each
            while len(self._results) > self._most_count:
                self._remove(next(iter(self._results)))

    def count(self, *, before: int | None = None) -> int:
        with self._lock:
            return sum(before is None or each.kept_at < before for each in self._results.values())

    def forget(self, *, before: int | None = None, task: str | None = None) -> int:
        with self._lock:
            gone = [
                key
                for key, each in self._results.items()
                if (before is None or each.kept_at < before) and task in (None, each.basis.task)
            ]
            for key in gone:
                self._remove(key)
        return len(gone)

    def _remove(self, key: str) -> None:
        known = self._results.pop(key, None)
        if known is not None:
            del self._tasks[known.basis.task][key]


_NOTE = "task, code, params, files, run_id, attempt_id, kept_at"
_RESULT = f"{_NOTE}, result, output_ref"


class SqlKeptResults(KeptResults):
    """Kept results beside the journal of a database."""

    def __init__(self, journal: SqlJournal) -> None:
        self._journal = journal

    def find(self, basis: Basis) -> KeptResult | None:
        found = self._journal.rows(
            f"SELECT {_RESULT} FROM kept_results WHERE result_key = ?", (basis.key,)
        )
        if not found:
            return None
        *note, result, output_ref = found[0]
        return KeptResult(*_note_values(note), result, output_ref)

    def recent(self, task: str, limit: int = 20) -> list[KeptNote]:
        found = self._journal.rows(
            f"SELECT {_NOTE} FROM kept_results WHERE task = ?"
            " ORDER BY kept_at DESC, result_key LIMIT ?",
            (storable(task), limit),
        )
        return [KeptNote(*_note_values(row)) for row in found]

    def keep(self, results: Sequence[KeptResult]) -> None:
        def write(connection: Connection) -> None:
            for each in results:
                connection.execute(
                    f"INSERT INTO kept_results (result_key, {_RESULT})"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (result_key) DO UPDATE SET run_id = excluded.run_id,"
                    " attempt_id = excluded.attempt_id, kept_at = excluded.kept_at,"
                    " result = excluded.result, output_ref = excluded.output_ref",
                    _values(each),
                )

        # One order for all, so that two writers cannot wait for one another.
        results = sorted(results, key=lambda each: each.basis.key)
        self._journal.transact(write, durable=False)

    def count(self, *, before: int | None = None) -> int:
        found = self._journal.rows(
            "SELECT count(*) FROM kept_results WHERE CAST(? AS BIGINT) IS NULL OR kept_at < ?",
            (before, before),
        )
        return int(found[0][0])

    def forget(self, *, before: int | None = None, task: str | None = None) -> int:
        def delete(connection: Connection) -> int:
            answer = connection.execute(
                "DELETE FROM kept_results WHERE (CAST(? AS BIGINT) IS NULL OR kept_at < ?)"
                " AND (CAST(? AS TEXT) IS NULL OR task = ?)",
                (before, before, storable(task), storable(task)),
            )
            return answer.rowcount

        return self._journal.transact(delete, durable=False)


def _values(kept: KeptResult) -> tuple[Any, ...]:
    basis = kept.basis
    return (
        basis.key,
        storable(basis.task),
        f"{basis.code} {storable(basis.version)}" if basis.version else basis.code,
        json.dumps(dict(basis.params), sort_keys=True),
        basis.files,
        kept.run_id,
        kept.attempt_id,
        kept.kept_at,
        kept.result,
        kept.output_ref,
    )


def _note_values(row: Sequence[Any]) -> tuple[Basis, str, str, int]:
    task, code, params, files, run_id, attempt_id, kept_at = row
    code, _, version = code.partition(" ")
    basis = Basis(task, code, version, json.loads(params), files)
    return basis, run_id, attempt_id, kept_at
