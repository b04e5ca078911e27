from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from handrail import plug
from handrail.contracts.expr import Composable, parallel
from handrail.contracts.task import Task, task
from handrail.errors import (
    HandlerResultError,
    MissingParameterError,
    NotInstalledError,
    RunFailed,
    TaskDefinitionError,
    UnknownHandlerError,
)
from handrail.flow.graph import TaskGraph
from handrail.handlers.direct import DirectTaskHandler
from handrail.run.context import ExecutionContext
from handrail.run.engine import WorkflowEngine, register_handler
from handrail.run.handler import BoundTask, TaskHandler


class Counting(TaskHandler):
    """Runs bodies in this process and counts them."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.is_closed = False

    def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
        self.seen.append(task.task_id)
        context.set_result(task.task_id, task.run())

    def close(self) -> None:
        self.is_closed = True


class Forgetful(TaskHandler):
    def execute_task(self, task: BoundTask, context: ExecutionContext) -> Any:
        return task.run()  # and not set_result


class Swallowing(TaskHandler):
    def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
        try:
            context.set_result(task.task_id, task.run())
        except Exception as error:
            context.set_result(task.task_id, error)


def graph_of(*parts: Composable) -> TaskGraph:
    graph = TaskGraph()
    for part in parts:
        graph.include(part)
    return graph


def execute(*parts: Composable, engine: WorkflowEngine | None = None, **inputs: Any) -> Any:
    return (engine or WorkflowEngine()).execute(
        ExecutionContext.create(graph_of(*parts), None, **inputs)
    )


def own(name: str = "own", **keywords: Any) -> Task:
    declare: Any = task
    made: Task = declare(name, handler="own", **keywords)(lambda: name)
    return made


@pytest.fixture
def registered() -> Iterator[None]:
    """Whatever is registered as "own" for the process is forgotten after the test."""
    yield
    plug.handlers.unregister("own")


# Handlers


def test_a_handler_is_known_to_the_engine_it_was_registered_on() -> None:
    engine, handler = WorkflowEngine(), Counting()
    engine.register_handler("own", handler)
    assert execute(own(), engine=engine) == "own"
    assert handler.seen == ["own"]
    with pytest.raises(UnknownHandlerError):
        execute(own())


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("handler", [Counting, Counting(), f"{__name__}:Counting"], ids=type)
def test_a_handler_is_known_to_every_engine_of_the_process(handler: Any) -> None:
    register_handler("own", handler)
    assert execute(own()) == "own"
    assert execute(parallel(own("a"), own("b"), Task("c"))) == {"a": "a", "b": "b", "c": None}


@pytest.mark.usefixtures("registered")
def test_a_handler_of_the_engine_comes_before_one_of_the_process() -> None:
    of_process, of_engine = Counting(), Counting()
    register_handler("own", of_process)
    engine = WorkflowEngine()
    engine.register_handler("own", of_engine)
    execute(own(), engine=engine)
    assert (of_process.seen, of_engine.seen) == ([], ["own"])


def test_direct_can_be_replaced() -> None:
    engine, handler = WorkflowEngine(), Counting()
    engine.register_handler("direct", handler)
    execute(Task("a") >> Task("b"), engine=engine)
    assert handler.seen == ["a", "b"]


def test_a_subclass_of_direct_is_asked_too() -> None:
    class Loud(DirectTaskHandler):
        def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
            super().execute_task(task, context)
            seen.append(task.task_id)

    seen: list[str] = []
    engine = WorkflowEngine()
    engine.register_handler("direct", Loud())
    execute(Task("a") >> Task("b"), engine=engine)
    assert seen == ["a", "b"]


def test_an_unknown_handler_is_refused_before_anything_runs() -> None:
    ran: list[int] = []
    first = task("first")(lambda: ran.append(1))
    with pytest.raises(UnknownHandlerError, match="Unknown handler type: own") as caught:
        execute(first >> own())
    assert ran == []
    assert "engine.register_handler('own', ...)" in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.usefixtures("registered")
def test_a_handler_that_is_not_installed_is_told_from_an_unknown_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry = plug.Registry("task handler", "no.group", {"own": "no_such:Handler"}, {"own": "x"})
    monkeypatch.setattr(plug, "handlers", registry)
    with pytest.raises(NotInstalledError, match=r"pip install 'handrail\[x\]'"):
        WorkflowEngine().handler("own")


def test_a_class_may_be_registered_on_an_engine() -> None:
    engine, handler = WorkflowEngine(), Counting
    engine.register_handler("own", handler)
    assert execute(own(), engine=engine) == "own"


def test_a_handler_needs_no_base_class() -> None:
    class Own:
        def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
            context.set_result(task.task_id, task.run())

    engine = WorkflowEngine()
    handler: Any = Own()
    engine.register_handler("own", handler)
    assert execute(own(), engine=engine) == "own"


def test_options_of_a_handler_of_the_engine_are_checked_before_anything_runs() -> None:
    class Options(BaseModel):
        speed: int

    class Fast(Counting):
        options_model = Options

    engine = WorkflowEngine()
    engine.register_handler("own", Fast())
    with pytest.raises(TaskDefinitionError, match="own_sped"):
        execute(own(own_sped=3), engine=engine)


def test_something_without_execute_task_is_refused() -> None:
    handler: Any = object()
    with pytest.raises(TaskDefinitionError, match=r"has no execute_task\(task, context\)"):
        WorkflowEngine().register_handler("own", handler)


def test_a_handler_that_hands_in_nothing_fails_the_task() -> None:
    engine = WorkflowEngine()
    engine.register_handler("own", Forgetful())
    with pytest.raises(RunFailed, match="without a result for task 'own'") as caught:
        execute(own(), engine=engine)
    assert isinstance(caught.value.cause, HandlerResultError)


def test_an_error_that_a_handler_stores_fails_the_task() -> None:
    def fail() -> None:
        raise KeyError("mine")

    ran: list[int] = []
    engine = WorkflowEngine()
    engine.register_handler("own", Swallowing())
    failing = task("failing", handler="own")(fail)
    with pytest.raises(RunFailed) as caught:
        execute(failing >> task("after")(lambda: ran.append(1)), engine=engine)
    assert isinstance(caught.value.cause, KeyError)
    assert ran == []


def test_results_of_custom_handlers_are_bound_like_others() -> None:
    engine = WorkflowEngine()
    engine.register_handler("own", Counting())
    first = task("first", handler="own")(lambda: 2)
    second = task("second", handler="own")(lambda first: first + 1)
    assert execute(first >> second, engine=engine) == 3


def test_closing_an_engine_closes_its_handlers() -> None:
    handler = Counting()
    with WorkflowEngine() as engine:
        engine.register_handler("own", handler)
        assert engine.handler("own") is handler
    assert handler.is_closed


# Runs


def test_the_result_is_that_of_the_only_task_that_nothing_follows() -> None:
    assert execute(Task("a") >> task("b")(lambda: 5)) == 5


def test_several_such_tasks_give_a_mapping() -> None:
    one, two = task("one")(lambda: 1), task("two")(lambda: 2)
    assert execute(one, two) == {"one": 1, "two": 2}
    assert execute(Task("a") >> one, two) == {"one": 1, "two": 2}


def test_a_group_gives_the_results_of_its_members() -> None:
    one, two = task("one")(lambda: 1), task("two")(lambda: 2)
    assert execute(one | two) == {"one": 1, "two": 2}
    inner = parallel(one, two, name="inner")
    assert execute(parallel(inner, Task("three"), name="outer")) == {
        "inner": {"one": 1, "two": 2},
        "three": None,
    }
    assert execute(inner >> task("last")(lambda inner: sum(inner.values()))) == 3


def test_a_member_that_is_a_sequence_is_named_by_its_end() -> None:
    assert execute((Task("a") >> task("b")(lambda: 1)) | task("c")(lambda: 2)) == {"b": 1, "c": 2}


def test_inputs_reach_the_tasks_that_want_them() -> None:
    add = task("add")(lambda x, y=10: x + y)
    assert execute(add, x=1) == 11
    assert execute(add, x=1, y=2) == 3
    with pytest.raises(MissingParameterError, match="'add' needs 'x'"):
        execute(add)


def test_a_run_may_start_in_the_middle() -> None:
    ran: list[str] = []
    a, b, c = (task(name)(lambda name=name: ran.append(name)) for name in "abc")
    graph = graph_of(a >> b >> c)
    WorkflowEngine().execute(ExecutionContext.create(graph, "b"))
    assert ran == ["b", "c"]
    WorkflowEngine().execute(ExecutionContext.create(graph), start="c")
    assert ran == ["b", "c", "c"]


def test_the_context_knows_the_results_afterwards() -> None:
    context = ExecutionContext.create(graph_of(task("a")(lambda: 1) >> task("b")(lambda a: a + 1)))
    assert WorkflowEngine().execute(context) == 2
    assert (context.get_result("a"), context.completed_tasks) == (1, ["a", "b"])
    assert context.run_id


def test_typed_tasks_hand_on_their_models() -> None:
    class Size(BaseModel):
        size: int

    class Total(BaseModel):
        total: int

    @task
    def first(params: Size) -> Size:
        return Size(size=params.size * 2)

    @task
    def whole(params: Size) -> Total:
        return Total(total=params.size + 1)

    class Report(BaseModel):
        total: int
        first: Size
        note: str = "none"

    @task
    def report(params: Report) -> Report:
        return params

    found = execute(first >> whole >> report, size=3)
    assert found == Report(total=7, first=Size(size=6))
    assert execute(first >> whole >> report, size=3, note="x").note == "x"


def test_fields_may_come_from_a_mapping() -> None:
    class Size(BaseModel):
        size: int

    @task
    def wants(params: Size) -> Size:
        return params

    assert execute(task("a")(lambda: {"size": 4}) >> wants) == Size(size=4)
    both = task("a")(lambda: {"size": 4}) | task("b")(lambda: {"size": 5})
    with pytest.raises(RunFailed, match="'size' is in the results of a and b; bind it"):
        execute(both >> wants)
    with pytest.raises(RunFailed, match="needs 'size', and neither an upstream result nor"):
        execute(task("a")(lambda: {"other": 1}) >> wants)
