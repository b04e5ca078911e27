from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from handrail.app import Runtime
from handrail.contracts.event import Event
from handrail.keep.base import Lease, RunRecord

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call


def _crashed(runtime: Runtime, run_id: str) -> None:
    """Leaves a run as a killed process does: called running, its lease long over."""
    record = RunRecord(run_id, "songs", None, None, "running", 1, 1_700_000_000_000)
    opening = {"workflow": "songs", "inputs": "{}", "tasks": ["clean"], "pipeline": "songs"}
    lease = Lease(run_id, 1, "somebody", 1_700_000_030_000)
    runtime.journal.create_run(
        record, lease, [Event("run.started", 1_700_000_000_000, data=opening)]
    )


def test_without_a_home_there_are_no_runs_and_no_home_is_made(handrail: Call, home: Path) -> None:
    result = handrail("runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"nothing is kept in {home}" in result.stderr
    assert list(home.iterdir()) == []
    assert json.loads(handrail("runs", "--json").stdout) == []


def test_runs_are_listed_newest_first(handrail: Call, songs: str, storm: str) -> None:
    result = handrail("runs")
    heading, first, second = result.stdout.splitlines()
    assert heading.split() == ["RUN", "WORKFLOW", "STATE", "STARTED", "TOOK", "REASON"]
    assert storm.startswith(first.split()[0])
    assert songs.startswith(second.split()[0])
    assert "succeeded" in second
    assert "too [high]\\x1b[2J" in first


def test_the_short_id_of_the_list_finds_the_run(handrail: Call, songs: str, storm: str) -> None:
    for line in handrail("runs").stdout.splitlines()[1:]:
        assert handrail("show", line.split()[0]).exit_code == 0


def test_runs_can_be_chosen(handrail: Call, songs: str, storm: str) -> None:
    failed = json.loads(handrail("runs", "--state", "failed", "--json").stdout)
    assert [run["run_id"] for run in failed] == [storm]
    of_songs = json.loads(handrail("runs", "-w", "songs", "--json").stdout)
    assert [run["run_id"] for run in of_songs] == [songs]
    assert len(json.loads(handrail("runs", "-n", "1", "--json").stdout)) == 1
    assert handrail("runs", "--state", "running").stdout == ""


def test_a_run_whose_process_is_gone_is_listed_as_crashed(
    handrail: Call, runtime: Runtime, songs: str
) -> None:
    _crashed(runtime, "1crashed00000000")
    assert "crashed" in handrail("runs").stdout.splitlines()[-1]
    crashed = json.loads(handrail("runs", "-s", "crashed", "--json").stdout)
    assert [run["run_id"] for run in crashed] == ["1crashed00000000"]
    assert json.loads(handrail("runs", "-s", "running", "--json").stdout) == []


def test_a_state_that_does_not_exist_is_refused(handrail: Call) -> None:
    result = handrail("runs", "--state", "done")
    assert result.exit_code == 2
    assert "expected one of queued, running" in result.stderr
