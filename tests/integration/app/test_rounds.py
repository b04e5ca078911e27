"""Joins, maps, groups and questions in tasks that run for several rounds, resumed or not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handrail import (
    RunFailed,
    Runtime,
    RunWaiting,
    Task,
    TaskExecutionContext,
    load_settings,
    parallel,
    task,
    workflow,
)
from handrail.contracts.controls import RetryPolicy

AT_ONCE = RetryPolicy(count=2, delay_seconds=0, backoff_factor=1.0, jitter=False)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(load_settings(flags={"home": tmp_path / ".handrail"}, environment={}))
    yield made
    made.close()


class Bodies:
    """Makes tasks that note when they run."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.is_broken = True

    def note(self, name: str, value: Any = None) -> Task:
        @task(name)
        def body() -> Any:
            self.ran.append(name)
            return value

        return body

    def back_to(self, target: str, rounds: int, name: str = "judge") -> Task:
        @task(name, inject_context=True)
        def judge(context: TaskExecutionContext) -> int:
            self.ran.append(name)
            if context.cycle_count < rounds:
                context.next_task(target)
            return int(context.cycle_count)

        return judge

    def last(self) -> Task:
        @task("last")
        def body() -> str:
            self.ran.append("last")
            if self.is_broken:
                raise ValueError("not yet")
            return "end"

        return body

    def resumed(self, runtime: Runtime, flow: workflow) -> Any:
        """Runs until `last` fails, mends it, and goes on."""
        with pytest.raises(RunFailed) as failed:
            runtime.execute(flow)
        self.is_broken = False
        self.ran.clear()
        return runtime.resume(failed.value.run_id, flow)


def test_a_jump_back_does_not_hurry_a_join_that_waits_for_others_too(runtime: Runtime) -> None:
    b = Bodies()
    is_joined = threading.Event()

    @task
    def slow() -> bool:
        return is_joined.wait(0.3)  # for what must not happen

    @task
    def join(slow: bool) -> bool:
        is_joined.set()
        return slow

    looping = b.note("work") >> b.back_to("work", rounds=3)
    flow = workflow("w", parallel(slow, looping, name="g") >> join)
    assert runtime.execute(flow, max_workers=4) is False
    assert b.ran == ["work", "judge"] * 3


def test_a_join_does_not_wait_for_what_a_jump_left_out(runtime: Runtime) -> None:
    b = Bodies()
    with workflow("w") as flow:

        @task(inject_context=True)
        def choose(context: TaskExecutionContext) -> None:
            context.next_task("short")

        join = b.note("join", "end")
        choose >> b.note("short") >> join
        choose >> b.note("long") >> join
    assert runtime.execute(flow) == "end"
    assert b.ran == ["short", "join"]


def test_a_task_that_iterates_begins_anew_in_each_round(runtime: Runtime) -> None:
    b = Bodies()

    @task(inject_context=True)
    def improve(context: TaskExecutionContext, step: int = 1) -> None:
        b.ran.append(f"step {step}")
        if step < 3:
            context.next_iteration(step + 1)

    flow = workflow("w", b.note("begin") >> improve >> b.back_to("begin", rounds=2))
    assert runtime.execute(flow) == 2
    assert b.ran == ["begin", "step 1", "step 2", "step 3", "judge"] * 2


def test_items_are_other_work_in_another_round(runtime: Runtime) -> None:
    b = Bodies()
    keys: list[str] = []

    @task(inject_context=True)
    def item(context: TaskExecutionContext, x: int) -> int:
        keys.append(context.idempotency_key)
        return int(context.cycle_count)

    flow = workflow("w", b.note("begin") >> item.map([1, 2]) >> b.back_to("begin", rounds=2))
    _, context = runtime.execute(flow, ret_context=True)
    assert context.results["item_map"] == [2, 2]
    assert len(keys) == len(set(keys)) == 4


@pytest.mark.parametrize("items", [[], [1, 2]])
def test_a_mapped_task_in_a_loop_is_not_run_again_by_a_resume(
    runtime: Runtime, items: list[int]
) -> None:
    b = Bodies()

    @task
    def item(x: int) -> int:
        b.ran.append("item")
        return x

    looping = b.note("begin") >> item.map(items) >> b.back_to("begin", rounds=2)
    assert b.resumed(runtime, workflow("w", looping >> b.last())) == "end"
    assert b.ran == ["last"]


def test_a_failed_item_takes_no_place_from_the_other_members(runtime: Runtime) -> None:
    b = Bodies()

    @task
    def item(x: int) -> int:
        b.ran.append(f"item {x}")
        if x == 1:
            raise ValueError("no")
        return x

    chain = b.note("first") >> b.note("second", 2)
    group = parallel(chain, item.map([0, 1, 2, 3]), name="g")
    limited = group.with_execution(policy="best_effort", max_workers=1)
    assert runtime.execute(workflow("w", limited)) == {"second": 2}
    assert "item 2" not in b.ran


