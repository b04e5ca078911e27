"""Two publishers that race for one branch: one wins, and the other is told what won.

Many races are prepared, then two threads, or two processes, go through all of them side by side,
each waiting for the other before every race. A race's number says what the two do.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

from handrail.contracts.workspace import BranchName
from handrail.ids import Token
from handrail.keep.base import Accepted, Adopted, Claim, Claimed, Commit, Conflict, Watermark
from handrail.keep.embedded_files import EmbeddedFiles
from handrail.keep.files import VersionedFiles
from handrail.keep.objects import FileObjects
from handrail.keep.postgres import PostgresJournal
from handrail.keep.sql import SqlJournal
from handrail.keep.sqlite import SqliteJournal
from handrail.keep.trees import Trees
from handrail.testing.files import staged
from handrail.testing.stores import (
    acceptance,
    event,
    lease,
    race,
    run_record,
    settlement,
    start,
)
from tests.faults.publication import PATIENCE_SECONDS, PROCESSES, await_end, started

REPOSITORY = "songs"
FIRST = Token(1, 1)
#: By how much one may be ahead of the other, at most: about what a transaction takes.
_HEAD_START_SECONDS = 0.0005


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is."""

    #: The file of SQLite, or the URL of Postgres.
    database: Path | str
    objects: Path


class Store:
    """Branches, journal and commits."""

    def __init__(self, place: Place) -> None:
        self.journal: SqlJournal
        if isinstance(place.database, Path):
            self.journal = SqliteJournal(place.database)
        else:
            self.journal = PostgresJournal(place.database)
        self.trees = Trees(FileObjects(place.objects))
        self.files = EmbeddedFiles(REPOSITORY, self.trees, self.journal)

    def close(self) -> None:
        self.journal.close()


@dataclass(frozen=True, slots=True)
class Race:
    """A branch, the commit that it is at, and one for each of the two."""

    number: int
    branch: BranchName
    base: str
    refs: tuple[str, str]

    @property
    def run_ids(self) -> tuple[str, str]:
        """A run of each."""
        return f"r{self.number}-0", f"r{self.number}-1"

    @property
    def kind(self) -> Kind:
        """What the two do."""
        return KINDS[self.number % len(KINDS)]


