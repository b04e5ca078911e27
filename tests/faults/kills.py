"""Kills a run at random instants, resumes it, and checks that it ends as if nothing had been.

A trial starts the workflow of `program.py` as a process group of its own, kills the group with
SIGKILL at an instant between zero and what a run takes undisturbed, has the command line resume
it, kills that at random too, and so on for up to three times; then it lets the run end.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handrail.app import Runtime
from handrail.contracts import event as kinds
from handrail.contracts.event import StoredEvent
from handrail.keep.sweep import AttemptFolders
from handrail.settings import load_settings
from handrail.tracking.wire import State

PROGRAM = Path(__file__).with_name("program.py")
START = ("run", "program.py:everything", "-i", "lines=3", "-i", "next_watermark=7")
#: How long a process that is not killed may take, in seconds.
PATIENCE_SECONDS = 90.0
#: Names in the file of effects that tell no attempt.
_NAMELESS = ("write_one", "write_two", "write_three", "read")


@dataclass(frozen=True, slots=True)
class Ending:
    """What a run left."""

    result: Any
    #: Messages of the commits of the branch, latest first.
    commits: list[str]
    #: Tasks and how they ended.
    states: dict[str, str]
    #: Pieces of work that were accepted, each once.
    work: list[str]
    seconds: float


def undisturbed(folder: Path) -> Ending:
    """The ending of a run that nobody kills."""
    _prepare(folder)
    began = time.monotonic()
    process = _start(folder, START)
    return _ending(folder, _await(folder, process), time.monotonic() - began)


def trial(folder: Path, number: int, expected: Ending) -> str:
    """One run, killed once or more; returns what was done to it in words.

    Raises:
        AssertionError: something was lost, done twice, or left behind.
    """
    chance = random.Random(f"kills {number}")
    killed_at: list[float] = []
    while not killed_at:  # a run that was faster than the first kill is no trial
        shutil.rmtree(folder, ignore_errors=True)
        _prepare(folder)
        killed_at = _kill_often(folder, chance, expected.seconds)
    ending = _ending(folder, _await(folder, _start(folder, _next_words(folder))), 0)
    assert ending.result == expected.result
    assert ending.commits == expected.commits
    assert ending.states == expected.states
    assert ending.work == expected.work
    _check_traces(folder, len(killed_at))
    return "killed at " + ", ".join(f"{at:.3f} s" for at in killed_at)


def _kill_often(folder: Path, chance: random.Random, longest_seconds: float) -> list[float]:
    """Starts and kills it; returns when, in seconds from each start."""
    killed_at: list[float] = []
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3))):
        after_seconds = chance.uniform(0, longest_seconds)
        if not _kill(_start(folder, _next_words(folder)), after_seconds):
            break
        killed_at.append(after_seconds)
    return killed_at


# Processes


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROGRAM, folder)


def _start(folder: Path, words: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HANDRAIL_")}
    with (folder / "out").open("wb") as out, (folder / "err").open("ab") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "handrail", *words, "--json", "--quiet"],
            cwd=folder,
            env={**environment, "HANDRAIL_LEASE_SECONDS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def _kill(process: subprocess.Popen[bytes], after_seconds: float) -> bool:
    """Kills the process with its group; false if it had ended before."""
    try:
        process.wait(after_seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def _await(folder: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What a process tells that is not killed."""
    try:
        code = process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"it hangs; see {folder}") from None
    told = (folder / "err").read_text()
    assert code == 0, told
    outcome: dict[str, Any] = json.loads((folder / "out").read_text())
    return outcome


def _next_words(folder: Path) -> tuple[str, ...]:
    """Start it if the kill came before there was a run, else resume it."""
    runtime = _runtime(folder)
    try:
        runs = runtime.journal.runs() if (folder / ".handrail" / "format").exists() else []
        return ("resume", runs[0].run_id) if runs else START
    finally:
        runtime.close()


def _runtime(folder: Path) -> Runtime:
    return Runtime(load_settings(flags={"home": folder / ".handrail"}, environment={}))


# What is left


