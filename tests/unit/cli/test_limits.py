from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from handrail.app import Runtime
from handrail.contracts.event import Event
from handrail.contracts.limits import parse_limit
from handrail.keep.base import Lease, RunRecord
from handrail.keep.limits import Holder, SqlLimiter

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call


@pytest.fixture
def held(runtime: Runtime) -> SqlLimiter:
    """Places and a start that were taken by a run which is at work."""
    journal, limiter = runtime.journal, SqlLimiter(runtime.journal)
    now = time.time_ns() // 1_000_000
    record = RunRecord("1songs0000000000", "songs", None, None, "running", 1, now)
    started = Event("task.started", now, "load", "1songs0000000000-1-1")
    lease = Lease(record.run_id, 1, "owner", now + 600_000)
    assert journal.create_run(record, lease, [Event("run.started", now), started]) is None
    for number in (1, 2):
        holder = Holder(record.run_id, 1, f"{record.run_id}-1-{number}")
        assert limiter.take(holder, [parse_limit("db", 2)]) is None
    assert limiter.take(holder, [parse_limit("mail", "1/d")]) is None
    return limiter


def test_without_limits_it_says_so_and_makes_no_home(handrail: Call, home: Path) -> None:
    result = handrail("limits")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No limits" in result.stderr
    assert list(home.iterdir()) == []
    assert json.loads(handrail("limits", "--json").stdout) == []


def test_limits_of_the_settings_are_listed_before_anything_ran(
    handrail: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDRAIL_LIMITS", "db=2;api=10/s;both=4, 10/min")
    lines = handrail("limits").stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["TAG", "api", "both", "db"]
    assert "4, 10/min" in lines[2]


def test_it_shows_who_holds_places_and_when_the_next_start_is_due(
    handrail: Call, held: SqlLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDRAIL_LIMITS", "db=2;api=10/s")
    heading, api, db, mail = handrail("limits").stdout.splitlines()
    assert heading.split() == ["TAG", "LIMIT", "HELD", "NEXT", "START", "BY"]
    assert api.split() == ["api", "10/s"]
    assert db.split() == ["db", "2", "2", "1songs00/load,", "1songs00"]
    assert mail.split()[0] == "mail"
    assert "in 1 d 00 h" in mail


def test_as_json_it_shows_all_of_it(
    handrail: Call, held: SqlLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDRAIL_LIMITS", "db=2, 10/s")
    db, mail = json.loads(handrail("limits", "--json").stdout)
    assert (db["tag"], db["at_once"], db["count"], db["per_seconds"]) == ("db", 2, 10, 1.0)
    assert db["holders"] == [
        {"run_id": "1songs0000000000", "task": "load", "attempt_id": "1songs0000000000-1-1"},
        {"run_id": "1songs0000000000", "task": "", "attempt_id": "1songs0000000000-1-2"},
    ]
    assert 86_000 < mail["due_seconds"] <= 86_401
    assert mail["at_once"] is None


def test_limits_that_cannot_be_read_are_told_with_their_origin(
    handrail: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDRAIL_LIMITS", "db=lots")
    result = handrail("limits")
    assert result.exit_code == 2
    assert "Setting 'limits' from environment HANDRAIL_LIMITS: limit of 'db'" in result.stderr