#: What one of the two does.
Act: TypeAlias = Callable[[Store, Race, int], Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of race."""

    name: str
    prepare: Callable[[Store, Race], None]
    acts: tuple[Act, Act]
    #: Names of the two answers, whoever was faster.
    answers: tuple[frozenset[str], ...]


# What the two do


def _claim(store: Store, race: Race, side: int) -> Any:
    return _claim_of(store, race, side, f"work {side}")


def _claim_same(store: Store, race: Race, side: int) -> Any:
    return _claim_of(store, race, side, "work")


def _claim_of(store: Store, race: Race, side: int, key: str) -> Any:
    claim = Claim(race.branch, race.base, race.refs[side], key, f'"{side}"', f"a{side}")
    return store.files.claim(claim)


def _accept(store: Store, race: Race, side: int) -> Any:
    return _accept_of(store, race, side, race.run_ids[side])


def _accept_same(store: Store, race: Race, side: int) -> Any:
    return _accept_of(store, race, side, race.run_ids[0])


def _accept_of(store: Store, race: Race, side: int, run_id: str) -> Any:
    return store.journal.accept(
        acceptance(
            run_id=run_id,
            attempt_id=f"a{side}",
            branch=race.branch,
            input_ref=race.base,
            output_ref=race.refs[side],
        )
    )


def _settle(store: Store, race: Race, side: int) -> Any:
    return store.journal.settle(
        settlement(
            race.run_ids[side],
            branch=race.branch,
            input_ref=race.base,
            output_ref=race.refs[side],
            watermark=Watermark(f"pipeline {race.number}", None, str(side)),
        )
    )


def _take_over(store: Store, race: Race, side: int) -> Any:
    before = store.journal.lease(race.run_ids[0])
    after = lease(race.run_ids[0], epoch=2, owner="successor")
    return store.journal.take_over(race.run_ids[0], before, after, [event("run.resumed")])


def _move(store: Store, race: Race, side: int) -> Any:
    return store.journal.move_head(race.branch, race.base, race.refs[side])


def _begin_both(store: Store, race: Race) -> None:
    for run_id in race.run_ids:
        start(store.journal, run_record(run_id))
        assert store.journal.begin_attempt(run_id, "k", FIRST) is None


def _nothing(store: Store, race: Race) -> None:
    """Claims and moves need no run."""


def _pairs(*pairs: tuple[str, str]) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(pair) for pair in pairs)


KINDS = (
    Kind("two works claim", _nothing, (_claim, _claim), _pairs(("Claimed", "Conflict"))),
    Kind("one work claims twice", _nothing, (_claim_same,) * 2, _pairs(("Claimed", "Adopted"))),
    Kind("two runs' attempts", _begin_both, (_accept, _accept), _pairs(("Accepted", "Conflict"))),
    Kind("one attempt twice", _begin_both, (_accept_same,) * 2, _pairs(("Accepted", "Adopted"))),
    Kind("two runs end", _begin_both, (_settle, _settle), _pairs(("Accepted", "Conflict"))),
    Kind(
        "a zombie and its successor",
        _begin_both,
        (_accept_same, _take_over),
        _pairs(("Accepted", "True"), ("Conflict", "True")),
    ),
    Kind(
        "an attempt and a claim",
        _begin_both,
        (_accept, _claim),
        _pairs(("Accepted", "Conflict"), ("Conflict", "Claimed")),
    ),
    Kind("two moves", _nothing, (_move, _move), _pairs(("True", "False"))),
)


# Races


def thread_races(place: Place, numbers: range) -> Counter[str]:
    """Races between two threads of this process, with a connection each."""
    return _races(place, numbers, _in_threads)


def process_races(place: Place, numbers: range) -> Counter[str]:
    """Races between two processes."""
    return _races(place, numbers, _in_processes)


Racing: TypeAlias = Callable[[Place, list[Race]], list[tuple[Any, Any]]]


def _races(place: Place, numbers: range, racing: Racing) -> Counter[str]:
    """Races, and checks them; returns how often which of the two won.

    Raises:
        AssertionError: not one winner, or the loser was not told who won.
    """
    store = Store(place)
    try:
        races = [_prepared(store, number) for number in numbers]
        answers = racing(place, races)
        won: Counter[str] = Counter()
        for race, pair in zip(races, answers, strict=True):
            won[f"{race.kind.name}: {_check(store, race, pair)} wins"] += 1
        return won
    finally:
        store.close()


def _prepared(store: Store, number: int) -> Race:
    tree = store.trees.empty_tree
    branch = BranchName(REPOSITORY, f"b{number}")
    base = store.trees.put_commit(Commit(tree, (), f"base {number}", 0))
    one, two = (
        store.trees.put_commit(Commit(tree, (base,), f"{number} of {side}", 0)) for side in (0, 1)
    )
    assert store.journal.move_head(branch, None, base)
    race = Race(number, branch, base, (one, two))
    race.kind.prepare(store, race)
    return race


def _check(store: Store, race: Race, answers: tuple[Any, Any]) -> str:
    assert frozenset(map(_name, answers)) in race.kind.answers, (race, answers)
    winners = [side for side, answer in enumerate(answers) if _is_win(answer)]
    is_taken_over = race.kind.acts[1] is _take_over
    if is_taken_over:  # whose answer is the same if the zombie had published before
        winners = winners[:1]
    assert len(winners) == 1, (race, answers)
    (side,) = winners
    ref = race.base if is_taken_over and side == 1 else race.refs[side]
    assert store.journal.head(race.branch) == ref, (race, answers)
    for answer in answers:
        if isinstance(answer, Adopted):
            assert (answer.attempt_id, answer.ref) == (f"a{side}", ref), (race, answers)
        elif isinstance(answer, Conflict) and not answer.stale and answer.what == str(race.branch):
            assert answer.found == ref, (race, answers)
    ledger = [row.output_ref for run_id in race.run_ids for row in store.journal.accepted(run_id)]
    is_on_ledger = race.kind.acts[side] in (_accept, _accept_same)
    assert ledger == ([ref] if is_on_ledger else []), (race, answers)
    return ("the first", "the second")[side]


def _is_win(answer: Any) -> bool:
    return isinstance(answer, (Claimed, Accepted)) or answer is True


def _name(answer: Any) -> str:
    return str(answer) if isinstance(answer, bool) else type(answer).__name__


def _in_threads(place: Place, races: list[Race]) -> list[tuple[Any, Any]]:
    barrier = threading.Barrier(2)
    found: dict[int, list[Any]] = {}

    def go(side: int) -> None:
        found[side] = _raced(place, races, side, barrier)

    threads = [threading.Thread(target=go, args=(side,)) for side in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS + len(races))
    return list(zip(found[0], found[1], strict=True))


def _in_processes(place: Place, races: list[Race]) -> list[tuple[Any, Any]]:
    barrier = PROCESSES.Barrier(2)
    ends = [PROCESSES.Pipe(duplex=False) for _ in (0, 1)]
    folders = [place.objects.parent / f"racer {side}" for side in (0, 1)]
    racers = [
        started(folders[side], _send_answers, place, races, side, barrier, ends[side][1])
        for side in (0, 1)
    ]
    found = []
    for folder, racer, (receive, _) in zip(folders, racers, ends, strict=True):
        assert receive.poll(PATIENCE_SECONDS + len(races)), f"it hangs; see {folder}"
        found.append(receive.recv())
        await_end(folder, racer)
    return list(zip(*found, strict=True))


def _send_answers(
    place: Place, races: list[Race], side: int, barrier: Any, answers: Connection
) -> None:
    answers.send(_raced(place, races, side, barrier))


def _raced(place: Place, races: list[Race], side: int, barrier: Any) -> list[Any]:
    store = Store(place)
    answers = []
    try:
        for race in races:
            barrier.wait(PATIENCE_SECONDS)
            # A barrier wakes the one that waits later than the one that came last.
            time.sleep(random.Random(f"{race.number} {side}").uniform(0, _HEAD_START_SECONDS))
            answers.append(race.kind.acts[side](store, race, side))
    finally:
        store.close()
    return answers


# Stores that keep branches themselves


def file_races(
    open_files: Callable[[], VersionedFiles], folder: Path, numbers: range
) -> Counter[str]:
    """Races of claims between two threads, with a handle each; even ones of one work twice.

    Raises:
        AssertionError: not one winner, or the loser was not told who won.
    """
    handles = open_files(), open_files()
    won: Counter[str] = Counter()
    for number in numbers:
        branch = BranchName(handles[0].repository, f"b{number}")
        base = handles[0].create(branch)
        refs = [
            staged(handles[side], branch, folder / f"{number} {side}", {"file": f"{side}"})
            for side in (0, 1)
        ]
        keys = ["work", "work" if number % 2 == 0 else "other work"]

        def claim(side: int) -> Any:
            made = Claim(branch, base, refs[side], keys[side], f'"{side}"', f"a{side}")  # noqa: B023
            return handles[side].claim(made)

        answers = race(2, claim)
        names = sorted(map(_name, answers))
        assert names == (["Adopted", "Claimed"] if number % 2 == 0 else ["Claimed", "Conflict"])
        side = [_is_win(answer) for answer in answers].index(True)
        loser = answers[1 - side]
        assert handles[0].head(branch) == handles[1].head(branch) == refs[side]
        if isinstance(loser, Adopted):
            assert (loser.attempt_id, loser.ref) == (f"a{side}", refs[side])
        won["the " + ("first", "second")[side]] += 1
    for handle in handles:
        handle.close()
    return won
