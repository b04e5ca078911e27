"""The journal in Postgres when connections break and the server falls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from handrail.contracts.workspace import BranchName
from handrail.errors import StoreError
from handrail.ids import Token
from handrail.keep.base import Accepted, Watermark
from handrail.keep.memory import MemoryJournal
from handrail.keep.postgres import PostgresJournal
from handrail.testing.stores import (
    BRANCH,
    A,
    B,
    C,
    acceptance,
    begin_and_accept,
    event,
    lease,
    run_record,
    settlement,
    start,
    start_on,
)
from tests.services.postgres import PostgresServer, make_database
from tests.services.proxy import BREAKS, Proxy

#: More than one call needs. In so many plays each request is broken in one or another.
STEP = 23


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    proxy = Proxy(int(url.rpartition("/")[0].rpartition(":")[2]))
    try:
        yield proxy
    finally:
        proxy.close()


def play(journal: Any, name: str) -> list[object]:
    """Calls every method that writes, twice where it matters; what was answered and is there."""
    run_id, branch = f"run-{name}", BranchName("songs", name)
    record, held = run_record(run_id, workflow=name, key="monday"), lease(run_id)
    resumed = lease(run_id, epoch=2, owner="other")
    said: list[object] = [
        journal.move_head(branch, None, A),
        journal.create_run(record, held, [event()]),
        journal.append(run_id, 1, [event("x"), event("y")]),
        journal.begin_attempt(run_id, "k", Token(1, 1)),
        journal.accept(acceptance(run_id=run_id, branch=branch, events=[event("done")])),
        journal.renew(held, 9_000),
        journal.append(run_id, 1, [event("z")]),
    ]
    seen = journal.lease(run_id)
    said += [
        journal.take_over(run_id, seen, resumed, [event("run.resumed")]),
        journal.begin_attempt(run_id, "k", Token(2, 1)),
        journal.begin_attempt(run_id, "l", Token(2, 2)),
        journal.accept(
            acceptance(
                run_id=run_id,
                logical_key="l",
                token=Token(2, 2),
                branch=branch,
                input_ref=B,
                output_ref=C,
                events=[event("done")],
            )
        ),
        journal.append(run_id, 2, [event("last")]),
        journal.settle(
            settlement(
                run_id,
                epoch=2,
                branch=branch,
                input_ref=C,
                output_ref=A,
                watermark=Watermark(name, None, "7"),
            )
        ),
        journal.create_run(run_record(f"{run_id}-2", workflow=name, key="monday"), held, []),
        journal.events(run_id),
        journal.accepted(run_id),
        journal.head(branch),
        journal.watermark(name),
        journal.lease(run_id),
        [event.key for event in journal.outbox(0, 1 << 20)[0] if event.run_id == run_id],
    ]
    return said


def moves(url: str, branch: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT before, after FROM handrail.head_moves WHERE branch = %s ORDER BY move_id",
            (branch,),
        ).fetchall()


@pytest.mark.parametrize("kind", BREAKS)
def test_a_connection_that_breaks_anywhere_changes_no_answer_and_doubles_nothing(
    postgres_url: str, kind: str
) -> None:
    expected = play(MemoryJournal(now=lambda: 1234), "name")
    with proxied(postgres_url) as proxy:
        for first in range(1, STEP + 1):
            name = f"{first:04}"
            journal = PostgresJournal(proxy.url(postgres_url), now=lambda: 1234)
            proxy.break_at(kind, first, STEP)
            said = play(journal, name)
            journal.close()
            assert repr(said) == repr(expected).replace("name", name), f"{kind} {first}"
            assert moves(postgres_url, name) == [(None, A), (A, B), (B, C), (C, A)]
        assert proxy.broken_count > 3 * STEP


def test_a_server_that_cannot_be_reached_any_more_is_told(postgres_url: str) -> None:
    with proxied(postgres_url) as proxy:
        journal = PostgresJournal(proxy.url(postgres_url), patience_seconds=0.2)
        start(journal)
        proxy.close()
        with pytest.raises(StoreError, match="does not answer"):
            journal.append("r1", 1, [event()])
        with pytest.raises(StoreError, match="does not answer"):
            journal.runs()
        journal.close()


def test_a_connection_that_the_server_ends_is_replaced(postgres_url: str) -> None:
    journal = PostgresJournal(postgres_url)
    start_on(journal, A)
    for _ in range(3):
        journal._server.transact(lambda _: None, durable=True)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'handrail' AND datname = current_database()"
            )
        journal.append("r1", 1, [event("x")])
    assert begin_and_accept(journal, acceptance()) == Accepted(B)
    assert [one.event.kind for one in journal.events("r1")] == ["run.started", "x", "x", "x"]
    journal.close()


def test_a_server_that_fell_loses_nothing_that_a_living_process_was_told(
    postgres_server: PostgresServer,
) -> None:
    url = make_database(postgres_server.folder, postgres_server.port)
    journal, other = PostgresJournal(url), PostgresJournal(url)
    start_on(journal, A)
    told: list[str] = []
    while len(other.events("r1")) == 1 + len(told):
        assert len(told) < 15, "the server lost nothing, three times"
        for _ in range(5):
            told.append(f"before {len(told)}")
            journal.append("r1", 1, [event(told[-1])])
        journal.begin_attempt("r1", "k", Token(1, 1))
        postgres_server.kill()
        postgres_server.start_again()
    assert begin_and_accept(journal, acceptance()) == Accepted(B)
    journal.append("r1", 1, [event("after")])
    kinds = [one.event.kind for one in other.events("r1")]
    assert kinds == ["run.started", *told, "after"]
    assert other.outbox(0)[0] == other.events("r1")
    journal.close()
    other.close()


def test_what_is_told_of_an_epoch_that_is_over_is_not_repeated(
    postgres_server: PostgresServer,
) -> None:
    url = make_database(postgres_server.folder, postgres_server.port)
    journal, other = PostgresJournal(url), PostgresJournal(url)
    start(journal)
    journal.append("r1", 1, [event("lost")])
    postgres_server.kill()
    postgres_server.start_again()
    assert other.take_over("r1", lease(), lease(epoch=2), [event("run.resumed")])
    assert journal.run("r1").epoch == 2
    assert [one.event.kind for one in other.events("r1")] == ["run.started", "run.resumed"]
    journal.close()
    other.close()


def test_a_server_that_is_started_again_is_waited_for(postgres_server: PostgresServer) -> None:
    url = make_database(postgres_server.folder, postgres_server.port)
    journal = PostgresJournal(url)
    start_on(journal, A)
    journal.begin_attempt("r1", "k", Token(1, 1))
    postgres_server.kill()
    asking = threading.Event()
    answers: list[object] = []

    def ask() -> None:
        asking.set()
        answers.append(journal.accept(acceptance()))

    thread = threading.Thread(target=ask)
    thread.start()
    assert asking.wait(20)
    postgres_server.start_again()
    thread.join(60)
    assert answers == [Accepted(B)]
    assert journal.head(BRANCH) == B
    journal.close()
