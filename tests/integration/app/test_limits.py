"""Limits by tag within a run, between runs, between processes, and when their holder is killed."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from handrail import (
    ExecutionLimits,
    RetryPolicy,
    RunFailed,
    Runtime,
    RunTimeout,
    StrictGroupPolicy,
    TaskControls,
    TaskExecutionContext,
    load_settings,
    parallel,
    task,
    workflow,
)
from handrail.contracts import event as kinds
from handrail.errors import RuntimeConfigError
from handrail.keep.limits import SqlLimiter
from handrail.testing.limits import most_in_a_window
from handrail.testing.stores import race

_PROGRAM = Path(__file__).with_name("limited.py")
_LEASE_SECONDS = 1.5


class Inside:
    """Counts who is inside at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0
        self.started_at: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            self.started_at.append(time.monotonic_ns() // 1000)
            self._now += 1
            self.most = max(self.most, self._now)

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._now -= 1


MakeRuntime = Callable[..., Runtime]


@pytest.fixture
def runtime_with(tmp_path: Path) -> Iterator[MakeRuntime]:
    """Makes runtimes over one home with limits of their own."""
    made: list[Runtime] = []

    def make(**limits: int | str) -> Runtime:
        flags = {"home": tmp_path / "home", "limits": limits}
        made.append(Runtime(load_settings(flags=flags, environment={}, folder=tmp_path)))
        return made[-1]

    yield make
    for runtime in made:
        runtime.close()


def limited_flow(inside: Inside, count: int, *, seconds: float = 0.02) -> workflow:
    @task(tags="db")
    def work(number: int) -> int:
        with inside:
            time.sleep(seconds)
        return number

    with workflow("limited") as flow:
        work.map(range(count), task_id="all")
    return flow


def places(runtime: Runtime) -> list[Any]:
    return runtime.journal.rows("SELECT * FROM places")


# In one run


@pytest.mark.parametrize("journal", [None, "memory"])
def test_so_many_bodies_run_at_once_and_all_of_them_run(
    runtime_with: MakeRuntime, journal: str | None
) -> None:
    runtime, inside = runtime_with(db=2), Inside()
    result = runtime.execute(limited_flow(inside, 12), max_workers=6, journal=journal)
    assert result == list(range(12))
    assert inside.most == 2


def test_without_a_limit_more_of_them_run_at_once(runtime_with: MakeRuntime) -> None:
    runtime, inside = runtime_with(api=1), Inside()
    runtime.execute(limited_flow(inside, 6, seconds=0.1), max_workers=3)
    assert inside.most == 3


def test_a_workflow_has_limits_of_its_own_before_those_of_the_settings(
    runtime_with: MakeRuntime,
) -> None:
    runtime, inside = runtime_with(db=5), Inside()
    with workflow("limited", limits={"db": 1}) as flow:

        @task(tags="db")
        def work(number: int) -> None:
            with inside:
                time.sleep(0.02)

        work.map(range(5))

    runtime.execute(flow, max_workers=4)
    assert inside.most == 1


def test_starts_under_a_rate_are_spread(runtime_with: MakeRuntime) -> None:
    runtime, inside = runtime_with(db="4/0.2s"), Inside()
    runtime.execute(limited_flow(inside, 12, seconds=0), max_workers=4)
    # Bodies begin a little after they may: windows are taken a little shorter.
    assert most_in_a_window(sorted(inside.started_at), 140_000) <= 4
    assert max(inside.started_at) - min(inside.started_at) >= 11 * 50_000 - 20_000


def test_what_is_not_limited_goes_on_meanwhile(runtime_with: MakeRuntime) -> None:
    runtime, order = runtime_with(db="1/0.5s"), []

    @task(tags="db")
    def first() -> None: ...

    @task(tags="db")
    def second() -> None:
        order.append("second")

    @task
    def free() -> None:
        order.append("free")

    @task
    def after() -> None:
        order.append("after")

    runtime.execute(workflow("mixed", parallel(first, second, free >> after)))
    assert order == ["free", "after", "second"]


def test_it_is_told_once_for_each_task_which_limit_it_waits_for(
    runtime_with: MakeRuntime,
) -> None:
    runtime = runtime_with(db=1)
    flow = limited_flow(Inside(), 3, seconds=0.3)
    _, context = runtime.execute(flow, max_workers=3, ret_context=True)
    events = [stored.event for stored in runtime.journal.events(context.run_id)]
    queued = [event for event in events if event.kind == kinds.TASK_QUEUED]
    assert [event.task for event in queued] == ["all[1]", "all[2]"]
    assert {(event.data or {})["limit"] for event in queued} == {"db"}
    history = runtime.history(context.run_id)
    assert {row.state for row in history.tasks} == {"succeeded"}


def test_a_body_that_fails_gives_its_place_back(runtime_with: MakeRuntime) -> None:
    runtime, inside = runtime_with(db=1), Inside()

    @task(
        tags="db",
        inject_context=True,
        retry_policy=RetryPolicy(max_retries=2, initial_interval=0.01),
    )
    def flaky(context: TaskExecutionContext) -> int:
        with inside:
            if context.retry_count < 2:
                raise ConnectionError("gone")
        return 1

    @task(tags="db")
    def other() -> int:
        with inside:
            return 2

    result = runtime.execute(workflow("flaky", parallel(flaky, other)))
    assert result == {"flaky": 1, "other": 2}
    assert inside.most == 1
    assert places(runtime) == []


def test_a_body_past_its_time_gives_its_place_back(runtime_with: MakeRuntime) -> None:
    runtime = runtime_with(db=1)

    @task(tags="db", timeout=0.1)
    def slow() -> None:
        time.sleep(1)

    @task(tags="db")
    def quick() -> int:
        return 1

    with pytest.raises(RunFailed, match="slow"):
        runtime.execute(workflow("late", slow | quick))
    assert places(runtime) == []


def test_members_of_a_group_that_wait_are_given_up_with_it(runtime_with: MakeRuntime) -> None:
    runtime, inside = runtime_with(db="1/h"), Inside()

    @task(tags="db")
    def first() -> None: ...

    @task(tags="db")
    def second() -> None:
        with inside:
            pass

    @task
    def breaks() -> None:
        raise ValueError("broken")

    group = parallel(first, second, breaks)
    group = group.with_execution(policy=StrictGroupPolicy(fail_fast=True))
    with pytest.raises(RunFailed, match="broken"):
        runtime.execute(workflow("group", group), timeout=20)
    assert inside.most == 0
    assert places(runtime) == []


def test_when_a_task_failed_nothing_that_waits_is_started(runtime_with: MakeRuntime) -> None:
    runtime, inside = runtime_with(db="1/h"), Inside()

    @task
    def breaks() -> None:
        time.sleep(0.05)
        raise ValueError("broken")

    flow = limited_flow(inside, 3, seconds=0)
    flow.add(breaks)
    with pytest.raises(RunFailed, match="broken"):
        runtime.execute(flow, timeout=20)
    assert len(inside.started_at) == 1


def test_a_run_that_is_ended_by_a_task_does_not_wait_for_limits(
    runtime_with: MakeRuntime,
) -> None:
    runtime, inside = runtime_with(db="1/h"), Inside()

    @task(inject_context=True)
    def enough(context: TaskExecutionContext) -> str:
        time.sleep(0.05)
        context.terminate_workflow("enough")
        return "enough"

    flow = limited_flow(inside, 3, seconds=0)
    flow.add(enough)
    assert runtime.execute(flow, timeout=20) == "enough"
    assert len(inside.started_at) == 1


def test_members_that_wait_leave_their_places_in_the_group_to_others(
    runtime_with: MakeRuntime,
) -> None:
    runtime, order = runtime_with(db="1/0.3s"), []

    @task(tags="db")
    def limited(number: int) -> None:
        order.append(f"limited {number}")

    @task
    def free(number: int) -> None:
        order.append(f"free {number}")

    members = [limited(task_id=f"l{number}", number=number) for number in range(3)]
    members += [free(task_id=f"f{number}", number=number) for number in range(3)]
    group = parallel(*members).with_execution(max_workers=1)
    runtime.execute(workflow("places", group), timeout=20)
    assert sorted(order[1:4]) == ["free 0", "free 1", "free 2"]
    assert (order[0], *order[4:]) == ("limited 0", "limited 1", "limited 2")


def test_the_time_of_a_run_ends_waiting_too(runtime_with: MakeRuntime) -> None:
    runtime = runtime_with(db="1/h")
    with pytest.raises(RunTimeout):
        runtime.execute(limited_flow(Inside(), 2), timeout=0.5)
    assert places(runtime) == []


def test_several_tags_are_held_together(runtime_with: MakeRuntime) -> None:
    runtime, db, api = runtime_with(db=1, api=1), Inside(), Inside()

    @task(tags=("db", "api"))
    def both(number: int) -> None:
        with db, api:
            time.sleep(0.01)

    @task(tags="db")
    def only_db(number: int) -> None:
        with db:
            time.sleep(0.01)

    @task(tags="api")
    def only_api(number: int) -> None:
        with api:
            time.sleep(0.01)

    with workflow("tags") as flow:
        for each in (both, only_db, only_api):
            each.map(range(6))
    runtime.execute(flow, max_workers=6)
    assert (db.most, api.most) == (1, 1)
    assert len(db.started_at) == len(api.started_at) == 12


def test_bad_limits_are_refused_before_anything_runs(runtime_with: MakeRuntime) -> None:
    runtime, inside = runtime_with(db="lots"), Inside()
    with pytest.raises(RuntimeConfigError, match="limit of 'db' is 'lots'"):
        runtime.execute(limited_flow(inside, 1))
    assert inside.most == 0
    assert runtime.journal.runs() == []


# Between runs


class Params(BaseModel):
    day: str = "monday"


class Done(BaseModel):
    ok: bool = True


def test_the_limits_of_a_typed_task_hold_for_all_runs(runtime_with: MakeRuntime) -> None:
    inside = Inside()

    @task(controls=TaskControls(limits=ExecutionLimits(concurrent_exec_limit=1)))
    def load(params: Params) -> Done:
        with inside:
            time.sleep(0.05)
        return Done()

    flow = workflow("typed", load)
    runtime = runtime_with()
    race(4, lambda _: runtime.execute(flow))
    assert inside.most == 1
    assert len(inside.started_at) == 4


def test_runs_in_memory_share_the_limits_of_their_process(runtime_with: MakeRuntime) -> None:
    inside = Inside()
    flow = limited_flow(inside, 3)
    runtimes = [runtime_with(db=1) for _ in range(3)]
    race(3, lambda number: runtimes[number].execute(flow, journal="memory"))
    assert inside.most == 1
    assert len(inside.started_at) == 9


# Between processes


@pytest.fixture(params=["sqlite", "postgresql"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Settings of the processes, all over one home and one database."""
    environment = {
        **os.environ,
        "HANDRAIL_HOME": str(tmp_path / "home"),
        "HANDRAIL_LIMITS": "db=1",
        "HANDRAIL_LEASE_SECONDS": str(_LEASE_SECONDS),
        "MARKS": str(tmp_path),
    }
    if request.param == "postgresql":
        environment["HANDRAIL_DATABASE_URL"] = request.getfixturevalue("postgres_url")
    return environment


def start(environment: dict[str, str], name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(_PROGRAM), name, str(count)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def intervals(folder: Path) -> list[tuple[int, int]]:
    found = [path.read_text().split() for path in folder.glob("p*-*")]
    return sorted((int(started), int(ended)) for started, ended in found)


def test_processes_never_hold_more_places_than_there_are(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    processes = [start(environment, f"p{number}", 8) for number in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=100)
        assert (out, process.returncode) == ("done\n", 0), err
    found = intervals(tmp_path)
    assert len(found) == 24
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(found))


def test_the_place_of_a_process_that_is_killed_is_free_when_its_lease_is_over(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "p1.stay").touch()
    killed = start(environment, "p1", 1)
    wait_for(tmp_path / "p1.inside", killed)
    waiting = start(environment, "p2", 1)
    runtime = Runtime(load_settings(environment=environment))
    limiter = SqlLimiter(runtime.journal)
    # While its holder lives the place is held, for longer than one lease.
    until = time.monotonic() + _LEASE_SECONDS * 1.5
    while time.monotonic() < until:
        assert len(limiter.holders("db")) == 1
        assert not (tmp_path / "p2.inside").exists()
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    killed_at = time.monotonic()
    wait_for(tmp_path / "p2.inside", waiting)
    took = time.monotonic() - killed_at
    out, err = waiting.communicate(timeout=60)
    assert out == "done\n", err
    assert took < _LEASE_SECONDS + 3  # its lease, a look each quarter of a second, and patience
    assert limiter.holders("db") == []
    runtime.close()
