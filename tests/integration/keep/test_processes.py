"""Stores under several processes, and under processes that are killed."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from handrail.contracts.event import Event
from handrail.contracts.workspace import BranchName
from handrail.keep.base import Commit, Lease, RunRecord
from handrail.keep.collect import collect_garbage, commits_in_use
from handrail.keep.home import Home
from handrail.keep.objects import FileObjects
from handrail.keep.sql import SqlJournal
from handrail.keep.sweep import AttemptFolders
from handrail.keep.trees import Trees
from handrail.parts import journal_at

BRANCH = BranchName("songs")
_WRITER = Path(__file__).with_name("writer.py")
#: Starting a process that talks to a server takes longer.
_KILLS = {"sqlite": 30, "postgresql": 8}


@pytest.fixture(params=list(_KILLS))
def database(request: pytest.FixtureRequest, home: Home) -> str:
    """The URL of the journal's database."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{home.database}"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / ".handrail")


@pytest.fixture
def journal(database: str) -> Iterator[SqlJournal]:
    journal = journal_at(database)
    yield journal
    journal.close()


def _prepare(home: Home, journal: SqlJournal) -> Trees:
    trees = Trees(FileObjects(home.objects))
    first = trees.put_commit(Commit(trees.empty_tree, (), "first", 1))
    trees.objects.flush()
    assert journal.move_head(BRANCH, None, first)
    record = RunRecord("r1", "songs", None, None, "running", 1, 1)
    assert journal.create_run(record, Lease("r1", 1, "test", 1), [Event("run.started", 1)]) is None
    return trees


def _start(mode: str, home: Home, database: str, number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(_WRITER), mode, str(home.path), database, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _read_line(writer: subprocess.Popen[str]) -> str:
    assert writer.stdout
    return writer.stdout.readline()


def _end(writer: subprocess.Popen[str]) -> list[str]:
    """Waits for the end of a process; returns the lines that it still had to say."""
    assert writer.stdin
    assert writer.stdout
    with writer.stdin, writer.stdout:
        lines = writer.stdout.readlines()
        writer.wait(timeout=60)
    return lines


def _compete(mode: str, home: Home, database: str, count: int) -> list[list[list[str]]]:
    """Starts processes together; returns the words of the lines of each."""
    writers = [_start(mode, home, database, number) for number in range(count)]
    for writer in writers:
        assert _read_line(writer) == "ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = []
    for writer in writers:
        said.append([line.split() for line in _end(writer)])
        assert writer.returncode == 0
    return said


def test_a_kill_at_any_instant_loses_nothing_acknowledged(
    home: Home, database: str, journal: SqlJournal
) -> None:
    trees = _prepare(home, journal)
    chance = random.Random(20240607)
    accepted: dict[str, str] = {}
    appended: list[str] = []
    kills = _KILLS[database.partition(":")[0]]
    for number in range(kills):
        writer = _start("publish", home, database, number)
        assert _read_line(writer) == "ready\n"
        lines = [_read_line(writer) for _ in range(chance.randint(0, 5))]
        time.sleep(chance.uniform(0, 0.02))  # the instant is the point
        writer.kill()
        lines += _end(writer)
        assert writer.returncode == -signal.SIGKILL
        for line in lines:
            word, key, *refs = line.split()
            if word == "appended":
                appended.append(key)
            else:
                accepted[key] = refs[0]
        _check(database, trees, accepted, appended)
    assert len(accepted) > kills


def _check(database: str, trees: Trees, accepted: dict[str, str], appended: list[str]) -> None:
    journal = journal_at(database)
    rows = journal.accepted("r1")
    ledger = {row.logical_key: row.output_ref for row in rows}
    assert len(ledger) == len(rows)
    assert accepted.items() <= ledger.items()

    head = journal.head(BRANCH)
    assert head is not None
    chain = [commit_id for commit_id, _ in trees.log(head)]
    assert chain[:-1] == [row.output_ref for row in reversed(rows)]

    events = journal.events("r1")
    assert [stored.position for stored in events] == list(range(len(events)))
    kinds = [(stored.event.kind, stored.event.task) for stored in events]
    for key in ledger:
        assert kinds.count(("task.succeeded", key)) == 1
    for key in appended:
        assert kinds.count(("task.started", key)) == 3

    content = dict(trees.walk(trees.commit(head).tree))
    assert len(rows) == 0 or "large" in content
    for digest in trees.objects.digests():
        assert hashlib.sha256(trees.objects.read_bytes(digest)).hexdigest() == digest
    journal.close()


def test_what_the_killed_left_is_swept_and_collected(
    home: Home, database: str, journal: SqlJournal
) -> None:
    trees = _prepare(home, journal)
    writer = _start("publish", home, database, 1)
    while not _read_line(writer).startswith("accepted 1-3"):
        assert writer.poll() is None
    folders = AttemptFolders(home.attempts)
    assert folders.sweep() == []  # the writer lives
    writer.kill()
    _end(writer)
    folders.sweep()
    assert list(home.attempts.iterdir()) == []

    objects = FileObjects(home.objects)
    later = (time.time_ns() // 1_000_000) + 1000
    roots = commits_in_use(journal, journal)
    collect_garbage(trees, objects, roots, later)
    objects.delete_abandoned(later)
    assert list((home.objects / "incoming").iterdir()) == []
    head = journal.head(BRANCH)
    assert head is not None
    for _, commit in trees.log(head):
        for _, entry in trees.walk(commit.tree):
            assert entry.digest in objects


def test_of_four_processes_one_wins_each_move_of_a_branch(
    home: Home, database: str, journal: SqlJournal
) -> None:
    trees = _prepare(home, journal)
    said = _compete("compete", home, database, 4)
    won = [(before, after) for lines in said for word, before, after in lines if word == "won"]
    lost = [before for lines in said for word, before, _ in lines if word == "lost"]
    assert len({before for before, _ in won}) == len(won)  # one winner for each ref
    assert set(lost) <= {before for before, _ in won}
    head = journal.head(BRANCH)
    assert head is not None
    chain = [commit_id for commit_id, _ in trees.log(head)]
    assert len(chain) == len(won) + 1
    assert {after for _, after in won} == set(chain[:-1])
    assert len(journal.accepted("r1")) == len(won)


def test_of_four_processes_one_wins_each_work_and_the_others_adopt(
    home: Home, database: str, journal: SqlJournal
) -> None:
    _prepare(home, journal)
    said = _compete("same", home, database, 4)
    rows = journal.accepted("r1")
    winners = {row.logical_key: row.attempt_id for row in rows}
    assert len(winners) == len(rows) == 40
    told = [line for lines in said for line in lines]
    assert len(told) == 160
    assert sum(word == "won" for word, _, _ in told) == 40
    for _, step, winner in told:
        assert winners[f"work-{step}"] == winner
