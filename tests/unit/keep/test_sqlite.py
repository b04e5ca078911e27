from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from handrail.errors import StaleAttemptError
from handrail.ids import Token
from handrail.keep.base import Accepted, Heads, Journal
from handrail.keep.sqlite import SqliteJournal
from handrail.testing.stores import (
    BRANCH,
    A,
    B,
    HeadsContract,
    JournalContract,
    acceptance,
    begin_and_accept,
    event,
    lease,
    race,
    run_record,
    settlement,
    start,
    start_on,
)


class TestSqliteHeads(HeadsContract):
    def make(self, folder: Path) -> SqliteJournal:
        return SqliteJournal(folder / "handrail.db")

    def another(self, heads: Heads, folder: Path) -> Heads:
        return SqliteJournal(folder / "handrail.db")


class TestSqliteJournal(JournalContract):
    def make(self, folder: Path) -> SqliteJournal:
        return SqliteJournal(folder / "handrail.db")

    def another(self, journal: Journal, folder: Path) -> Journal:
        return SqliteJournal(folder / "handrail.db")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "handrail.db", now=lambda: 1234)
    yield journal
    journal.close()


def test_everything_is_there_when_opened_again(journal: SqliteJournal, tmp_path: Path) -> None:
    start_on(journal, A)
    begin_and_accept(journal, acceptance(events=[event("task.succeeded")]))
    journal.append("r1", 1, [event("task.started")])
    journal.close()
    again = SqliteJournal(tmp_path / "handrail.db")
    assert [one.event.kind for one in again.events("r1")] == [
        "run.started",
        "task.succeeded",
        "task.started",
    ]
    assert again.heads() == {BRANCH: B}
    assert again.lease("r1") == lease()
    assert again.accepted("r1") == [acceptance()]
    again.close()


def test_the_files_are_readable_for_their_user_only(journal: SqliteJournal, tmp_path: Path) -> None:
    start(journal)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"handrail.db", "handrail.db-wal", "handrail.db-shm"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_many_handles_opened_at_once_make_one_database(tmp_path: Path) -> None:
    path = tmp_path / "handrail.db"
    journals = race(8, lambda _: SqliteJournal(path))
    for number, journal in enumerate(journals):
        start(journal, run_record(f"r{number}"))
    assert len(journals[0].runs()) == 8
    for journal in journals:
        journal.close()


def test_grouped_commits_do_not_wait_for_the_disk_and_durable_ones_do(
    journal: SqliteJournal,
) -> None:
    connection = journal._database.connection
    level = "PRAGMA synchronous"

    def levels(act: str) -> int:
        return int(connection.execute(level).fetchone()[0])

    start_on(journal, A)
    assert levels("create_run") == 2  # FULL
    journal.append("r1", 1, [event()])
    assert levels("append") == 1  # NORMAL
    journal.accept(acceptance())
    assert levels("accept") == 2
    journal.begin_attempt("r1", "k", Token(1, 1))
    assert levels("begin_attempt") == 1
    journal.settle(settlement())
    assert levels("settle") == 2


def test_times_come_from_the_clock_handed_in(journal: SqliteJournal) -> None:
    start(journal)
    journal.settle(settlement(branch=None))
    assert journal.run("r1").finished_at == 1234


def test_every_move_of_a_head_is_on_record(journal: SqliteJournal, tmp_path: Path) -> None:
    start_on(journal, A)
    begin_and_accept(journal, acceptance())
    connection = sqlite3.connect(tmp_path / "handrail.db")
    rows = connection.execute("SELECT before, after, moved_at, moved_by FROM head_moves")
    assert rows.fetchall() == [(None, A, 1234, ""), (A, B, 1234, "a1")]
    connection.close()


def test_a_reason_may_hold_half_characters(journal: SqliteJournal) -> None:
    start(journal)
    journal.append("r1", 1, [event("x", data={"error": "bad \udc80"})])
    journal.settle(settlement(branch=None, state="failed", reason="bad \udc80"))
    assert journal.run("r1").reason == "bad \\udc80"
    assert journal.events("r1")[1].event.data == {"error": "bad \udc80"}


def test_an_interrupted_transaction_leaves_nothing_behind(journal: SqliteJournal) -> None:
    start_on(journal, A)

    def interrupted() -> None:
        with journal._database.transaction(durable=True) as connection:
            connection.execute("UPDATE heads SET commit_id = 'x'")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert journal.head(BRANCH) == A
    assert begin_and_accept(journal, acceptance()) == Accepted(B)


def test_a_stale_append_names_the_epochs(journal: SqliteJournal) -> None:
    start(journal)
    journal.take_over("r1", lease(), lease(epoch=2), [])
    with pytest.raises(StaleAttemptError, match="epoch 1, run r1 is in epoch 2"):
        journal.append("r1", 1, [event("task.started", task="load")])


def test_a_journal_of_one_run_reads_as_data(journal: SqliteJournal, tmp_path: Path) -> None:
    """The format on disk is documented, so it is looked at with plain SQLite."""
    start(journal)
    journal.append("r1", 1, [event("x", task="t"), event("y", data={"a": 1})])
    connection = sqlite3.connect(tmp_path / "handrail.db")
    rows = connection.execute("SELECT first, count, events FROM events ORDER BY chunk_id")
    assert rows.fetchall()[1] == (
        1,
        2,
        '[["x",1700000000000,"t","",null],["y",1700000000000,"","",{"a":1}]]',
    )
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    connection.close()
    assert os.stat(tmp_path / "handrail.db").st_size > 0
