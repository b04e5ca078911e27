from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call


def test_executions_are_listed_with_their_parents(handrail: Call, songs: str) -> None:
    rows = json.loads(handrail("tracking", "executions", "--json").stdout)
    by_name = {row["pipeline_name"]: row for row in rows}
    assert set(by_name) == {"songs", "songs/count", "songs/write"}
    assert by_name["songs/count"]["parent_execution_id"] == by_name["songs"]["id"]
    lines = handrail("tracking", "executions").stdout.splitlines()
    assert lines[0].startswith("ID")
    assert len(lines) == 4


def test_executions_can_be_chosen(handrail: Call, songs: str, storm: str) -> None:
    words = ("tracking", "executions", "--json")
    failed = json.loads(handrail(*words, "-s", "failed").stdout)
    assert {row["pipeline_name"].partition("/")[0] for row in failed} == {"storm"}
    of_songs = json.loads(handrail(*words, "-p", "songs").stdout)
    assert {row["pipeline_name"] for row in of_songs} == {"songs"}
    assert handrail(*words, "-s", "odd").exit_code == 2
    unknown = handrail(*words, "-p", "nope")
    assert (unknown.exit_code, unknown.stdout) == (1, "")


def test_pipelines_are_listed(handrail: Call, songs: str) -> None:
    rows = json.loads(handrail("tracking", "pipelines", "--json").stdout)
    assert [row["name"] for row in rows] == ["songs", "songs/count", "songs/write"]
    assert "succeeded" in handrail("tracking", "pipelines").stdout
