"""A small run that publishes, in a process that may be ended, and what must be true of it.

The run has three tasks that write, each a line of one file, one of which stumbles once in each
process; one that only looks, and one that changes nothing. However it was interrupted, its
branch has one commit for each that writes, in their order, and the file has each line once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from handrail import (
    RetryPolicy,
    RunFailed,
    Runtime,
    WorkspaceSpec,
    load_settings,
    plug,
    require_file,
    task,
    workflow,
)
from handrail.contracts.workspace import BranchName
from handrail.errors import PublishFenceError, RunBusy, StaleAttemptError, StoreError
from handrail.keep.closure import closure_of
from handrail.keep.collect import commits_in_use
from handrail.keep.mounts import mounts_below
from handrail.keep.sweep import AttemptFolders
from handrail.keep.tree_cache import TreeCache
from handrail.upkeep import check_home, collect

REPOSITORY = "songs"
MAIN = BranchName(REPOSITORY)
#: Names of the tasks that write, in order.
WRITERS = ("one", "two", "three")
RESULT = 7
#: How long a process that is not ended may take, in seconds.
PATIENCE_SECONDS = 60.0
#: Ways to make the files of attempts, and scopes of publication, that trials take turns with.
WAYS = ("overlay", "copies")
SCOPES = ("task", "run")

plug.handlers.get("direct")  # else imported when a run begins, in each process

#: Processes come from one that has everything imported, so that a trial costs what it does.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.faults.publication"])


# The run

#: A body that stumbles is tried again at once.
AT_ONCE = RetryPolicy(count=1, delay_seconds=0, backoff_factor=1.0, jitter=False)


class Step(BaseModel):
    number: int


def flow(publish: str, at: Callable[[str], None] = lambda place: None) -> workflow:
    """The workflow; `at` is called by bodies, with a name of the place."""
    stumbles = iter([True])

    def write(workspace: Path, params: Step, name: str) -> Step:
        at(f"before {name}")
        (workspace / "sub").mkdir(exist_ok=True)
        (workspace / "sub" / name).write_text(name * 5_000)
        if name == "two" and next(stumbles, False):
            raise ValueError("it stumbles")
        with (workspace / "lines").open("a") as file:
            file.write(f"{name}\n")
        at(f"after {name}")
        return Step(number=params.number + 1)

    @task(id="one", workspace=WorkspaceSpec(post=[require_file("lines")]))
    def one(workspace: Path, params: Step) -> Step:
        return write(workspace, params, "one")

    @task(id="two", workspace=WorkspaceSpec(), retry_policy=AT_ONCE)
    def two(workspace: Path, params: Step) -> Step:
        return write(workspace, params, "two")

    @task(id="looking", workspace=WorkspaceSpec(read_only=True))
    def looking(workspace: Path, params: Step) -> Step:
        (workspace / "lines").write_text("thrown away")
        return Step(number=params.number + 1)

    @task(id="idle", workspace=WorkspaceSpec())
    def idle(workspace: Path, params: Step) -> Step:
        return Step(number=params.number + 1)

    @task(id="three", workspace=WorkspaceSpec())
    def three(workspace: Path, params: Step) -> Step:
        return write(workspace, params, "three")

    @task(id="last")
    def last(three: Step) -> int:
        at("in the last")
        return three.number + 1

    return workflow(
        "publication",
        one >> two >> looking >> idle >> three >> last,
        workspace=REPOSITORY,
        publish=publish,
    )


def runtime_in(folder: Path, way: str | None = None, lease_seconds: float = 1.0) -> Runtime:
    """A runtime over the home in a folder."""
    flags = {"home": folder / ".handrail", "checkout": way, "lease_seconds": lease_seconds}
    return Runtime(load_settings(flags=flags, environment={}))


def go_on(
    folder: Path,
    publish: str,
    way: str | None,
    at: Callable[[str], None] = lambda place: None,
    arrange: Callable[[Runtime], None] = lambda runtime: None,
) -> None:
    """Runs the workflow there, or goes on with it, to its end.

    Args:
        arrange: puts something in the way before it begins.
    """
    runtime = runtime_in(folder, way)
    arrange(runtime)
    try:
        found = runtime.execute(flow(publish, at), key="k", inputs={"number": 1})
        assert found == RESULT, found
    finally:
        runtime.close()


# Processes


def started(folder: Path, act: Callable[..., None], *values: Any) -> BaseProcess:
    """A process that does `act(*values)`; what goes wrong in it stands in `folder/err`."""
    folder.mkdir(parents=True, exist_ok=True)
    process = PROCESSES.Process(target=_perform, args=(folder, act, values), daemon=True)
    process.start()
    return process


def _perform(folder: Path, act: Callable[..., None], values: tuple[Any, ...]) -> None:
    try:
        act(*values)
    except BaseException:
        (folder / "err").write_text(traceback.format_exc())
        raise SystemExit(1) from None


def kill(process: BaseProcess, after_seconds: float) -> bool:
    """Kills a process at that age; false if it had ended before."""
    process.join(after_seconds)
    if process.exitcode is not None:
        return False
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def await_end(folder: Path, process: BaseProcess) -> None:
    """Waits for a process that nobody ends."""
    process.join(PATIENCE_SECONDS)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"it hangs; see {folder}")
    told = folder / "err"
    assert process.exitcode == 0, told.read_text() if told.exists() else process.exitcode


def seconds_of(act: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


# What must be true


def messages(runtime: Runtime) -> list[str]:
    """What is said on the commits of the branch, the first one first."""
    head = runtime.journal.head(MAIN)
    return [commit.message for _, commit in runtime.trees.log(head)][::-1] if head else []


#: The messages of a run that was not disturbed.
EXPECTED = [f"{MAIN}: created", *(f"publication: {name}" for name in WRITERS)]


def check_on_the_way(folder: Path, publish: str) -> None:
    """What is true at every moment: the branch shows some of the publications, each once, whole.

    With `publish="run"` it shows all of them or none.
    """
    if not (folder / ".handrail" / "format").exists():
        return
    runtime = runtime_in(folder)
    try:
        found = messages(runtime)
        assert found == EXPECTED[: len(found)], found
        assert publish == "task" or len(found) in (0, 1, len(EXPECTED)), found
        _check_lines(runtime, WRITERS[: max(len(found) - 1, 0)])
        _check_sound(runtime)
    finally:
        runtime.close()


def check_ended(folder: Path, publish: str, patience_seconds: float = 0) -> None:
    """The run is over: everything is there once, sound, and after a sweep nothing besides.

    Args:
        patience_seconds: how long a folder of an attempt may be left alone, since its process
            could not even tell who it was.
    """
    runtime = runtime_in(folder)
    try:
        assert messages(runtime) == EXPECTED
        _check_lines(runtime, WRITERS)
        _check_ledger(runtime, publish)
        _check_sound(runtime)
        _check_nothing_is_left(runtime, patience_seconds)
        _check_sound(runtime, is_all=True)
    finally:
        runtime.close()


def _check_lines(runtime: Runtime, names: tuple[str, ...]) -> None:
    if names:
        with runtime.repository(REPOSITORY).read("main", "lines") as file:
            assert file.read().decode().split() == list(names)


def _check_sound(runtime: Runtime, *, is_all: bool = False) -> None:
    damages = check_home(runtime, is_all=is_all).damages
    assert damages == (), damages


def _check_ledger(runtime: Runtime, publish: str) -> None:
    (record,) = runtime.journal.runs()
    assert record.state == "succeeded"
    assert runtime.journal.lease(record.run_id) is None
    accepted = runtime.journal.accepted(record.run_id)
    tasks = Counter(each.task_id for each in accepted)
    assert tasks == dict.fromkeys([*WRITERS, "looking", "idle"], 1), tasks
    assert len({each.logical_key for each in accepted}) == len(accepted)
    moves = runtime.journal.rows(
        "SELECT before, after FROM head_moves WHERE repository = ? AND branch = ? ORDER BY move_id",
        tuple(MAIN),
    )
    assert len(moves) == 1 + (len(WRITERS) if publish == "task" else 1)
    assert [before for before, _ in moves[1:]] == [after for _, after in moves[:-1]]


def _check_nothing_is_left(runtime: Runtime, patience_seconds: float) -> None:
    home = runtime.home
    deadline = time.monotonic() + patience_seconds
    AttemptFolders(home.attempts, lease_seconds=0).sweep()
    while any(home.attempts.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
        AttemptFolders(home.attempts, lease_seconds=0).sweep()
    TreeCache(home.trees).trim(0)
    # Objects are as young as the millisecond in which they were put.
    while collect(runtime, grace_seconds=0).objects.spared_count:
        time.sleep(0.001)
    needed = closure_of(runtime.trees, commits_in_use(runtime.journal, runtime.journal))
    assert [digest for digest in runtime.objects.digests() if digest not in needed] == []
    assert list(home.attempts.iterdir()) == []
    incoming = home.objects / "incoming"
    assert not incoming.exists() or list(incoming.iterdir()) == []
    unfinished = [path for path in home.trees.glob(".*") if path.is_dir()]
    assert unfinished == []
    assert mounts_below(home.path) == []
    assert list(runtime.journal.heads()) == [MAIN]


def error_of(act: Callable[[], object]) -> BaseException | None:
    """The error that a run ends with; the one of the task if a task failed."""
    try:
        act()
    except RunFailed as failed:
        return failed.cause or failed
    except (StoreError, RunBusy, StaleAttemptError, PublishFenceError) as error:
        return error
    return None


def unmount_all(folder: Path) -> None:
    """Takes away what killed processes have left mounted."""
    with suppress(StoreError):
        AttemptFolders(folder / ".handrail" / "attempts", lease_seconds=0).sweep()
