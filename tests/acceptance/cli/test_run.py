from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.cli.conftest import Call

Go = Callable[[str], None]
Trace = Callable[[], list[str]]


@pytest.mark.parametrize("name", ["songs.py", "songs:songs"])
def test_a_workflow_is_found_and_run(handrail: Call, go: Go, name: str) -> None:
    go("")
    result = handrail("run", name)
    assert result.returncode == 0, result.stderr
    fields = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert fields["state"] == "succeeded"
    assert fields["result"] == '{"third": 3}'
    assert "✓ third" in result.stderr
    assert f"run {fields['run']}  ✓ succeeded in" in result.stderr.splitlines()[-1]
    assert handrail("show", fields["run"]).returncode == 0


def test_standard_output_is_the_outcome_alone(handrail: Call, go: Go) -> None:
    go("")
    result = handrail("run", "songs.py", "--json", "-i", "number=40")
    outcome = json.loads(result.stdout)
    assert outcome["result"] == {"third": 42}
    assert (outcome["workflow"], outcome["state"]) == ("songs", "succeeded")
    assert "[first] prints" in result.stderr


def test_inputs_come_from_standard_input(handrail: Call, go: Go) -> None:
    go("")
    result = handrail("run", "songs.py", "--json", "-q", "--inputs", "-", stdin='{"number": 5}')
    assert json.loads(result.stdout)["result"] == {"third": 7}


def test_a_failed_run_says_why_and_what_to_do(handrail: Call, go: Go) -> None:
    go("fail")
    result = handrail("run", "songs.py")
    fields = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert result.returncode == 1
    assert fields["state"] == "failed"
    assert fields["reason"] == "task 'second' failed: ValueError: no [more] songs"
    assert f"handrail show {fields['run']}\n" in result.stderr
    assert f"handrail resume {fields['run']}\n" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in handrail("show", fields["run"]).stdout


def test_quiet_means_quiet(handrail: Call, go: Go) -> None:
    go("")
    assert handrail("run", "songs.py", "-q").stderr == "[first] prints\n"


def test_a_key_runs_once(handrail: Call, go: Go, trace: Trace) -> None:
    go("")
    first = json.loads(handrail("run", "songs.py", "--json", "--key", "monday").stdout)
    again = json.loads(handrail("run", "songs.py", "--json", "--key", "monday").stdout)
    assert (again["run_id"], again["result"]) == (first["run_id"], first["result"])
    assert trace() == ["first", "second", "third"]


def test_a_run_in_memory_leaves_nothing(handrail: Call, go: Go, folder: Path) -> None:
    go("")
    result = handrail("run", "songs.py", "--journal", "memory", "--json")
    assert json.loads(result.stdout)["result"] == {"third": 3}
    assert not (folder / ".handrail" / "handrail.db").exists()


def test_retries_and_groups_are_shown(handrail: Call, folder: Path) -> None:
    (folder / "wide.py").write_text(
        """
from handrail import RetryPolicy, task, workflow
tries = []
with workflow("wide") as wide:
    @task(retry_policy=RetryPolicy(max_retries=2, initial_interval=0.01))
    def flaky() -> int:
        tries.append(1)
        if len(tries) < 2:
            raise OSError("line is busy")
        return 1

    @task
    def calm() -> int:
        return 2

    flaky | calm
"""
    )
    result = handrail("run", "wide.py", "--json")
    assert json.loads(result.stdout)["result"] == {"flaky": 1, "calm": 2}
    assert "↻ flaky: OSError: line is busy; again in" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nope.py",), "nope.py"),
        (("no.such.module",), "no.such.module"),
        (("songs.py:nope",), "holds no workflow 'nope'"),
        (("songs.py", "--start", "nope"), "nope"),
        (("songs.py", "--journal", "paper"), "paper"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_name_is_one_clear_line(handrail: Call, words: tuple[str, ...], told: str) -> None:
    result = handrail("run", *words)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert told in line


def test_a_module_that_cannot_be_imported_says_why(handrail: Call, folder: Path) -> None:
    (folder / "broken.py").write_text("import no_such_thing\n")
    result = handrail("run", "broken.py")
    assert result.returncode == 2
    assert "No module named 'no_such_thing'" in result.stderr
    assert "Traceback" in handrail("run", "broken.py", "--debug").stderr


def test_a_workflow_is_drawn(handrail: Call, go: Go) -> None:
    drawn = handrail("graph", "songs.py").stdout
    assert drawn.index("first") < drawn.index("second") < drawn.index("third")
    assert handrail("graph", "songs.py", "--format", "mermaid").stdout.startswith("flowchart")
    assert handrail("graph", "songs.py", "--format", "oil").returncode == 2


def test_a_run_is_drawn_with_its_states(handrail: Call, go: Go) -> None:
    go("fail")
    run_id = json.loads(handrail("run", "songs.py", "--json").stdout)["run_id"]
    drawn = handrail("graph", run_id).stdout
    for what in ("✓ first", "✗ second", "· third"):
        assert what in drawn
