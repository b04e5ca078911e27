"""What a run knows while it runs, and what of it a task or a handler may see."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from handrail import plug
from handrail.contracts.attempt import Attempt
from handrail.contracts.task import Task
from handrail.errors import UnknownTaskError
from handrail.flow.graph import TaskGraph
from handrail.keep.channel import Channel, MemoryChannel
from handrail.keep.channel_changes import OnChange
from handrail.run.control import Cancel, NextIteration, NextTask, Request, Terminate
from handrail.run.typed_channel import Message, TypedChannel
from handrail.run.waits import Asking

_NOT_OURS = "this attempt was not started by an engine of Handrail: it has no run to ask"


#: How often a task may run that asks for iterations and has no `max_cycles`.
DEFAULT_MAX_CYCLES = 10


class ExecutionContext:
    """Results and channel of one run.

    Args:
        graph: what is run.
        start: name of the task to start at; by default all that follow nothing.
        inputs: first contents of the channel.
        run_id: id of the run; made when the run starts, if not given.
        on_change: told of every change of the channel.
        channel: the channel; by default one in memory that holds the inputs.
    """

    def __init__(
        self,
        graph: TaskGraph,
        start: str | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        run_id: str = "",
        on_change: OnChange | None = None,
        channel: Channel | None = None,
    ) -> None:
        self.graph = graph
        self.start = start
        self.run_id = run_id
        self.inputs = dict(inputs or {})
        self.results: dict[str, Any] = {}
        self.channel: Channel = channel or MemoryChannel(self.inputs, on_change)
        #: What bodies that are at work ask the engine to do next, by attempt.
        self.requests: dict[str, list[Request]] = {}
        #: Answers to questions that bodies asked, by question.
        self.answers: dict[str, Any] = {}

    @classmethod
    def create(
        cls,
        graph: TaskGraph,
        start: str | None = None,
        *,
        max_steps: int | None = None,
        **inputs: Any,
    ) -> ExecutionContext:
        """A context for a run of `graph`.

        Args:
            max_steps: most attempts that the run may take; unlimited by default.
            inputs: first contents of the channel.

        Raises:
            UnknownTaskError: `start` is no node of a graph that has nodes.
        """
        if start is not None and len(graph) and start not in graph:
            raise UnknownTaskError(start, tuple(graph))
        context = cls(graph, start, inputs=inputs)
        context.max_steps = max_steps
        return context

    #: Most attempts that the run may take; none: unlimited.
    max_steps: int | None = None

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

    def get_typed_channel(self, message_type: type[Message]) -> TypedChannel[Message]:
        """The run's channel as one of messages of a type, which are checked; see `TypedChannel`."""
        return TypedChannel(self.get_channel(), message_type)

    def has_task(self, name: str) -> bool:
        """Has the workflow a task of that name?"""
        return self.graph.has_node(name)

    def request(self, attempt_id: str, request: Request) -> None:
        """Notes what a body asks for; it is done when the attempt is accepted."""
        self.requests.setdefault(attempt_id, []).append(request)

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
        self._asking: Asking | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "attempt":
            raise AttributeError(name)
        if name == "execution":  # what the property raised is lost on the way here
            raise AttributeError(_NOT_OURS)
        return getattr(self.attempt, name)

    @property
    def execution(self) -> ExecutionContext:
        """The run's context."""
        if self._execution is None:
            raise AttributeError(_NOT_OURS)
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

    def get_typed_channel(self, message_type: type[Message]) -> TypedChannel[Message]:
        """The run's channel as one of messages of a type, which are checked; see `TypedChannel`."""
        return TypedChannel(self.get_channel(), message_type)

    # What to do next

    def next_task(self, task: Task | str, goto: bool = False) -> str:
        """Lets another task run when this one is finished; returns its name.

        A new task whose name another new one has gets a number behind it.

        Args:
            task: a task of the workflow, by itself or by name: the run jumps to it and leaves
                out what follows this task. Or a new task: it runs besides what follows.
            goto: leave out what follows this task in any case.
        """
        name = task if isinstance(task, str) else task.task_id
        if self.execution.has_task(name):
            self._request(NextTask(name, True))
        elif isinstance(task, str):
            raise UnknownTaskError(name)
        else:
            self._request(NextTask(task, goto))
        return name

    def next_iteration(self, data: Any = None) -> None:
        """Lets this task run again, with `data` for its first parameter besides the context.

        What follows runs after the last iteration. At most `max_cycles` runs, 10 by default.
        """
        self._request(NextIteration(data))

    def can_iterate(self) -> bool:
        """May this task ask for another iteration?"""
        return bool(self.cycle_count < (self.attempt.max_cycles or DEFAULT_MAX_CYCLES))

    def terminate_workflow(self, message: str = "") -> None:
        """Ends the run as a success when this task is finished; nothing follows."""
        self._request(Terminate(message))

    def cancel_workflow(self, message: str = "") -> None:
        """Cancels the run when this task's body returns; the task does not count as finished."""
        self._request(Cancel(message))

    def _request(self, request: Request) -> None:
        self.execution.request(self.attempt.attempt_id, request)

    # Questions to people

    def request_approval(self, prompt: str, *, timeout: float | None = None) -> bool:
        """Asks a yes-or-no question. See `handrail.run.waits` for what asking means.

        Args:
            timeout: how long this process waits for the answer before it gives the run back
                as waiting, in seconds; by default it does not wait.
        """
        return bool(self._ask("approval", prompt, timeout=timeout))

    def request_text_input(self, prompt: str, *, timeout: float | None = None) -> str:
        """Asks for a text."""
        return str(self._ask("text", prompt, timeout=timeout))

    def request_selection(
        self, prompt: str, options: Sequence[str], *, timeout: float | None = None
    ) -> str:
        """Asks for one of `options`."""
        return str(self._ask("selection", prompt, options, timeout))

    def request_feedback(self, prompt: str, *, timeout: float | None = None) -> Any:
        """Asks for any plain data."""
        return self._ask("feedback", prompt, timeout=timeout)

    def _ask(
        self, kind: str, prompt: str, options: Sequence[str] = (), timeout: float | None = None
    ) -> Any:
        if self._asking is None:
            key, answers = self.idempotency_key, self.execution.answers
            self._asking = Asking(self.attempt.task_id, key, answers)
        return self._asking.ask(kind, prompt, options, timeout)

    # Of this attempt only

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
        self.requests = execution.requests
        self.answers = execution.answers
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
