"""The engine: handlers by name, and runs in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from handrail import plug
from handrail.contracts.limits import Limit
from handrail.contracts.task import check_options
from handrail.errors import (
    RunError,
    RunFailed,
    RunWaiting,
    TaskDefinitionError,
    UnknownHandlerError,
)
from handrail.flow.plan import Plan
from handrail.ids import Ids
from handrail.keep.limits import MemoryLimiter
from handrail.keep.reuse import KeptResults
from handrail.run.context import ExecutionContext
from handrail.run.failure import one_line
from handrail.run.flight import RunSetting
from handrail.run.handler import TaskHandler, as_handler
from handrail.run.limits import Limits
from handrail.run.loop import RunLoop
from handrail.run.record import Recorder

#: Limits of all runs in memory of this process.
_IN_MEMORY = MemoryLimiter()


def register_handler(handler_type: str, handler: TaskHandler | type[TaskHandler] | str) -> None:
    """Makes a handler known to every engine of this process.

    Args:
        handler: an instance, a class that is called without arguments, or `"module:Class"`.
    """
    plug.handlers.register(handler_type, handler)


class WorkflowEngine:
    """Runs graphs. Handlers registered here come before those of the process.

    Use as a context manager, or call `close`, to end the worker processes it started.
    """

    def __init__(self, *, max_workers: int | None = None) -> None:
        self.max_workers = max_workers
        self._handlers: dict[str, TaskHandler] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> WorkflowEngine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # Handlers

    def register_handler(self, handler_type: str, handler: TaskHandler | type[TaskHandler]) -> None:
        """Makes `handler`, or an instance of it, run the tasks whose type is this word."""
        if isinstance(handler, type):
            handler = handler()
        if not callable(getattr(handler, "execute_task", None)):
            raise TaskDefinitionError(
                f"Handler '{handler_type}': {handler!r} has no execute_task(task, context)."
            )
        self._handlers[handler_type] = as_handler(handler)

    def handler(self, handler_type: str) -> TaskHandler:
        """The handler of that word.

        Raises:
            UnknownHandlerError: there is none.
            NotInstalledError: there is one, and what it needs is not installed.
        """
        found = self._handlers.get(handler_type)
        if found is None:
            with self._lock:
                found = self._handlers.get(handler_type) or self._make(handler_type)
        return found

    def _make(self, handler_type: str) -> TaskHandler:
        try:
            plugged = plug.handlers.get(handler_type)
        except KeyError:
            known = {*plug.handlers.names(), *self._handlers}
            raise UnknownHandlerError(handler_type, tuple(known)) from None
        made = as_handler(plugged() if isinstance(plugged, type) else plugged)
        self._handlers[handler_type] = made
        return made

    def check_handlers(self, plan: Plan) -> None:
        """Raises for the first task whose handler is unknown, missing, or lacks an option."""
        for handler_type in dict.fromkeys(n.handler_type for n in plan.nodes if n.definition):
            self.handler(handler_type)
        for node in plan.nodes:
            if node.definition is not None and node.definition.handler_options:
                options = node.definition.handler_options.get(node.handler_type)
                if options:
                    model = self.handler(node.handler_type).options_model
                    check_options(node.definition.name, node.handler_type, options, model)

    def close(self) -> None:
        """Ends what its handlers hold: worker processes, connections."""
        handlers, self._handlers = self._handlers, {}
        for handler in handlers.values():
            handler.close()

    # Runs in memory

    def execute(
        self,
        context: ExecutionContext,
        start: str | None = None,
        *,
        limits: Mapping[str, Limit] = MappingProxyType({}),
    ) -> Any:
        """Runs the context's graph in memory and returns its result.

        Args:
            limits: limits by tag.

        Raises:
            WorkflowDefinitionError: the graph cannot run; nothing was started.
            RunFailed: a task failed for good.
        """
        plan = Plan(context.graph, start=start or context.start, inputs=context.inputs)
        return self.execute_plan(plan, context, limits=limits)

    def execute_plan(
        self,
        plan: Plan,
        context: ExecutionContext,
        *,
        workflow: str = "workflow",
        max_workers: int | None = None,
        max_steps: int | None = None,
        timeout: float | None = None,
        watch: Any = None,
        limits: Mapping[str, Limit] = MappingProxyType({}),
        kept_results: KeptResults | None = None,
    ) -> Any:
        """Runs a plan in memory. Nothing can be resumed.

        Args:
            kept_results: where tasks with a cache find and leave results; none: they all run.
        """
        self.check_handlers(plan)
        context.run_id = context.run_id or Ids().new()
        setting = RunSetting(
            run_id=context.run_id,
            workflow=workflow,
            key=context.run_id,
            max_workers=max_workers or self.max_workers,
            max_steps=max_steps or context.max_steps,
            timeout_seconds=timeout,
            kept_results=kept_results,
        )
        recorder = Recorder(context.run_id, 1, None, watch)
        held = Limits(limits, _IN_MEMORY, context.run_id, 1)
        loop = RunLoop(
            plan,
            context,
            setting,
            handler=self.handler,
            recorder=recorder,
            limits=held,
        )
        try:
            loop.drive()
        except BaseException:
            loop.abort()
            raise
        finally:
            held.close()
        raise_failure(loop, context.run_id)
        return loop.result()


def raise_failure(loop: RunLoop, run_id: str, next_step: str = "") -> None:
    """Raises `RunFailed` if a task of the loop failed for good."""
    if loop.failure is None:
        if loop.waits:
            waits = [wait for wait, _, _ in loop.waits.values()]
            raise RunWaiting(run_id, waits, can_resume=loop.is_journaled)
        return
    task_id, error = loop.failure
    if isinstance(error, RunError):
        raise error
    raise RunFailed(
        f"Run {run_id}: task '{task_id}' failed: {one_line(error).rstrip('.')}{next_step}",
        run_id=run_id,
        task_id=task_id,
        cause=error,
    ) from error
