"""A disk that is full, or may only be read, at each place of a run.

The disk is filled but for so many KiB before the run begins, and it begins: somewhere on its way
the space is used up, each time a little later. What it raises says so, nothing half-written
stays, and when there is space again the run goes on and ends as if nothing had been.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from handrail import (
    RunFailed,
    Runtime,
    StoreError,
    StoreFullError,
    WorkspaceSpec,
    load_settings,
    task,
    workflow,
)
from handrail.errors import StoreReadOnlyError

#: Space that a run of `flow` needs at most, and by how much more each trial gets, in KiB.
ENOUGH_KIB, STEP_KIB = 480, 12


class Step(BaseModel):
    number: int


@task(id="one", workspace=WorkspaceSpec())
def one(workspace: Path, params: Step) -> Step:
    (workspace / "one").write_bytes(b"1" * 30_000)
    return Step(number=params.number + 1)


@task(id="two", workspace=WorkspaceSpec())
def two(workspace: Path, params: Step) -> Step:
    (workspace / "two").write_bytes((workspace / "one").read_bytes() + b"2" * 30_000)
    return Step(number=params.number + 1)


@task
def told(two: Step) -> str:
    return "long " * 8_000


@task
def three(told: str, two: Step) -> int:
    print("three " * 1_000)
    return len(told) + two.number


def flow() -> workflow:
    return workflow("steps", one >> two >> told >> three, workspace="files")


RESULT = 40_003


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root with CAP_SYS_ADMIN")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def runtime_on(disk: Path) -> Runtime:
    return Runtime(load_settings(flags={"home": disk / ".handrail"}, environment={}))


def fill(disk: Path, left_kib: int) -> Path:
    """Uses up all space but so much."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            size_bytes = file.tell()
        file.truncate(max(size_bytes - left_kib * 1024, 0))
    return filler


def outcome(runtime: Runtime) -> BaseException | None:
    """Runs, or goes on; the error, if one came."""
    try:
        assert runtime.execute(flow(), key="k", inputs={"number": 1}) == RESULT
    except (RunFailed, StoreError) as error:
        return error
    return None


def says_full(error: BaseException | None) -> bool:
    """Is it the store's error, or that of a body that wrote its own files?"""
    cause = error.cause if isinstance(error, RunFailed) else error
    return isinstance(cause, StoreFullError) or (
        isinstance(cause, OSError) and cause.errno == errno.ENOSPC
    )


def check(runtime: Runtime) -> None:
    """Everything is there once, and nothing besides."""
    (record,) = runtime.journal.runs()
    assert record.state == "succeeded"
    assert runtime.journal.lease(record.run_id) is None
    messages = [commit.message for _, commit in runtime.repository("files").log()]
    assert messages[:2] == ["steps: two", "steps: one"]
    assert len(messages) == 3
    with runtime.repository("files").read("main", "two") as file:
        assert file.read() == b"1" * 30_000 + b"2" * 30_000
    assert list(runtime.home.attempts.iterdir()) == []
    assert list((runtime.home.objects / "incoming").iterdir()) == []
    assert [str(branch) for branch in runtime.journal.heads()] == ["files@main"]
    assert list(runtime.home.path.rglob("*.part")) == []
    runtime.tell()
    executions = runtime.tracking.executions(limit=1000).executions
    assert [e.pipeline_name for e in executions if not e.state.final] == []


def test_a_run_goes_on_when_there_is_space_again_wherever_it_ran_out(disk: Path) -> None:
    refused = []
    for left_kib in range(0, ENOUGH_KIB + 1, STEP_KIB):
        runtime = runtime_on(disk)
        # With the repository made and its files open, so that the run is what lacks space.
        runtime.repository("files").create()
        runtime.tell()
        filler = fill(disk, left_kib)
        error = outcome(runtime)
        if error is not None:
            refused.append(left_kib)
            assert says_full(error), f"{left_kib} KiB: {error!r}"
        filler.unlink()
        assert outcome(runtime) is None, f"after {left_kib} KiB"
        check(runtime)
        runtime.close()
        subprocess.run(["rm", "-rf", str(disk / ".handrail")], check=True)
    assert 0 in refused
    assert ENOUGH_KIB not in refused, "the last trial must have space enough"
    assert len(refused) > 10, "the trials must come close to each other"


def test_a_home_that_finds_no_space_leaves_nothing_in_the_way(disk: Path) -> None:
    filler = fill(disk, 0)
    runtime = runtime_on(disk)
    assert says_full(outcome(runtime))
    filler.unlink()
    assert outcome(runtime) is None
    check(runtime)
    runtime.close()


@pytest.mark.parametrize("done", ["nothing", "a home", "a run that failed"])
def test_a_disk_that_may_only_be_read_is_told_and_hurts_nothing(disk: Path, done: str) -> None:
    runtime = runtime_on(disk)
    if done == "a home":
        runtime.repository("files").create()
    if done == "a run that failed":
        runtime.repository("files").create()
        filler = fill(disk, 100)
        assert says_full(outcome(runtime))
        filler.unlink()
    runtime.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused = outcome(runtime)
    assert isinstance(refused, StoreReadOnlyError), repr(refused)
    runtime.close()
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert outcome(runtime) is None
    check(runtime)
    runtime.close()
