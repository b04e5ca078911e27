"""Groups, loops, maps and jumps stand where they stood after a resume."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handrail import (
    RunFailed,
    Runtime,
    Task,
    TaskExecutionContext,
    load_settings,
    parallel,
    task,
    workflow,
)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(load_settings(flags={"home": tmp_path / ".handrail"}, environment={}))
    yield made
    made.close()


class Breaking:
    """Bodies that note that they ran, and one that fails until it is mended."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.is_broken = True

    def note(self, name: str, value: Any = None) -> Task:
        def body() -> Any:
            self.ran.append(name)
            return value

        return task(name)(body)

    def last(self, name: str = "last") -> Task:
        def body() -> str:
            self.ran.append(name)
            if self.is_broken:
                raise ValueError("not yet")
            return "end"

        return task(name)(body)

    def resumed(self, runtime: Runtime, flow: workflow) -> Any:
        with pytest.raises(RunFailed) as failed:
            runtime.execute(flow)
        self.is_broken = False
        self.ran.clear()
        return runtime.resume(failed.value.run_id, flow)


def test_a_group_whose_policy_accepted_a_failure_stays_accepted(runtime: Runtime) -> None:
    b = Breaking()

    @task
    def broken() -> None:
        b.ran.append("broken")
        raise ValueError("always")

    group = parallel(broken, b.note("good", 1), name="g").with_execution(policy="best_effort")
    assert b.resumed(runtime, workflow("w", group >> b.last())) == "end"
    assert b.ran == ["last"]


def test_a_group_that_was_not_judged_runs_its_failed_members_again(runtime: Runtime) -> None:
    b = Breaking()
    group = parallel(b.last("flaky"), b.note("good", 1), name="g")
    assert b.resumed(runtime, workflow("w", group)) == {"flaky": "end", "good": 1}
    assert b.ran == ["flaky"]


def test_an_iterating_task_that_was_done_is_not_run_again(runtime: Runtime) -> None:
    b = Breaking()

    @task(inject_context=True)
    def improve(context: TaskExecutionContext, value: int = 1) -> int:
        b.ran.append(f"improve {value}")
        if value < 4:
            context.next_iteration(value * 2)
        return value

    assert b.resumed(runtime, workflow("w", improve >> b.last())) == "end"
    assert b.ran == ["last"]


def test_an_iteration_that_was_under_way_goes_on_with_its_data(runtime: Runtime) -> None:
    b = Breaking()

    @task(inject_context=True)
    def improve(context: TaskExecutionContext, value: int = 1) -> int:
        b.ran.append(f"improve {value}")
        if value == 4 and b.is_broken:
            raise ValueError("not yet")
        if value < 8:
            context.next_iteration(value * 2)
        return value

    assert b.resumed(runtime, workflow("w", improve)) == 8
    assert b.ran == ["improve 4", "improve 8"]


def test_a_jump_back_is_replayed(runtime: Runtime) -> None:
    b = Breaking()
    rounds: list[int] = []

    @task(inject_context=True)
    def judge(context: TaskExecutionContext) -> int:
        rounds.append(1)
        if len(rounds) < 3:
            context.next_task("work")
        return len(rounds)

    flow = workflow("w", b.note("work") >> judge >> b.last())
    assert b.resumed(runtime, flow) == "end"
    assert b.ran == ["last"]
    assert len(rounds) == 3


def test_a_mapped_task_runs_only_the_items_that_are_left(runtime: Runtime) -> None:
    b = Breaking()

    @task
    def square(x: int) -> int:
        b.ran.append(str(x))
        if x == 3 and b.is_broken:
            raise ValueError("not yet")
        return x * x

    flow = workflow("w", square.map([1, 2, 3]))
    assert b.resumed(runtime, flow) == [1, 4, 9]
    assert "3" in b.ran
    assert "1" not in b.ran


def test_a_terminated_run_that_was_not_settled_ends_the_same(runtime: Runtime) -> None:
    b = Breaking()

    @task(inject_context=True)
    def stop(context: TaskExecutionContext) -> str:
        b.ran.append("stop")
        context.terminate_workflow("enough")
        return "stopped"

    flow = workflow("w", b.note("a") >> stop >> b.note("never"))
    assert runtime.execute(flow, key="k") == "stopped"
    assert runtime.execute(flow, key="k") == "stopped"
    assert b.ran == ["a", "stop"]


@task(id="module_level")
def module_level(number: int = 0) -> str:
    return f"made {number}"


def test_a_new_task_that_can_be_imported_is_kept(runtime: Runtime) -> None:
    b = Breaking()

    @task(inject_context=True)
    def first(context: TaskExecutionContext) -> str:
        b.ran.append("first")
        context.next_task(module_level(task_id="extra", number=7))
        return "x"

    assert b.resumed(runtime, workflow("w", first >> b.last())) == "end"
    assert b.ran == ["last"]


def test_a_new_task_from_a_closure_makes_its_creator_run_again_and_is_adopted(
    runtime: Runtime,
) -> None:
    b = Breaking()

    def made(name: str) -> Callable[[], None]:
        return lambda: b.ran.append(name)

    @task(inject_context=True)
    def first(context: TaskExecutionContext) -> str:
        b.ran.append("first")
        context.next_task(task("extra")(made("extra")))
        return "x"

    assert b.resumed(runtime, workflow("w", first >> b.last())) == "end"
    assert b.ran.count("first") == 1
    assert "extra" not in b.ran


def test_a_group_with_a_mapped_member_has_its_results_after_a_resume(runtime: Runtime) -> None:
    b = Breaking()

    @task
    def square(x: int) -> int:
        b.ran.append(str(x))
        return x * x

    @task
    def use(g: dict[str, Any]) -> Any:
        if b.is_broken:
            raise ValueError("not yet")
        return g

    group = parallel(square.map([1, 2, 3]), b.note("other", 1), name="g")
    flow = workflow("w", group >> use)
    assert b.resumed(runtime, flow) == {"square_map": [1, 4, 9], "other": 1}
    assert b.ran == []


def test_a_finished_mapped_run_is_recalled(runtime: Runtime) -> None:
    @task
    def square(x: int) -> int:
        return x * x

    flow = workflow("w", square.map([1, 2, 3]))
    assert runtime.execute(flow, key="k") == [1, 4, 9]
    assert runtime.execute(flow, key="k") == [1, 4, 9]


def test_a_result_kept_in_memory_only_is_made_again_for_its_group(runtime: Runtime) -> None:
    b = Breaking()

    @task
    def lock() -> Any:
        b.ran.append("lock")
        return threading.Lock()

    @task
    def use(g: dict[str, Any]) -> bool:
        if b.is_broken:
            raise ValueError("not yet")
        return bool(g["lock"].acquire(blocking=False))

    group = parallel(lock, b.note("other", 1), name="g")
    assert b.resumed(runtime, workflow("w", group >> use)) is True
    assert b.ran == ["lock"]
