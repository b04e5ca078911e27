from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from handrail.contracts.attempt import Attempt
from handrail.contracts.task import Task
from handrail.errors import UnknownTaskError
from handrail.flow.graph import TaskGraph
from handrail.handlers.direct import DirectTaskHandler
from handrail.ids import Token
from handrail.run.context import ExecutionContext, HandlerContext, TaskExecutionContext


def attempt() -> Attempt:
    return Attempt("r-1-2", "r", "t", "key/t", Token(1, 2), try_number=3, input_ref="c1")


def graph_of(*names: str) -> TaskGraph:
    graph = TaskGraph()
    for name in names:
        graph.add_node(Task(name))
    return graph


# A run's context


def test_a_context_is_made_of_a_graph() -> None:
    graph = graph_of("a", "b")
    context = ExecutionContext.create(graph, "a", x=1)
    assert (context.graph, context.start, context.inputs) == (graph, "a", {"x": 1})
    assert context.get_channel().get("x") == 1
    with pytest.raises(UnknownTaskError, match=r"Unknown task 'x'\. Known tasks: a, b\."):
        ExecutionContext.create(graph, "x")


def test_results_are_kept_in_order() -> None:
    context = ExecutionContext.create(graph_of("a"))
    context.set_result("b", None)
    context.set_result("a", 1)
    assert context.completed_tasks == ["b", "a"]
    assert context.get_result("b", "default") is None
    assert context.get_result("x", "default") == "default"


def test_a_handler_may_be_tried_without_an_engine() -> None:
    context = ExecutionContext.create(TaskGraph(), "test")
    handler: Any = DirectTaskHandler()
    handler.execute_task(Task("test_task"), context)
    assert context.completed_tasks == ["test_task"]
    assert context.get_result("test_task", "default") is None


def test_a_context_runs_its_graph() -> None:
    graph = TaskGraph()
    graph.include(Task("a") >> Task("b"))
    context = ExecutionContext.create(graph)
    assert context.execute() is None
    assert context.completed_tasks == ["a", "b"]
    assert context.session_id == context.run_id != ""


# An attempt's view


def test_what_is_injected_knows_its_attempt_and_run() -> None:
    run = ExecutionContext(TaskGraph(), run_id="r")
    run.set_result("before", 5)
    view = TaskExecutionContext(attempt(), execution=run)
    assert (view.task_id, view.attempt_id, view.input_ref) == ("t", "r-1-2", "c1")
    assert (view.retry_count, view.session_id, view.execution_id) == (2, "r", "r-1-2")
    assert view.idempotency_key == "key/t"
    assert view.get_result("before") == 5
    assert view.get_result("after", 1) == 1
    assert view.get_channel() is run.get_channel()
    assert view.elapsed_time() >= 0


def test_local_data_is_the_attempts_own() -> None:
    first, second = TaskExecutionContext(attempt()), TaskExecutionContext(attempt())
    first.set_local_data("x", 1)
    assert (first.get_local_data("x"), second.get_local_data("x", 2)) == (1, 2)


def test_attempts_of_other_engines_are_shown_too() -> None:
    view = TaskExecutionContext(SimpleNamespace(task_id="x", poll_count=3), "exec-1")
    assert (view.task_id, view.poll_count, view.execution_id) == ("x", 3, "exec-1")
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = view.no_such_thing
    with pytest.raises(AttributeError, match="not started by an engine of Handrail"):
        view.get_channel()


# A handler's view


def test_results_that_a_handler_sets_are_provisional() -> None:
    run = ExecutionContext(TaskGraph(), run_id="r")
    run.set_result("before", 5)
    view = HandlerContext(run, attempt())
    view.set_result("t", 7)
    assert (view.get_result("t"), view.get_result("before"), view.get_result("x", 0)) == (7, 5, 0)
    assert run.completed_tasks == ["before"]
    assert view.get_channel() is run.get_channel()


def test_nothing_is_lost_in_a_channel_that_many_write() -> None:
    channel = ExecutionContext(TaskGraph()).get_channel()
    together = threading.Barrier(8)

    def write(number: int) -> None:
        together.wait(5)
        for step in range(200):
            channel.atomic_add("count")
            channel.append("list", (number, step))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert channel.get("count") == 1600
    assert len(set(channel.get("list"))) == 1600
    for number in range(8):
        assert [step for owner, step in channel.get("list") if owner == number] == [*range(200)]