def test_a_group_that_accepts_failures_stays_judged_in_every_round(runtime: Runtime) -> None:
    b = Bodies()

    @task(inject_context=True)
    def never(context: TaskExecutionContext) -> None:
        b.ran.append(f"never {context.cycle_count}")
        raise ValueError("no")

    inner = parallel(never, b.note("beside"), name="inner")
    group = parallel(inner, b.note("good", 1), never_again(b), name="g")
    accepting = group.with_execution(policy="best_effort")
    looping = b.note("begin") >> accepting >> b.back_to("begin", rounds=2)
    assert b.resumed(runtime, workflow("w", looping >> b.last())) == "end"
    assert b.ran == ["last"]


def never_again(b: Bodies) -> Any:
    @task
    def broken() -> None:
        b.ran.append("broken")
        raise ValueError("no")

    return broken >> b.note("left out")


def test_a_failed_member_counts_its_rounds_over_a_resume(runtime: Runtime) -> None:
    b = Bodies()

    @task(inject_context=True)
    def never(context: TaskExecutionContext) -> None:
        b.ran.append(f"never {context.cycle_count}")
        raise ValueError("no")

    @task(inject_context=True)
    def stumble(context: TaskExecutionContext) -> None:
        if context.cycle_count == 2 and b.is_broken:
            raise ValueError("not yet")

    group = parallel(never, b.note("good", 1), name="g").with_execution(policy="best_effort")
    looping = b.note("begin") >> stumble >> group >> b.back_to("begin", rounds=2)
    assert b.resumed(runtime, workflow("w", looping)) == 2
    assert [name for name in b.ran if name.startswith("never")] == ["never 2"]


def test_what_a_member_asked_for_does_not_end_its_group_by_failing(runtime: Runtime) -> None:
    b = Bodies()
    is_failed = threading.Event()

    @task("extra")
    def extra() -> None:
        is_failed.set()
        raise ValueError("no")

    @task(inject_context=True)
    def member(context: TaskExecutionContext) -> int:
        context.next_task(extra)
        return 1

    @task
    def slow() -> int:
        assert is_failed.wait(20)
        b.ran.append("slow")
        return 2

    group = parallel(member, slow, name="g").with_execution(policy="best_effort")
    _, context = runtime.execute(workflow("w", group >> b.note("join")), ret_context=True)
    assert b.ran == ["slow", "join"]
    assert context.results["g"]["slow"] == 2


def test_a_question_after_a_failed_try_in_a_later_round_gets_its_answer(runtime: Runtime) -> None:
    b = Bodies()

    @task(inject_context=True, retry_policy=AT_ONCE)
    def ask(context: TaskExecutionContext) -> bool:
        if context.cycle_count == 2:
            if context.retry_count == 0 and b.is_broken:
                raise ValueError("not yet")
            return context.request_approval("Again?")
        return True

    flow = workflow("w", ask >> b.back_to("ask", rounds=2))
    with pytest.raises(RunWaiting) as waiting:
        runtime.execute(flow)
    b.is_broken = False
    runtime.answer(waiting.value.run_id, True)
    assert runtime.resume(waiting.value.run_id, flow) == 2


def test_an_answer_that_came_while_others_worked_is_taken_before_the_run_is_given_back(
    runtime: Runtime,
) -> None:
    @task(inject_context=True)
    def ask(context: TaskExecutionContext) -> bool:
        return context.request_approval("Go on?")

    @task(inject_context=True)
    def work(context: TaskExecutionContext) -> None:
        while not (waits := runtime.waits(context.session_id)):
            threading.Event().wait(0.01)
        runtime.answer(context.session_id, True, wait_id=waits[0].wait_id)

    assert runtime.execute(workflow("w", ask | work))["ask"] is True


def test_a_member_that_was_stopped_is_no_success_of_a_group_that_was_given_up(
    runtime: Runtime,
) -> None:
    from handrail import ParallelGroupError, StrictGroupPolicy

    started, over = threading.Event(), threading.Event()

    @task
    def slow() -> None:
        started.set()
        over.wait(20)

    @task
    def broken() -> None:
        assert started.wait(20)
        raise ValueError("no")

    group = parallel(slow, broken, name="g")
    policy = StrictGroupPolicy(fail_fast=True)
    with pytest.raises(RunFailed) as failed:
        runtime.execute(workflow("w", group.with_execution(policy=policy)))
    over.set()
    assert isinstance(failed.value.cause, ParallelGroupError)
    assert failed.value.cause.successful_tasks == []
    stopped = runtime.history(failed.value.run_id).task("slow")
    assert stopped is not None
    assert (stopped.state, stopped.attempts[0].state) == ("failed", "failed")
