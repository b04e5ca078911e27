from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.cli.conftest import Call, Process, Start

Go = Callable[[str], None]
Trace = Callable[[], list[str]]


def _wait_for_second(process: Process, trace: Trace) -> None:
    """Until the second body runs: by then the first one's end is in the journal."""
    until = time.monotonic() + 60
    while "second" not in trace():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "the second task did not start"
        time.sleep(0.02)


def _runs(handrail: Call) -> list[tuple[str, str]]:
    told = json.loads(handrail("runs", "--json").stdout)
    return [(run["run_id"], run["state"]) for run in told]


def test_a_killed_run_is_finished_by_resume(
    handrail: Call, start: Start, go: Go, trace: Trace
) -> None:
    process = start("run", "songs.py")
    _wait_for_second(process, trace)
    process.kill()
    process.wait(30)
    ((run_id, state),) = _runs(handrail)
    assert state == "crashed"
    shown = json.loads(handrail("show", run_id, "--json").stdout)
    assert [task["state"] for task in shown["tasks"]] == ["succeeded", "crashed", "queued"]
    go("")
    result = handrail("resume", "--json")
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout)
    assert (outcome["run_id"], outcome["result"]) == (run_id, {"third": 3})
    assert f"Resuming run {run_id} of songs, crashed" in result.stderr
    assert "1 kept from before" in result.stderr
    assert trace().count("first") == 1
    assert _runs(handrail) == [(run_id, "succeeded")]


def test_an_interrupted_run_says_how_to_go_on(
    handrail: Call, start: Start, go: Go, trace: Trace
) -> None:
    process = start("run", "songs.py")
    _wait_for_second(process, trace)
    process.send_signal(signal.SIGINT)
    go("")
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    ((run_id, state),) = _runs(handrail)
    assert state == "cancelled"
    assert run_id in stdout
    assert f"handrail resume {run_id}" in stderr
    assert "Traceback" not in stderr
    assert handrail("resume", run_id[:12]).returncode == 0
    assert trace().count("first") == 1


def test_a_failed_run_is_finished_once_mended(handrail: Call, go: Go, trace: Trace) -> None:
    go("fail")
    run_id = json.loads(handrail("run", "songs.py", "--json").stdout)["run_id"]
    go("")
    assert json.loads(handrail("resume", run_id, "--json").stdout)["result"] == {"third": 3}
    assert trace() == ["first", "second", "second", "third"]


def test_a_crashed_run_goes_before_a_newer_failed_one(
    handrail: Call, start: Start, go: Go, trace: Trace
) -> None:
    process = start("run", "songs.py")
    _wait_for_second(process, trace)
    process.kill()
    process.wait(30)
    go("fail")
    handrail("run", "songs.py")
    (_, failed), (crashed_id, crashed) = _runs(handrail)
    assert (failed, crashed) == ("failed", "crashed")
    go("")
    assert json.loads(handrail("resume", "--json").stdout)["run_id"] == crashed_id


def test_nothing_to_resume_is_no_failure(handrail: Call, go: Go) -> None:
    result = handrail("resume")
    assert (result.returncode, result.stdout) == (0, "")
    assert "Nothing to resume" in result.stderr
    go("")
    run_id = json.loads(handrail("run", "songs.py", "--json").stdout)["run_id"]
    assert handrail("resume").returncode == 0
    assert json.loads(handrail("resume", run_id, "--json").stdout)["result"] == {"third": 3}


def test_a_run_that_goes_on_is_not_resumed(
    handrail: Call, start: Start, go: Go, trace: Trace
) -> None:
    process = start("run", "songs.py")
    _wait_for_second(process, trace)
    ((run_id, state),) = _runs(handrail)
    assert state == "running"
    result = handrail("resume", run_id)
    assert (result.returncode, result.stdout) == (1, "")
    assert f"Run {run_id} is held by process {process.pid} on " in result.stderr
    go("")
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_logs_follow_a_run_to_its_end(handrail: Call, start: Start, go: Go, trace: Trace) -> None:
    process = start("run", "songs.py")
    _wait_for_second(process, trace)
    ((run_id, _),) = _runs(handrail)
    following = start("logs", "-f", run_id)
    assert following.stdout is not None
    assert following.stdout.readline().endswith("first  | [first] prints\n")
    go("")
    process.communicate(timeout=30)
    following.communicate(timeout=30)
    assert following.returncode == 0


def test_a_script_that_runs_itself_when_loaded_is_resumed(
    handrail: Call, folder: Path, go: Go, trace: Trace
) -> None:
    script = folder / "unguarded.py"
    script.write_text((folder / "songs.py").read_text() + "\nprint(songs.execute(number=7))\n")
    go("fail")
    assert handrail(command=("unguarded.py",)).returncode == 1
    go("")
    result = handrail("resume", "--json")
    assert json.loads(result.stdout)["result"] == {"third": 9}
    assert trace() == ["first", "second", "second", "third"]


def test_a_workflow_that_moved_is_named(handrail: Call, folder: Path, go: Go) -> None:
    go("fail")
    run_id = json.loads(handrail("run", "songs.py", "--json").stdout)["run_id"]
    (folder / "songs.py").rename(folder / "tunes.py")
    lost = handrail("resume", run_id)
    assert lost.returncode == 2
    assert "songs.py" in lost.stderr
    go("")
    assert handrail("resume", run_id, "--workflow", "tunes.py").returncode == 0


def test_a_run_is_cancelled_from_another_process(
    handrail: Call, start: Start, go: Go, trace: Trace
) -> None:
    process = start("run", "songs.py")
    _wait_for_second(process, trace)
    ((run_id, _),) = _runs(handrail)

    result = handrail("cancel", run_id, "--reason", "wrong songs", "--by", "Ada")

    assert result.returncode == 0, result.stderr
    assert f"Run {run_id} is cancelled" in result.stdout
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "wrong songs (asked by Ada)" in stderr
    assert _runs(handrail) == [(run_id, "cancelled")]
    go("")
    assert handrail("resume", run_id).returncode == 0
    assert _runs(handrail) == [(run_id, "succeeded")]


def test_a_run_that_has_ended_is_not_cancelled(handrail: Call, go: Go) -> None:
    go("")
    assert handrail("run", "songs.py").returncode == 0
    ((run_id, _),) = _runs(handrail)
    result = handrail("cancel", run_id, "--json")
    assert result.returncode == 1
    assert json.loads(result.stdout) == {"run_id": run_id, "state": "succeeded"}