def _ending(folder: Path, outcome: dict[str, Any], seconds: float) -> Ending:
    runtime = _runtime(folder)
    try:
        history = runtime.history(outcome["run_id"])
        return Ending(
            result=outcome["result"],
            commits=[commit.message for _, commit in runtime.repository("pages").log()],
            states={task.name: task.state for task in history.tasks},
            work=sorted(_accepted(runtime.journal.events(history.run_id)).values()),
            seconds=seconds,
        )
    finally:
        runtime.close()


def _accepted(events: Sequence[StoredEvent]) -> dict[str, str]:
    """Attempts that were accepted, with task and round; a piece of work is accepted once."""
    rounds: Counter[str] = Counter()
    found: dict[str, str] = {}
    for stored in events:
        if stored.event.kind == kinds.TASK_SUCCEEDED and stored.event.attempt:
            rounds[stored.event.task] += 1
            found[stored.event.attempt] = f"{stored.event.task} {rounds[stored.event.task]}"
    return found


def _check_traces(folder: Path, kill_count: int) -> None:
    runtime = _runtime(folder)
    try:
        (record,) = runtime.journal.runs()
        assert record.state == "succeeded"
        assert runtime.journal.lease(record.run_id) is None
        assert record.epoch <= kill_count + 1
        events = runtime.journal.events(record.run_id)
        _check_effects(folder, events)
        _check_places(runtime)
        _check_tracking(runtime, record.run_id, record.epoch)
    finally:
        runtime.close()


def _check_effects(folder: Path, events: Sequence[StoredEvent]) -> None:
    """Every effect came, and none after its work was accepted."""
    lines = [line.split("\t") for line in (folder / "effects").read_text().splitlines()]
    attempts: dict[str, list[str]] = {}
    for key, attempt in lines:
        attempts.setdefault(key, []).append(attempt)
    keys = {attempt: key for key, attempt in lines if attempt}
    assert set(_NAMELESS) <= set(attempts)
    accepted: dict[str, str] = {}
    for stored in events:
        event, data = stored.event, stored.event.data or {}
        if event.kind != kinds.TASK_SUCCEEDED or not event.attempt or event.task in _NAMELESS:
            continue
        assert "adopted" not in data
        assert event.attempt in keys, f"{event.task} succeeded without its effect"
        key = keys[event.attempt]
        assert key not in accepted, f"{key} was accepted twice"
        accepted[key] = event.attempt
    for key, accepted_attempt in accepted.items():
        for attempt in attempts[key]:
            late = _token(attempt) > _token(accepted_attempt)
            assert not late, f"{attempt} of {key} ran after {accepted_attempt} was accepted"


def _token(attempt: str) -> tuple[int, int]:
    _, epoch, sequence = attempt.rsplit("-", 2)
    return int(epoch), int(sequence)


def _check_places(runtime: Runtime) -> None:
    """No folder of an attempt and no branch of the run is left, and the watermark moved."""
    # One that was being made has no owner on record: it goes when it is older than a lease.
    left = [path for path in runtime.home.attempts.iterdir() if ".creating-" not in path.name]
    assert left == []
    AttemptFolders(runtime.home.attempts, lease_seconds=0).sweep()
    assert list(runtime.home.attempts.iterdir()) == []
    assert [str(branch) for branch in runtime.journal.heads()] == ["pages@main"]
    assert runtime.journal.watermark("everything") == "7"


def _check_tracking(runtime: Runtime, run_id: str, epoch_count: int) -> None:
    """One execution for each epoch, the last of which succeeded, and nothing left open."""
    runtime.tell()
    page = runtime.tracking.executions(limit=1000).executions
    runs = {e.key: e.state for e in page if e.pipeline_name == "everything"}
    expected = {f"{run_id}.{number}": State.CRASHED for number in range(1, epoch_count)}
    assert runs == {**expected, f"{run_id}.{epoch_count}": State.SUCCEEDED}
    assert [e.key for e in page if not e.state.final] == []
    assert runtime.tracking.pipeline("everything").watermark == 7
