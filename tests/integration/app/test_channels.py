"""Channels of whole runs: parallel branches, other processes, kills and resumes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import typing_extensions

from handrail import (
    NotSerializableError,
    RunFailed,
    Runtime,
    RuntimeConfigError,
    StoreError,
    TaskExecutionContext,
    load_settings,
    parallel,
    task,
    workflow,
)
from tests.services import redis as service

MakeRuntime = Callable[..., Runtime]


@pytest.fixture
def make_runtime(tmp_path: Path) -> Iterator[MakeRuntime]:
    made: list[Runtime] = []

    def make(**flags: Any) -> Runtime:
        settings = load_settings(flags={"home": tmp_path / ".handrail", **flags}, environment={})
        made.append(Runtime(settings))
        return made[-1]

    yield make
    for runtime in made:
        runtime.close()


@pytest.fixture(params=["journal", "redis"])
def runtime(request: pytest.FixtureRequest, make_runtime: MakeRuntime) -> Runtime:
    """A runtime for each place where channels are kept."""
    if request.param == "journal":
        return make_runtime()
    pytest.importorskip("redis")
    return make_runtime(channel_url=request.getfixturevalue("redis_url"))


def keys(url: str) -> list[bytes]:
    """All keys of a Redis database."""
    redis = pytest.importorskip("redis")
    with redis.Redis.from_url(url) as client:
        return list(client.keys("*"))


class Tally(typing_extensions.TypedDict):
    who: str
    count: int


# Parallel branches


def branch(number: int, handler: str) -> Any:
    @task(id=f"branch_{number}", inject_context=True, handler_type=handler)
    def works(context: TaskExecutionContext) -> int:
        channel = context.get_channel()
        for round_ in range(10):
            channel.atomic_add("sum")
            channel.append("list", (number, round_))
        for _ in range(3):
            with channel.lock("counting", timeout=60):
                channel.set("count", channel.get("count") + 1)
        context.get_typed_channel(Tally).send(f"tally {number}", {"who": "x", "count": number})
        return number

    return works


@task(inject_context=True)
def gather(context: TaskExecutionContext) -> Any:
    channel = context.get_channel()
    tallies = [context.get_typed_channel(Tally).receive(f"tally {n}") for n in range(6)]
    return channel.get("sum"), channel.get("list"), channel.get("count"), tallies


@pytest.mark.parametrize("handler", ["direct", "process"])
def test_nothing_of_parallel_branches_is_lost(runtime: Runtime, handler: str) -> None:
    branches = [branch(number, handler) for number in range(6)]
    flow = workflow("branches", parallel(*branches) >> gather)
    total, items, count, tallies = runtime.execute(flow, inputs={"count": 0}, max_workers=6)
    assert total == 60
    assert sorted(items) == [(n, r) for n in range(6) for r in range(10)]
    assert count == 18
    assert tallies == [{"who": "x", "count": n} for n in range(6)]


def test_branches_on_both_handlers_share_one_channel(runtime: Runtime) -> None:
    branches = [branch(number, ("direct", "process")[number % 2]) for number in range(6)]
    flow = workflow("both", parallel(*branches) >> gather)
    total, items, count, _ = runtime.execute(flow, inputs={"count": 0}, max_workers=6)
    assert (total, len(items), count) == (60, 60, 18)


@pytest.mark.parametrize("handler", ["direct", "process"])
def test_a_message_of_another_type_fails_its_task(runtime: Runtime, handler: str) -> None:
    @task(inject_context=True, handler_type=handler)
    def sends(context: TaskExecutionContext) -> None:
        context.get_typed_channel(Tally).send("a", {"who": "x", "count": True})

    with pytest.raises(RunFailed) as failed:
        runtime.execute(workflow("typed", sends))
    assert isinstance(failed.value.cause, TypeError)
    assert "Message does not conform to Tally: count" in str(failed.value.cause)


def test_channel_keys_and_inputs_are_arguments(runtime: Runtime) -> None:
    @task(inject_context=True)
    def puts(context: TaskExecutionContext) -> None:
        context.get_channel().set("rows", (1, 2))

    @task
    def takes(rows: tuple[int, ...], factor: int) -> Any:
        return rows, factor

    assert runtime.execute(workflow("keys", puts >> takes), inputs={"factor": 3}) == ((1, 2), 3)


# Resuming


def test_the_channel_goes_on_after_a_resume(runtime: Runtime) -> None:
    broken = [True]

    @task(inject_context=True)
    def puts(context: TaskExecutionContext) -> None:
        channel = context.get_channel()
        assert channel.get("given") == [1]
        channel.append("given", (2,))
        channel.delete("other")
        channel.set("short", 1, ttl=0.05)
        channel.set("long", {"a": (1,)}, ttl=600)

    @task(inject_context=True)
    def takes(context: TaskExecutionContext) -> Any:
        if broken[0]:
            raise ValueError("not yet")
        channel = context.get_channel()
        return channel.get("given"), channel.get("long"), sorted(channel.keys())

    flow = workflow("resumed", puts >> takes)
    with pytest.raises(RunFailed) as failed:
        runtime.execute(flow, inputs={"given": [1], "other": 1})
    broken[0] = False
    time.sleep(0.05)
    expected = ([1, (2,)], {"a": (1,)}, ["given", "long"])
    assert runtime.resume(failed.value.run_id, flow) == expected


_PROGRAM = """
import os, signal, time
from pathlib import Path
from handrail import TaskExecutionContext, parallel, task, workflow

