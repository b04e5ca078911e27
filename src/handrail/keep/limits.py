"""Who holds a place under a limit, and when the next start under a rate is due.

A place is a lease within a lease: it counts as long as its run is in the epoch that took it and
holds its own lease. So the places of a process that was killed end with the leases of its runs,
those of a run that settled or was taken over at once, and none can leak. Dead ones are deleted
when somebody takes a place under the same tag.

Starts under a rate are spaced evenly: of each tag it is kept when the next one is due. This is
virtual scheduling without tolerance (the generic cell rate algorithm, ITU-T I.371, annex A; with
increment `Limit.spacing` and limit 0). A tolerance of n cells would allow n starts at once, and
then up to 2n - 1 in one window; without it no window ever holds more than the rate says.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from handrail.contracts.limits import Limit
from handrail.errors import StaleAttemptError
from handrail.keep.base import Journal, Lease
from handrail.keep.sql import Connection, SqlJournal

#: When it is worth asking again for a place: others may give theirs back unheard (seconds).
POLL_SECONDS = 0.25


class Holder(NamedTuple):
    """An attempt that holds places."""

    run_id: str
    epoch: int
    attempt_id: str


class Refusal(NamedTuple):
    """Why nothing was taken."""

    #: The limit that will stand in the way for longest, as far as is known.
    tag: str
    #: After so many it is worth asking again: exactly when a start is due, or a while later.
    seconds: float


class Limiter(ABC):
    """Places and starts of all runs that share a store."""

    @abstractmethod
    def take(self, holder: Holder, limits: Sequence[Limit]) -> Refusal | None:
        """Takes a place, or a start, or both, under every one of the limits; or nothing at all.

        Asking again for a place that is held counts once. A refusal uses up no start.

        Args:
            limits: at least one, each of another tag.

        Raises:
            StaleAttemptError: the run is over, or in another epoch.
            RunNotFound: there is no such run.
        """

    @abstractmethod
    def give_back(self, holder: Holder) -> None:
        """Gives all places back; giving back again does nothing. Starts are used up."""

    @abstractmethod
    def holders(self, tag: str) -> list[Holder]:
        """Who holds places of that tag, in the order of their ids."""

    @abstractmethod
    def due_seconds(self, tag: str) -> float:
        """How long until the next start is due; 0.0: it is."""

    @abstractmethod
    def tags(self) -> list[str]:
        """Tags with places that are held or a next start that is not due yet, sorted."""


class _Taken(NamedTuple):
    """What others have taken under some tags."""

    #: By tag.
    place_counts: Mapping[str, int]
    #: When the next start is due, by tag; in microseconds since 1970, UTC.
    due_at: Mapping[str, int]


def microseconds() -> int:
    """Now, in microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class SqlLimiter(Limiter):
    """Limits of all processes that share the database of a journal.

    Args:
        now: the clock, in microseconds since 1970, UTC. Rates are as exact as the clocks of
            the machines agree.
    """

    def __init__(self, journal: SqlJournal, *, now: Callable[[], int] = microseconds) -> None:
        self._journal = journal
        self._now = now

    def take(self, holder: Holder, limits: Sequence[Limit]) -> Refusal | None:
        now = self._now()
        if not _is_held(self._journal.lease(holder.run_id), holder, now):
            return Refusal(limits[0].tag, POLL_SECONDS)
        # Looked at first: who is refused writes nothing and keeps nobody waiting.
        taken = _read(self._journal.rows, holder, limits, now)
        refusal = _refusal(limits, taken, now)
        if refusal is not None and not _too_far(limits, taken, now):
            return refusal
        return self._journal.transact(
            partial(self._take, holder, limits), durable=self._journal.falls_alone
        )

    def _take(
        self, holder: Holder, limits: Sequence[Limit], connection: Connection
    ) -> Refusal | None:
        self._journal.lock_limits(connection, [limit.tag for limit in limits])
        now = self._now()

        def rows(statement: str, values: Sequence[Any]) -> list[Any]:
            return connection.execute(statement, values).fetchall()

        taken = _read(rows, holder, limits, now)
        for limit in _too_far(limits, taken, now):
            _set_due(connection, limit.tag, now + limit.spacing)
        refusal = _refusal(limits, taken, now)
        if refusal is None:
            _delete_dead(connection, limits, now)
            for limit in limits:
                _write(connection, holder, limit, now)
        return refusal

    def give_back(self, holder: Holder) -> None:
        def delete(connection: Connection) -> bool:
            statement = "DELETE FROM places WHERE run_id = ? AND epoch = ? AND attempt_id = ?"
            return connection.execute(statement, holder).rowcount > 0

        self._journal.transact(delete, durable=False)

    def holders(self, tag: str) -> list[Holder]:
        found = self._journal.rows(
            f"SELECT places.run_id, places.epoch, places.attempt_id FROM {_LIVE}"
            " AND places.tag = ? ORDER BY places.attempt_id",
            (self._now() // 1000, tag),
        )
        return [Holder(*row) for row in found]

    def due_seconds(self, tag: str) -> float:
        found = self._journal.rows("SELECT due_at FROM rates WHERE tag = ?", (tag,))
        return max(found[0][0] - self._now(), 0) / 1_000_000 if found else 0.0

    def tags(self) -> list[str]:
        now = self._now()
        found = self._journal.rows(
            f"SELECT places.tag FROM {_LIVE} UNION SELECT tag FROM rates WHERE due_at > ?",
            (now // 1000, now),
        )
        return sorted(row[0] for row in found)


class MemoryLimiter(Limiter):
    """Limits of one process, safe for its threads, gone with it.

    Args:
        journal: knows which runs hold their leases; none: runs that nobody keeps hold theirs
            until they give them back.
        now: the clock, in microseconds since 1970, UTC.
    """

    def __init__(
        self, journal: Journal | None = None, *, now: Callable[[], int] = microseconds
    ) -> None:
        self._journal = journal
        self._now = now
        self._lock = threading.Lock()
        self._places: dict[str, set[Holder]] = {}
        self._due_at: dict[str, int] = {}

    def take(self, holder: Holder, limits: Sequence[Limit]) -> Refusal | None:
        with self._lock:
            now = self._now()
            if self._journal is not None and not _is_held(
                self._journal.lease(holder.run_id), holder, now
            ):
                return Refusal(limits[0].tag, POLL_SECONDS)
            places = {limit.tag: self._live(limit.tag, now) for limit in limits}
            counts = {tag: len(held - {holder}) for tag, held in places.items()}
            taken = _Taken(counts, self._due_at)
            for limit in _too_far(limits, taken, now):
                self._due_at[limit.tag] = now + limit.spacing
            refusal = _refusal(limits, taken, now)
            if refusal is None:
                for limit in limits:
                    self._write(holder, limit, now)
        return refusal

    def _write(self, holder: Holder, limit: Limit, now: int) -> None:
        if limit.at_once is not None:
            self._places[limit.tag].add(holder)
        if limit.spacing:
            self._due_at[limit.tag] = now + limit.spacing

    def give_back(self, holder: Holder) -> None:
        with self._lock:
            for held in self._places.values():
                held.discard(holder)

    def holders(self, tag: str) -> list[Holder]:
        with self._lock:
            return sorted(self._live(tag, self._now()), key=lambda holder: holder.attempt_id)

    def due_seconds(self, tag: str) -> float:
        return max(self._due_at.get(tag, 0) - self._now(), 0) / 1_000_000

    def tags(self) -> list[str]:
        with self._lock:
            now = self._now()
            held = {tag for tag in self._places if self._live(tag, now)}
            return sorted(held | {tag for tag, due_at in self._due_at.items() if due_at > now})

    def _live(self, tag: str, now: int) -> set[Holder]:
        """Who holds places; the others are forgotten."""
        held = self._places.setdefault(tag, set())
        if self._journal is not None:
            held -= {holder for holder in held if _is_dead(self._journal, holder, now)}
        return held


# Rules, the same for all


def _is_held(lease: Lease | None, holder: Holder, now: int) -> bool:
    """Does the holder's run hold its lease? False: not at this moment; it may be renewed."""
    if lease is None or lease.epoch != holder.epoch:
        found = "nobody" if lease is None else f"epoch {lease.epoch}"
        raise StaleAttemptError(
            holder.attempt_id, f"epoch {holder.epoch}; {found} holds run {holder.run_id}"
        )
    return lease.expires_at > now // 1000


def _is_dead(journal: Journal, holder: Holder, now: int) -> bool:
    lease = journal.lease(holder.run_id)
    return lease is None or lease.epoch != holder.epoch or lease.expires_at <= now // 1000


def _too_far(limits: Iterable[Limit], taken: _Taken, now: int) -> list[Limit]:
    """Rates whose next start is due later than any start until now could make it.

    The limit was a stricter one when it was set, or the clock was wrong.
    """
    return [
        limit
        for limit in limits
        if limit.spacing and taken.due_at.get(limit.tag, 0) > now + limit.spacing
    ]


def _refusal(limits: Iterable[Limit], taken: _Taken, now: int) -> Refusal | None:
    found = [
        Refusal(limit.tag, seconds)
        for limit in limits
        if (seconds := _wait_seconds(limit, taken, now))
    ]
    return max(found, key=lambda refusal: refusal.seconds, default=None)


def _wait_seconds(limit: Limit, taken: _Taken, now: int) -> float:
    left = min(taken.due_at.get(limit.tag, 0) - now, limit.spacing)
    seconds = left / 1_000_000 if left > 0 else 0.0
    if limit.at_once is not None and taken.place_counts.get(limit.tag, 0) >= limit.at_once:
        seconds = max(seconds, POLL_SECONDS)
    return seconds


# Statements

#: Places that count; takes the time in milliseconds.
_LIVE = (
    "places JOIN runs ON runs.run_id = places.run_id AND runs.epoch = places.epoch"
    " WHERE runs.lease_owner IS NOT NULL AND runs.lease_expires_at > ?"
)


def _read(
    rows: Callable[[str, Sequence[Any]], list[Any]],
    holder: Holder,
    limits: Sequence[Limit],
    now: int,
) -> _Taken:
    tags = [limit.tag for limit in limits]
    marks = ", ".join("?" * len(tags))
    counts = rows(
        f"SELECT places.tag, count(*) FROM {_LIVE} AND places.attempt_id <> ?"
        f" AND places.tag IN ({marks}) GROUP BY places.tag",
        (now // 1000, holder.attempt_id, *tags),
    )
    due = rows(f"SELECT tag, due_at FROM rates WHERE tag IN ({marks})", tags)
    return _Taken(dict(counts), dict(due))


def _delete_dead(connection: Connection, limits: Sequence[Limit], now: int) -> None:
    tags = [limit.tag for limit in limits]
    connection.execute(
        f"DELETE FROM places WHERE tag IN ({', '.join('?' * len(tags))}) AND NOT EXISTS ("
        "SELECT 1 FROM runs WHERE runs.run_id = places.run_id AND runs.epoch = places.epoch"
        " AND runs.lease_owner IS NOT NULL AND runs.lease_expires_at > ?)",
        (*tags, now // 1000),
    )


def _write(connection: Connection, holder: Holder, limit: Limit, now: int) -> None:
    if limit.at_once is not None:
        connection.execute(
            "INSERT INTO places (tag, attempt_id, run_id, epoch) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (tag, attempt_id) DO UPDATE SET"
            " run_id = excluded.run_id, epoch = excluded.epoch",
            (limit.tag, holder.attempt_id, holder.run_id, holder.epoch),
        )
    if limit.spacing:
        _set_due(connection, limit.tag, now + limit.spacing)


def _set_due(connection: Connection, tag: str, due_at: int) -> None:
    connection.execute(
        "INSERT INTO rates (tag, due_at) VALUES (?, ?)"
        " ON CONFLICT (tag) DO UPDATE SET due_at = excluded.due_at",
        (tag, due_at),
    )
