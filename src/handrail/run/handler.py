"""The socket of task handlers: where the body of an attempt runs.

A handler changes only *where* a body runs. It is called with a bound view of one attempt and
hands in a provisional result; the engine accepts it, publishes its files, and tells of it.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from handrail.contracts.attempt import Attempt
from handrail.contracts.task import TaskDefinition
from handrail.errors import HandlerResultError
from handrail.run.body import run_body
from handrail.run.context import ExecutionContext, HandlerContext, TaskExecutionContext

#: Takes one line or piece of output: stream ("stdout", "stderr", "log") and text.
OutputSink = Callable[[str, str], None]


class BoundTask:
    """One attempt of a task as its handler sees it."""

    __slots__ = ("arguments", "attempt", "context", "definition", "output", "workspace")

    def __init__(
        self,
        definition: TaskDefinition,
        attempt: Attempt,
        arguments: Mapping[str, Any],
        context: ExecutionContext,
        workspace: Path | None = None,
        output: OutputSink | None = None,
    ) -> None:
        self.definition = definition
        self.attempt = attempt
        #: Arguments by parameter; for typed tasks fields of `params`, or `{"": params}`.
        self.arguments = arguments
        self.context = context
        #: The attempt's private copy of the files, for tasks that have a workspace.
        self.workspace = workspace
        #: Where output of the body goes that does not come through this process's streams.
        self.output: OutputSink = output or _to_own_streams

    @property
    def task_id(self) -> str:
        """Name of the task in its workflow."""
        return self.attempt.task_id

    @property
    def handler_type(self) -> str:
        """Word by which the handler was chosen."""
        return self.definition.handler_type

    def options(self, handler_type: str | None = None) -> Mapping[str, Any]:
        """Options given to `@task` for a handler, without its prefix."""
        return self.definition.handler_options.get(handler_type or self.handler_type, {})

    def run(self) -> Any:
        """Runs guardrails and body here, in this thread, and returns the result.

        Never publishes anything.
        """
        injected = (
            TaskExecutionContext(self.attempt, execution=self.context)
            if self.definition.inject_context
            else None
        )
        return run_body(self.definition, self.arguments, workspace=self.workspace, context=injected)


def _to_own_streams(stream: str, text: str) -> None:
    print(text, end="", file=sys.stdout if stream == "stdout" else sys.stderr, flush=True)


def also_shown(sink: OutputSink) -> OutputSink:
    """A sink for bodies elsewhere: what they print is logged and seen here, as if printed here.

    Log records are only logged: whether they are shown is for the far side's levels to say.
    """

    def take(stream: str, text: str) -> None:
        sink(stream, text)
        if stream != "log":
            _to_own_streams(stream, text)

    return take


class TaskHandler(ABC):
    """Runs bodies somewhere. Subclass it and register the instance under a word.

    `execute_task` is called in a thread of its own for each attempt, several at once.
    """

    #: Model of the options that `@task` takes as `<handler>_<option>`; none: no options.
    options_model: ClassVar[type[BaseModel] | None] = None
    #: Can `stop` end a body that runs?
    can_stop: ClassVar[bool] = False
    #: Is a body kept from this process's memory?
    isolates: ClassVar[bool] = False
    #: Do bodies run on other machines, where the embedded store cannot be reached?
    off_host: ClassVar[bool] = False

    @abstractmethod
    def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
        """Runs one attempt and hands in its result by `context.set_result(task.task_id, ...)`.

        Raising, or handing in an exception, fails the attempt.
        """

    def get_name(self) -> str:
        """How messages call this handler."""
        return type(self).__name__

    def capacity(self, max_workers: int | None) -> int:
        """How many bodies may run at once; `max_workers` is what the user asked for."""
        return max_workers or 8

    def stop(self, attempt_id: str) -> bool:
        """Ends the body of an attempt. True: it is certain that it no longer runs."""
        return False

    def close(self) -> None:  # noqa: B027 - may be left out
        """Releases what the handler holds: processes, connections."""


class _Duck(TaskHandler):
    """A handler that somebody wrote without the base class."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        for name in ("capacity", "stop", "close", "get_name", "options_model"):
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
        self._inner.execute_task(task, context)

    def get_name(self) -> str:
        return type(self._inner).__name__


def as_handler(handler: Any) -> TaskHandler:
    """A handler, or whatever has an `execute_task(task, context)`, as a `TaskHandler`."""
    return handler if isinstance(handler, TaskHandler) else _Duck(handler)


def execute(handler: TaskHandler, task: BoundTask, context: HandlerContext) -> Any:
    """Lets `handler` run one attempt and returns the result that it handed in.

    Raises:
        HandlerResultError: it handed in none.
        BaseException: what the body raised, or the exception that was handed in as a result.
    """
    handler.execute_task(task, context)
    if task.task_id not in context.provisional:
        raise HandlerResultError(
            f"Handler '{task.handler_type}' ({handler.get_name()}) returned without a result for "
            f"task '{task.task_id}'. Call context.set_result(task.task_id, ...), also for None."
        )
    value = context.provisional[task.task_id]
    if isinstance(value, BaseException):
        raise value
    return value
