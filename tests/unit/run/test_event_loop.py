"""Async bodies share one event loop."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest
from pydantic import BaseModel

from handrail import (
    AttemptTimeout,
    ExecutionContext,
    RunFailed,
    TaskExecutionContext,
    TaskGraph,
    WorkflowEngine,
    parallel,
    task,
)
from handrail.contracts.expr import Composable


def run(part: Composable) -> Any:
    graph = TaskGraph()
    graph.include(part)
    with WorkflowEngine() as engine:
        return engine.execute(ExecutionContext(graph))


def test_async_bodies_run_side_by_side_in_one_loop() -> None:
    loops: set[int] = set()
    threads: set[int] = set()
    arrived: list[int] = []

    async def meet() -> int:
        loops.add(id(asyncio.get_running_loop()))
        threads.add(threading.get_ident())
        arrived.append(1)
        while len(arrived) < 50:
            await asyncio.sleep(0)
        return len(arrived)

    members = [task(f"t{number}")(meet) for number in range(50)]
    assert set(run(parallel(*members)).values()) == {50}
    assert len(loops) == len(threads) == 1


def test_an_async_body_gets_context_and_arguments_and_is_checked() -> None:
    class In(BaseModel):
        x: int

    class Out(BaseModel):
        y: int

    @task
    async def typed(params: In) -> Out:
        await asyncio.sleep(0)
        return Out(y=params.x)

    @task(inject_context=True)
    async def injected(context: TaskExecutionContext, typed: Out) -> tuple[str, int]:
        return context.task_id, typed.y

    assert run(typed.instance("typed", x=3) >> injected) == ("injected", 3)


def test_an_error_of_an_async_body_is_the_tasks_error() -> None:
    @task
    async def broken() -> None:
        await asyncio.sleep(0)
        raise LookupError("gone")

    with pytest.raises(RunFailed) as caught:
        run(broken)
    assert isinstance(caught.value.cause, LookupError)


def test_an_async_body_past_its_time_is_stopped_for_certain() -> None:
    ended = threading.Event()

    @task(timeout=0.05)
    async def endless() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    with pytest.raises(RunFailed) as caught:
        run(endless)
    assert isinstance(caught.value.cause, AttemptTimeout)
    assert caught.value.cause.stopped
    assert ended.is_set()


variable: ContextVar[str] = ContextVar("variable", default="unset")


def test_context_variables_of_async_bodies_are_their_own() -> None:
    async def body() -> str:
        before = variable.get()
        variable.set("mine")
        await asyncio.sleep(0)
        return before

    members = [task(f"t{number}")(body) for number in range(5)]
    assert set(run(parallel(*members)).values()) == {"unset"}