@task(inject_context=True)
def puts(context: TaskExecutionContext) -> None:
    channel = context.get_channel()
    channel.append("list", ("puts", channel.get("given")))
    channel.set("given", "changed")
    channel.atomic_add("sum", 0.5)
    channel.set("long", 1, ttl=600)

@task(inject_context=True, handler_type="process")
def dies(context: TaskExecutionContext) -> None:
    channel = context.get_channel()
    with channel.lock("a", timeout=30):
        if not Path("died").exists():
            Path("died").touch()
            time.sleep(0.5)  # until the first task's success is in the journal
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
    channel.append("list", ("dies", channel.get("given")))

@task(inject_context=True)
def takes(context: TaskExecutionContext) -> str:
    channel = context.get_channel()
    return repr((channel.get("list"), channel.get("sum"), sorted(channel.keys())))

flow = workflow("killed", puts >> dies >> takes)

if __name__ == "__main__":
    flow.execute(initial_channel={"given": "input"})
"""


def test_a_killed_run_goes_on_with_its_channel(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "killed_flow.py").write_text(textwrap.dedent(_PROGRAM))
    environment = {"HANDRAIL_HOME": str(runtime.settings.home), "PATH": "/usr/bin:/bin"}
    if runtime.settings.channel_url is not None:
        environment["HANDRAIL_CHANNEL_URL"] = runtime.settings.channel_url.get_secret_value()
    died = subprocess.run(
        [sys.executable, "killed_flow.py"], cwd=tmp_path, env=environment, timeout=60
    )
    assert died.returncode == -signal.SIGKILL
    run = runtime.journal.runs()[0]
    assert runtime.state_of(run) == "crashed"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = runtime.resume(run.run_id)
    items = [("puts", "input"), ("dies", "changed")]
    assert found == repr((items, 0.5, ["given", "list", "long", "sum"]))


# Redis


def test_nothing_is_left_in_redis_after_success(make_runtime: MakeRuntime, redis_url: str) -> None:
    seen: list[bytes] = []

    @task(inject_context=True)
    def puts(context: TaskExecutionContext) -> str:
        context.get_channel().set("a", 1)
        seen.extend(keys(redis_url))
        return context.session_id

    runtime = make_runtime(channel_url=redis_url)
    run_id = runtime.execute(workflow("tidy", puts), key="k", inputs={"b": 1})
    prefix = f"handrail:channel:{run_id}:"
    assert {f"{prefix}value:a".encode(), f"{prefix}value:b".encode()} <= set(seen)
    assert keys(redis_url) == []
    # The result is the journal's: nobody asks Redis again.
    assert make_runtime().execute(workflow("tidy", puts), key="k") == run_id
    assert keys(redis_url) == []


def failing(runtime: Runtime) -> tuple[str, workflow, list[bool]]:
    """A run that failed: its id, its workflow, and a switch that mends it."""
    broken = [True]

    @task(inject_context=True)
    def puts(context: TaskExecutionContext) -> None:
        context.get_channel().set("a", 1)

    @task(inject_context=True)
    def takes(context: TaskExecutionContext) -> Any:
        if broken[0]:
            raise ValueError("not yet")
        return context.get_channel().get("a")

    flow = workflow("failing", puts >> takes)
    with pytest.raises(RunFailed) as failed:
        runtime.execute(flow)
    return failed.value.run_id, flow, broken


def test_a_run_is_resumed_where_its_channel_is(make_runtime: MakeRuntime, redis_url: str) -> None:
    pytest.importorskip("redis")
    in_redis, in_journal = make_runtime(channel_url=redis_url), make_runtime()
    run_id, flow, broken = failing(in_redis)
    broken[0] = False
    with pytest.raises(RuntimeConfigError, match="HANDRAIL_CHANNEL_URL"):
        in_journal.resume(run_id, flow)
    assert in_redis.resume(run_id, flow) == 1
    run_id, flow, broken = failing(in_journal)
    broken[0] = False
    assert in_redis.resume(run_id, flow) == 1


def test_a_run_whose_channel_is_gone_is_not_resumed(
    make_runtime: MakeRuntime, redis_url: str
) -> None:
    redis = pytest.importorskip("redis")
    runtime = make_runtime(channel_url=redis_url)
    run_id, flow, broken = failing(runtime)
    broken[0] = False
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    with pytest.raises(StoreError, match=f"channel of run {run_id} is no longer in Redis"):
        runtime.resume(run_id, flow)


def test_an_input_that_redis_cannot_keep_is_named_before_anything_runs(
    make_runtime: MakeRuntime, redis_url: str
) -> None:
    pytest.importorskip("redis")
    ran: list[str] = []

    @task
    def never(pool: object) -> None:
        ran.append("never")

    runtime = make_runtime(channel_url=redis_url)
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(NotSerializableError, match=r"key 'pool': a .*ThreadPoolExecutor"),
    ):
        runtime.execute(workflow("refused", never), inputs={"pool": pool})
    assert ran == []


def test_a_run_outlives_a_restart_of_redis(
    make_runtime: MakeRuntime, redis_server: service.RedisServer
) -> None:
    pytest.importorskip("redis")

    @task(inject_context=True)
    def puts(context: TaskExecutionContext) -> None:
        channel = context.get_channel()
        channel.append("list", 1)
        redis_server.kill()
        redis_server.start_again()
        channel.append("list", 2)

    @task
    def takes(list: Any) -> Any:
        return list

    runtime = make_runtime(channel_url=redis_server.url)
    assert runtime.execute(workflow("restarted", puts >> takes)) == [1, 2]
