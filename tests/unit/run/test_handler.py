from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handrail.contracts.attempt import Attempt
from handrail.contracts.task import Task, task
from handrail.errors import HandlerResultError
from handrail.flow.graph import TaskGraph
from handrail.ids import Token
from handrail.run.context import ExecutionContext, HandlerContext, TaskExecutionContext
from handrail.run.handler import BoundTask, TaskHandler, execute


class Own(TaskHandler):
    """Does what it is told."""

    def __init__(self, do: Any) -> None:
        self.do = do

    def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
        self.do(task, context)


def bind(made: Task, **arguments: Any) -> tuple[BoundTask, HandlerContext]:
    attempt = Attempt("r-1-1", "r", "name", "r/name", Token(1, 1))
    context = HandlerContext(ExecutionContext(TaskGraph(), run_id="r"), attempt)
    return BoundTask(made.definition, attempt, arguments, context), context


def run(do: Any, made: Task | None = None, **arguments: Any) -> Any:
    return execute(Own(do), *bind(made or Task("t"), **arguments))


def test_the_result_that_was_handed_in_is_the_result() -> None:
    assert run(lambda task, context: context.set_result(task.task_id, 5)) == 5
    assert run(lambda task, context: context.set_result(task.task_id, None)) is None
    add = task(lambda x, y=1: x + y)
    assert run(lambda t, c: c.set_result(t.task_id, t.run()), add, x=2) == 3


def test_a_handler_that_hands_in_nothing_has_failed() -> None:
    for do in (lambda task, context: 5, lambda task, context: context.set_result("other", 5)):
        with pytest.raises(HandlerResultError, match=r"\(Own\) returned without a result for task"):
            run(do)


def test_an_exception_that_is_handed_in_is_a_failure() -> None:
    with pytest.raises(KeyError, match="mine"):
        run(lambda task, context: context.set_result(task.task_id, KeyError("mine")))


def test_what_a_handler_raises_is_a_failure() -> None:
    def do(task: BoundTask, context: ExecutionContext) -> None:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        run(do)


def test_a_bound_task_shows_what_a_handler_needs() -> None:
    made = task("t", handler="own", own_speed=3)(lambda: None)
    bound, context = bind(made, x=1)
    assert (bound.task_id, bound.handler_type, bound.arguments) == ("name", "own", {"x": 1})
    assert (bound.options(), bound.options("other")) == ({"speed": 3}, {})
    assert (bound.workspace, bound.context) == (None, context)


def test_running_a_bound_task_injects_its_context() -> None:
    made = task(inject_context=True)(lambda context, x: (context, x))
    bound, _ = bind(made, x=1)
    injected, x = bound.run()
    assert isinstance(injected, TaskExecutionContext)
    assert (injected.task_id, injected.idempotency_key, x) == ("name", "r/name", 1)


def test_output_goes_to_the_own_streams_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bound, _ = bind(Task("t"))
    bound.output("stdout", "out\n")
    bound.output("stderr", "err\n")
    bound.output("log", "log\n")
    assert tuple(capsys.readouterr()) == ("out\n", "err\nlog\n")
    heard: list[tuple[str, str]] = []
    attempt = bound.attempt
    told = BoundTask(
        Task("t").definition,
        attempt,
        {},
        bound.context,
        Path("/x"),
        lambda s, t: heard.append((s, t)),
    )
    told.output("stdout", "x")
    assert heard == [("stdout", "x")]
    assert told.workspace == Path("/x")


def test_a_handler_says_little_about_itself_by_default() -> None:
    handler = Own(None)
    assert (handler.can_stop, handler.isolates, handler.off_host) == (False, False, False)
    assert (handler.get_name(), handler.options_model) == ("Own", None)
    assert (handler.capacity(None), handler.capacity(3)) == (8, 3)
    assert handler.stop("r-1-1") is False
    handler.close()


def test_a_handler_must_be_able_to_execute() -> None:
    with pytest.raises(TypeError, match="abstract"):
        TaskHandler()  # type: ignore[abstract]
