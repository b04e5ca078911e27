"""Mapped tasks."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pydantic import BaseModel

from handrail import (
    ExecutionContext,
    RunFailed,
    TaskGraph,
    TaskInputError,
    WorkflowEngine,
    parallel,
    task,
    workflow,
)
from handrail.contracts.expr import Composable


def run(part: Composable) -> Any:
    graph = TaskGraph()
    graph.include(part)
    with WorkflowEngine() as engine:
        return engine.execute(ExecutionContext(graph))


@task
def double(x: int) -> int:
    return 2 * x


@task
def total(double_map: list[int]) -> int:
    return sum(double_map)


@task
def numbers() -> list[int]:
    return list(range(1000))


def test_results_come_in_the_order_of_the_items() -> None:
    assert run(double.map([3, 1, 2])) == [6, 2, 4]


def test_an_upstream_result_of_unknown_length_is_mapped_over() -> None:
    with workflow("map") as flow:
        mapped = double.map(numbers)
        mapped >> total
    assert flow.execute(journal="memory") == 2 * sum(range(1000))


def test_no_items_give_no_results_and_the_run_goes_on() -> None:
    assert run(double.map([]) >> total) == 0


def test_other_parameters_are_bound_as_usual() -> None:
    @task
    def scaled(x: int, factor: int) -> int:
        return x * factor

    assert run(scaled(task_id="s", factor=10).map([1, 2])) == [10, 20]


def test_a_typed_task_takes_items_as_its_params() -> None:
    class Item(BaseModel):
        x: int

    class Result(BaseModel):
        y: int

    @task
    def typed(params: Item) -> Result:
        return Result(y=params.x + 1)

    assert run(typed.map([Item(x=1), {"x": 2}])) == [Result(y=2), Result(y=3)]


def test_a_failing_item_fails_the_map_and_names_the_item() -> None:
    @task
    def picky(x: int) -> int:
        if x == 2:
            raise ValueError("two")
        return x

    with pytest.raises(RunFailed, match=r"picky_map\[1\]"):
        run(picky.map([1, 2, 3]))


def test_a_failing_map_is_a_failed_member_of_its_group() -> None:
    @task
    def picky(x: int) -> int:
        raise ValueError("no")

    @task
    def fine() -> int:
        return 1

    group = parallel(picky.map([1, 2]), fine, name="g").with_execution(policy="best_effort")
    assert run(group) == {"fine": 1}


def test_items_run_side_by_side() -> None:
    together = threading.Barrier(4, timeout=20)

    @task
    def meet(x: int) -> int:
        together.wait()
        return x

    assert run(meet.map(range(4))) == [0, 1, 2, 3]


def test_ten_thousand_items_run() -> None:
    assert run(double.map(range(10_000)) >> total) == 2 * sum(range(10_000))


def test_what_cannot_be_iterated_is_told() -> None:
    @task
    def one() -> int:
        return 1

    with pytest.raises(RunFailed, match="cannot be iterated"):
        run(one >> double.map(one))


def test_a_task_without_a_free_parameter_cannot_be_mapped() -> None:
    @task
    def nothing() -> None: ...

    with pytest.raises(TaskInputError, match="takes an item"):
        nothing.map([1])
