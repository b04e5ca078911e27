"""Limits in Postgres: what every limiter must do, and what only a server can get wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from handrail.keep.base import Journal
from handrail.keep.limits import Limiter, SqlLimiter
from handrail.keep.postgres import PostgresJournal
from handrail.testing.limits import Clock, LimiterContract, holder, limits
from handrail.testing.stores import run_record, start
from tests.services.postgres import PostgresServer, make_database
from tests.services.proxy import BREAKS, Proxy


class TestPostgresLimiter(LimiterContract):
    @pytest.fixture(autouse=True)
    def database(self, postgres_url: str) -> None:
        self.url = postgres_url

    def make(self, folder: Path, now: Callable[[], int]) -> tuple[Limiter, Journal]:
        journal = PostgresJournal(self.url)
        return SqlLimiter(journal, now=now), journal

    def another(
        self, made: tuple[Limiter, Journal], folder: Path, now: Callable[[], int]
    ) -> tuple[Limiter, Journal]:
        return self.make(folder, now)


@pytest.mark.parametrize("kind", BREAKS)
def test_a_connection_that_breaks_anywhere_takes_no_place_or_start_twice(
    postgres_url: str, kind: str
) -> None:
    proxy = Proxy(int(postgres_url.rpartition("/")[0].rpartition(":")[2]))
    try:
        for first in range(1, 24):
            clock, run_id, tag = Clock(), f"r{first}", f"tag{first}"
            journal = PostgresJournal(proxy.url(postgres_url))
            start(journal, run_record(run_id))
            limiter = SqlLimiter(journal, now=clock)
            proxy.break_at(kind, first, 23)
            assert limiter.take(holder(1, run_id), limits(**{tag: "2, 1/s"})) is None
            assert limiter.take(holder(2, run_id), limits(**{tag: 2})) is None
            assert limiter.take(holder(3, run_id), limits(**{tag: 2})) is not None
            limiter.give_back(holder(1, run_id))
            assert limiter.holders(tag) == [holder(2, run_id)]
            assert limiter.due_seconds(tag) == pytest.approx(1.000001)
            proxy.break_at(kind, 1 << 30, 1 << 30)  # no more, while the next one is opened
            journal.close()
        assert proxy.broken_count >= 23
    finally:
        proxy.close()


def test_a_place_outlives_a_fall_of_the_server(postgres_server: PostgresServer) -> None:
    url = make_database(postgres_server.folder, postgres_server.port)
    clock = Clock()
    journal, other = PostgresJournal(url), PostgresJournal(url)
    start(journal)
    limiter = SqlLimiter(journal, now=clock)
    assert limiter.take(holder(1), limits(db="1, 1/h")) is None
    postgres_server.kill()
    postgres_server.start_again()
    assert SqlLimiter(other, now=clock).holders("db") == [holder(1)]
    assert SqlLimiter(other, now=clock).due_seconds("db") > 3000
    limiter.give_back(holder(1))
    postgres_server.kill()
    postgres_server.start_again()
    assert journal.run("r1").state == "running"  # it is back, and what fell was repeated
    assert limiter.holders("db") == []
    journal.close()
    other.close()
