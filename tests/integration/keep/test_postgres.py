"""The journal in Postgres: what every journal must do, and what only a server can get wrong."""

from __future__ import annotations

import re
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from handrail.errors import (
    RunNotFound,
    RuntimeConfigError,
    StaleAttemptError,
    StoreCorruptError,
    StoreError,
    StoreReadOnlyError,
    StoreVersionError,
)
from handrail.ids import Token
from handrail.keep.base import Accepted, Adopted, Conflict, Heads, Journal
from handrail.keep.postgres import PostgresJournal
from handrail.keep.postgres_server import UNFLUSHED_COUNT, Session
from handrail.keep.reuse import SqlKeptResults
from handrail.testing.reuse import KeptResultsContract
from handrail.testing.stores import (
    BRANCH,
    OTHER,
    A,
    B,
    C,
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
from tests.services.postgres import GUARDED, PASSWORD, PostgresServer, make_database


class TestPostgresHeads(HeadsContract):
    @pytest.fixture(autouse=True)
    def database(self, postgres_url: str) -> None:
        self.url = postgres_url

    def make(self, folder: Path) -> PostgresJournal:
        return PostgresJournal(self.url)

    def another(self, heads: Heads, folder: Path) -> Heads:
        return PostgresJournal(self.url)


class TestPostgresJournal(JournalContract):
    @pytest.fixture(autouse=True)
    def database(self, postgres_url: str) -> None:
        self.url = postgres_url

    def make(self, folder: Path) -> PostgresJournal:
        return PostgresJournal(self.url)

    def another(self, journal: Journal, folder: Path) -> Journal:
        return PostgresJournal(self.url)


class TestPostgresKeptResults(KeptResultsContract):
    @pytest.fixture(autouse=True)
    def database(self, postgres_url: str) -> None:
        self.url = postgres_url

    def make(self, folder: Path) -> SqlKeptResults:
        return SqlKeptResults(PostgresJournal(self.url))


@pytest.fixture
def journal(postgres_url: str) -> Iterator[PostgresJournal]:
    journal = PostgresJournal(postgres_url, now=lambda: 1234)
    yield journal
    journal.close()


def test_everything_is_there_when_opened_again(journal: PostgresJournal, postgres_url: str) -> None:
    start_on(journal, A)
    begin_and_accept(journal, acceptance(events=[event("task.succeeded")]))
    journal.append("r1", 1, [event("task.started")])
    journal.close()
    again = PostgresJournal(postgres_url)
    assert [one.event.kind for one in again.events("r1")] == [
        "run.started",
        "task.succeeded",
        "task.started",
    ]
    assert again.heads() == {BRANCH: B}
    assert again.lease("r1") == lease()
    assert again.accepted("r1") == [acceptance()]
    again.close()


def test_a_closed_journal_says_so(journal: PostgresJournal) -> None:
    journal.close()
    journal.close()
    with pytest.raises(StoreError, match="closed"):
        journal.runs()


def test_the_threads_of_one_journal_win_and_lose_like_processes(journal: PostgresJournal) -> None:
    start_on(journal, A)
    journal.begin_attempt("r1", "k", Token(1, 1))
    answers = race(
        12, lambda n: journal.accept(acceptance(attempt_id=f"a{n}", output_ref=f"{n:064x}"))
    )
    assert [type(answer) for answer in answers].count(Accepted) == 1
    assert [type(answer) for answer in answers].count(Adopted) == 11


def test_times_come_from_the_clock_handed_in(journal: PostgresJournal) -> None:
    start(journal)
    journal.settle(settlement(branch=None))
    assert journal.run("r1").finished_at == 1234


def test_a_reason_may_hold_what_a_database_cannot(journal: PostgresJournal) -> None:
    start(journal)
    journal.append("r1", 1, [event("x", data={"error": "bad \udc80\0"})])
    journal.settle(settlement(branch=None, state="failed", reason="bad \udc80\0"))
    assert journal.run("r1").reason == "bad \\udc80\\x00"
    assert journal.events("r1")[1].event.data == {"error": "bad \udc80\0"}


@pytest.mark.parametrize("name", ["a\0b", "half \udc80"])
def test_a_name_that_a_database_cannot_hold_is_told(journal: PostgresJournal, name: str) -> None:
    with pytest.raises(StoreError, match=r"postgresql://handrail@127\.0\.0\.1"):
        start(journal, run_record(workflow=name))
    start(journal)  # and the connection is none the worse


# Several writers at once


def test_a_chunk_that_is_committed_late_is_not_passed_over(journal: PostgresJournal) -> None:
    for run_id in ("r1", "r2"):
        start(journal, run_record(run_id))
    _, cursor = journal.outbox(0)
    written, may_commit = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        journal._append(session, "r1", 1, [event("early")])
        written.set()
        assert may_commit.wait(20)

    thread = threading.Thread(
        target=journal._server.transact, args=(slow,), kwargs={"durable": True}
    )
    thread.start()
    assert written.wait(20)
    journal.append("r2", 1, [event("late")])
    shown, cursor = journal.outbox(cursor)
    assert [one.event.kind for one in shown] == ["late"]
    may_commit.set()
    thread.join()
    shown, cursor = journal.outbox(cursor)
    assert [one.event.kind for one in shown] == ["early"]
    assert journal.outbox(cursor) == ([], cursor)


def test_readers_of_the_outbox_agree_on_its_order(
    journal: PostgresJournal, postgres_url: str
) -> None:
    others = [PostgresJournal(postgres_url) for _ in range(2)]
    for number in range(4):
        start(journal, run_record(f"r{number}"))
    done = threading.Event()

    def read(reader: PostgresJournal) -> list[str]:
        keys: list[str] = []
        cursor = 0
        while True:
            is_last = done.is_set()
            while True:
                events, following = reader.outbox(cursor, limit=7)
                if following == cursor:
                    break
                keys += [one.key for one in events]
                cursor = following
            if is_last:
                return keys

    def act(number: int) -> list[str]:
        if number >= 4:
            return read(others[number - 4])
        for turn in range(25):
            journal.append(f"r{number}", 1, [event(f"{turn}")])
        return []

    def last(number: int) -> list[str]:
        try:
            return act(number)
        finally:
            if number == 0:
                done.set()

    first, second = race(6, last)[4:]
    tail = read(others[0])
    assert tail[: len(first)] == first
    assert tail[: len(second)] == second
    assert len(tail) == len(set(tail)) == 104
    for number in range(4):
        own = [key for key in tail if key.startswith(f"r{number}/")]
        assert own == [f"r{number}/{place}" for place in range(26)]
    for other in others:
        other.close()


def wait_until_over_or_waiting(thread: threading.Thread, url: str) -> None:
    """Until `thread` has ended, or some transaction waits for a lock."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as connection:
        while thread.is_alive() and not connection.execute(waiting).fetchone():
            thread.join(0.005)


def test_a_move_that_is_committed_late_is_seen_to_have_come_between(
    journal: PostgresJournal, postgres_url: str
) -> None:
    """Who begins while a move is under way must not take it for an earlier one."""
    start_on(journal, A)
    moved, may_commit = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        journal._lock_moves(session)
        assert journal._move(session, BRANCH, A, C, moved_by="slow")
        moved.set()
        assert may_commit.wait(20)

    threads = [
        threading.Thread(target=journal._server.transact, args=(slow,), kwargs={"durable": True}),
        threading.Thread(target=journal.move_head, args=(OTHER, None, A)),
    ]
    threads[0].start()
    assert moved.wait(20)
    threads[1].start()  # its number is larger, so it must not be seen before the slow one
    wait_until_over_or_waiting(threads[1], postgres_url)
    journal.begin_attempt("r1", "k", Token(1, 1))
    may_commit.set()
    for thread in threads:
        thread.join()
    assert journal.move_head(BRANCH, C, A)
    answer = journal.accept(acceptance())
    assert isinstance(answer, Conflict)
    assert journal.head(BRANCH) == A


def test_runs_do_not_wait_for_each_other(journal: PostgresJournal) -> None:
    for run_id in ("r1", "r2"):
        start(journal, run_record(run_id))

    def busy(session: Session) -> None:
        journal._lock_run(session, "r1")
        journal.append("r2", 1, [event("x")])
        assert begin_and_accept(journal, acceptance(run_id="r2", branch=None)) == Accepted(B)

    journal._server.transact(busy, durable=True)
    assert len(journal.events("r2")) == 2


def test_many_processes_that_come_at_once_make_one_set_of_tables(postgres_url: str) -> None:
    journals = race(6, lambda _: PostgresJournal(postgres_url))
    for number, journal in enumerate(journals):
        start(journal, run_record(f"r{number}"))
    assert len(journals[0].runs()) == 6
    for journal in journals:
        journal.close()


# Classes of commit


def test_grouped_commits_do_not_wait_for_the_disk_and_durable_ones_do(
    journal: PostgresJournal,
) -> None:
    def level(session: Session) -> str:
        row = session.execute("SHOW synchronous_commit").fetchone()
        assert row
        return str(row[0])

    assert journal._server.transact(level, durable=False) == "off"
    assert journal._server.transact(level, durable=True) == "on"
    assert journal._server.transact(level, durable=False) == "off"


def test_whoever_wants_more_than_the_local_disk_gets_it(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = 'remote_apply'")
    try:
        journal = PostgresJournal(postgres_url)
        levels = journal._server.transact(
            lambda session: session.execute("SHOW synchronous_commit").fetchone(), durable=True
        )
        assert levels == ("remote_apply",)
        journal.close()
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("ALTER ROLE CURRENT_USER RESET synchronous_commit")


def test_what_is_remembered_for_a_fall_of_the_server_stays_little(
    journal: PostgresJournal,
) -> None:
    start(journal)
    for number in range(UNFLUSHED_COUNT * 2 + 10):
        journal.append("r1", 1, [event(f"{number}")])
    assert len(journal._server._unflushed) <= UNFLUSHED_COUNT
    begin_and_accept(journal, acceptance(branch=None))
    assert len(journal._server._unflushed) == 0


def test_what_was_refused_is_not_remembered(journal: PostgresJournal) -> None:
    start(journal)
    journal.take_over("r1", lease(), lease(epoch=2), [])
    with pytest.raises(StaleAttemptError):
        journal.append("r1", 1, [event("late")])
    with pytest.raises(RunNotFound):
        journal.append("r9", 1, [event("late")])
    with pytest.raises(StaleAttemptError):
        journal.begin_attempt("r1", "k", Token(1, 1))
    assert len(journal._server._unflushed) == 0


# Opening


def test_a_database_of_a_newer_handrail_is_refused(
    journal: PostgresJournal, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("UPDATE handrail.format SET version = 3")
    with pytest.raises(StoreVersionError, match=r"127\.0\.0\.1:\d+/test_\w+ has format 3"):
        PostgresJournal(postgres_url)


def test_a_database_of_an_older_handrail_is_brought_to_the_present_format(
    journal: PostgresJournal, postgres_url: str
) -> None:
    start(journal)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE handrail.runs DROP COLUMN cancel_reason")
        connection.execute(
            "DROP TABLE handrail.kept_results, handrail.places, handrail.rates, handrail.claims"
        )
        connection.execute("UPDATE handrail.format SET version = 1")
    for _ in range(2):
        again = PostgresJournal(postgres_url)
        assert again.cancel_reason("r1") is None
        assert again.run("r1").state == "running"
        again.close()


def test_a_schema_of_another_program_is_left_alone(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA handrail")
        connection.execute("CREATE TABLE handrail.songs (title TEXT)")
    with pytest.raises(StoreCorruptError, match="another program"):
        PostgresJournal(postgres_url)


def test_tables_of_others_in_the_database_are_no_matter(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA songs")
        connection.execute("CREATE TABLE songs.runs (title TEXT)")
    journal = PostgresJournal(postgres_url)
    start(journal)
    journal.close()


def test_a_user_who_may_only_read_reads(journal: PostgresJournal, postgres_url: str) -> None:
    start(journal)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = postgres_url.rpartition("/")[2]
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    reader = PostgresJournal(postgres_url)
    assert [run.run_id for run in reader.runs()] == ["r1"]
    with pytest.raises(StoreReadOnlyError, match="read-only transaction"):
        start(reader, run_record("r2"))
    with pytest.raises(StoreReadOnlyError, match="read-only transaction"):
        reader.append("r1", 1, [event()])
    reader.close()


def test_a_user_without_the_right_to_make_tables_is_told(postgres_url: str) -> None:
    guarded = postgres_url.replace("//handrail@", f"//{GUARDED}:{PASSWORD}@")
    with pytest.raises(StoreReadOnlyError, match="permission denied for database"):
        PostgresJournal(guarded)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("/test_", "/no_such_"), 'database "no_such_'),
        ((r":\d+/", ":1/"), "does not answer"),
        ((f":{PASSWORD}@", ":wr0ng-p4ss@"), "password authentication failed"),
    ],
)
def test_a_server_that_cannot_be_used_is_named_without_the_password(
    postgres_url: str, change: tuple[str, str], said: str
) -> None:
    url = re.sub(*change, postgres_url.replace("//handrail@", f"//{GUARDED}:{PASSWORD}@"))
    with pytest.raises(StoreError, match=said) as caught:
        PostgresJournal(url)
    told = "".join(traceback.format_exception(caught.value))
    assert f"postgresql://{GUARDED}@127.0.0.1" in told
    assert PASSWORD not in told
    assert "wr0ng-p4ss" not in told


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cr%zzet@h/d", "postgresql://u:s3cret@h/d?nope=1"]
)
def test_an_address_that_cannot_be_read_is_told_without_the_password(url: str) -> None:
    with pytest.raises(RuntimeConfigError, match="cannot be read") as caught:
        PostgresJournal(url)
    assert "s3cr" not in "".join(traceback.format_exception(caught.value))


def test_a_database_that_cannot_hold_every_letter_is_refused(
    postgres_server: PostgresServer,
) -> None:
    options = "ENCODING 'SQL_ASCII' TEMPLATE template0"
    url = make_database(postgres_server.folder, postgres_server.port, options)
    with pytest.raises(StoreError, match="keeps text as SQL_ASCII"):
        PostgresJournal(url)
