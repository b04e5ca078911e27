"""What a run knows while it runs, and what of it a task or a handler may see."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from handrail import plug
from handrail.contracts.attempt import Attempt
from handrail.errors import UnknownTaskError
from handrail.flow.graph import TaskGraph
from handrail.keep.channel import Channel, OnChange


class ExecutionContext:
    """Results and channel of one run.

    Args:
        graph: what is run.
        start: name of the task to start at; by default all that follow nothing.
        inputs: first contents of the channel.
        run_id: id of the run; made when the run starts, if not given.
        on_change: told of every change of the channel.
    """

    def __init__(
        self,
        graph: TaskGraph,
        start: str | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        run_id: str = "",
        on_change: OnChange | None = None,
    ) -> None:
        self.graph = graph
        self.start = start
        self.run_id = run_id
        self.inputs = dict(inputs or {})
        self.results: dict[str, Any] = {}
        self.channel = Channel(self.inputs, on_change)

    @classmethod
    def create(cls, graph: TaskGraph, start: str | None = None, **inputs: Any) -> ExecutionContext:
        """A context for a run of `graph`.

        Raises:
            UnknownTaskError: `start` is no node of a graph that has nodes.
        """
        if start is not None and len(graph) and start not in graph:
            raise UnknownTaskError(start, tuple(graph))
        return cls(graph, start, inputs=inputs)

    @property
    def session_id(self) -> str:
        """Id of the run."""
        return self.run_id

    @property
    def completed_tasks(self) -> list[str]:
        """Names of tasks that have a result, in order."""
        return list(self.results)

    def set_result(self, task_id: str, value: Any) -> None:
        """Stores the result of a task."""
        self.results[task_id] = value

    def get_result(self, task_id: str, default: Any = None) -> Any:
        """The result of a task, or `default`."""
        return self.results.get(task_id, default)

    def get_channel(self) -> Channel:
        """The run's channel."""
        return self.channel

    def execute(self) -> Any:
        """Runs the graph with the default engine, in memory, and returns its result."""
        return plug.runtime().engine().execute(self)


class TaskExecutionContext:
    """What `inject_context=True` injects: one attempt's view of its run.

    Attributes of the attempt (`task_id`, `attempt_id`, `retry_count`, `input_ref`, ...) are
    attributes here, too.
    """

    def __init__(
        self,
        attempt: Any,
        execution_id: str | None = None,
        execution: ExecutionContext | None = None,
    ) -> None:
        self.attempt = attempt
        self.execution_id = execution_id or getattr(attempt, "attempt_id", "")
        self._execution = execution
        self._started = time.monotonic()
        self._local: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "attempt":
            raise AttributeError(name)
        return getattr(self.attempt, name)

    @property
    def execution(self) -> ExecutionContext:
        """The run's context."""
        if self._execution is None:
            raise AttributeError("this attempt was not started by an engine of Handrail")
        return self._execution

    @property
    def session_id(self) -> str:
        """Id of the run."""
        return self.execution.run_id

    @property
    def idempotency_key(self) -> str:
        """The same for every try of the same work, also after a resume.

        Hand it to services outside, so that work that runs twice has its effect once.
        """
        return str(self.attempt.logical_key)

    def get_result(self, task_id: str, default: Any = None) -> Any:
        """The result of another task, or `default`."""
        return self.execution.get_result(task_id, default)

    def get_channel(self) -> Channel:
        """The run's channel."""
        return self.execution.get_channel()

    def set_local_data(self, key: str, value: Any) -> None:
        """Keeps a value for the length of this attempt."""
        self._local[key] = value

    def get_local_data(self, key: str, default: Any = None) -> Any:
        """A value kept by `set_local_data`, or `default`."""
        return self._local.get(key, default)

    def elapsed_time(self) -> float:
        """Seconds since the attempt began."""
        return time.monotonic() - self._started


class HandlerContext(ExecutionContext):
    """A handler's view of a run: it reads what the run knows; results it sets are provisional.

    Nothing reaches the run before the attempt is accepted.
    """

    def __init__(self, execution: ExecutionContext, attempt: Attempt) -> None:
        self.graph = execution.graph
        self.start = execution.start
        self.run_id = execution.run_id
        self.inputs = execution.inputs
        self.channel = execution.channel
        self.results = execution.results
        self.attempt = attempt
        self.provisional: dict[str, Any] = {}

    def set_result(self, task_id: str, value: Any) -> None:
        """Hands in the result of the attempt, to be accepted when the handler returns."""
        self.provisional[task_id] = value

    def get_result(self, task_id: str, default: Any = None) -> Any:
        """A result that was handed in here, else one of the run, else `default`."""
        if task_id in self.provisional:
            return self.provisional[task_id]
        return self.results.get(task_id, default)
