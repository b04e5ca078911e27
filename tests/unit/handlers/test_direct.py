from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from handrail.contracts.attempt import Attempt
from handrail.contracts.guards import require_file
from handrail.contracts.task import Task, task
from handrail.contracts.workspace import WorkspaceSpec
from handrail.errors import PreGuardrailViolation, TaskInputError
from handrail.flow.graph import TaskGraph
from handrail.handlers.direct import DirectTaskHandler
from handrail.ids import Token
from handrail.run.context import ExecutionContext, HandlerContext, TaskExecutionContext
from handrail.run.handler import BoundTask, execute


class Params(BaseModel):
    name: str


class Result(BaseModel):
    length: int


def call(made: Task, workspace: Path | None = None, **arguments: Any) -> Any:
    attempt = Attempt("r-1-1", "r", made.task_id, f"r/{made.task_id}", Token(1, 1))
    context = HandlerContext(ExecutionContext(TaskGraph(), run_id="r"), attempt)
    bound = BoundTask(made.definition, attempt, arguments, context, workspace)
    return execute(DirectTaskHandler(), bound, context)


def test_a_body_runs_in_the_calling_thread() -> None:
    @task
    def where() -> int:
        return threading.get_ident()

    assert call(where) == threading.get_ident()


def test_an_async_body_is_awaited() -> None:
    @task
    async def later(x: int) -> int:
        return x + 1

    assert call(later, x=1) == 2


def test_none_is_a_result() -> None:
    @task
    def nothing() -> None: ...

    assert call(nothing) is None


def test_an_error_of_the_body_is_the_error() -> None:
    error = KeyError("mine")

    @task
    def fails() -> None:
        raise error

    with pytest.raises(KeyError) as raised:
        call(fails)
    assert raised.value is error


def test_a_context_is_injected() -> None:
    @task(inject_context=True)
    def asks(context: TaskExecutionContext, key: str) -> tuple[str, str]:
        context.get_channel().set(key, "kept")
        return context.get_channel().get(key), context.task_id

    assert call(asks, key="k") == ("kept", "asks")


def test_typed_tasks_are_checked_before_their_body() -> None:
    @task
    def measure(params: Params) -> Result:
        return Result(length=len(params.name))

    assert call(measure, name="four") == Result(length=4)
    with pytest.raises(TaskInputError, match="params do not validate"):
        call(measure, nome="four")


def test_guardrails_are_checked(tmp_path: Path) -> None:
    @task(workspace=WorkspaceSpec(pre=[require_file("in.txt")]))
    def measure(workspace: Path, params: Params) -> Result:
        return Result(length=len((workspace / "in.txt").read_text()))

    with pytest.raises(PreGuardrailViolation):
        call(measure, tmp_path, name="x")
    (tmp_path / "in.txt").write_text("12345")
    assert call(measure, tmp_path, name="x") == Result(length=5)


def test_it_says_what_it_cannot_do() -> None:
    handler = DirectTaskHandler()
    assert handler.get_name() == "direct"
    assert not handler.can_stop
    assert not handler.isolates
    assert handler.stop("r-1-1") is False
    assert handler.capacity(3) == 3
    assert handler.capacity(None) >= 1
