"""The decorator behind `Watcher.track_pipeline_execution`: one call is one execution."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

from handrail.errors import TrackedResultError
from handrail.tracking.declared import ETLResults, ExecutionResult, WatcherExecutionContext
from handrail.tracking.keeper import LeaseKeeper, process_keeper
from handrail.tracking.recording import Recording, current_parent, within
from handrail.tracking.transport import TrackingTransport
from handrail.tracking.wire import StartExecution

#: The parameter that a tracked function declares to get its `WatcherExecutionContext`.
CONTEXT_PARAMETER = "watcher_context"

Tracked: TypeAlias = Callable[..., ExecutionResult | None]
TrackedAsync: TypeAlias = Callable[..., Coroutine[Any, Any, ExecutionResult | None]]


@dataclass(frozen=True)
class TrackingDecorator:
    """Makes each call of a function an execution of one pipeline.

    The decorated function gives `ExecutionResult`, or None if the pipeline is not active.
    """

    source: Callable[[], TrackingTransport]
    start: Callable[[], StartExecution]
    active: bool
    keeper: LeaseKeeper = process_keeper

    @overload
    def __call__(self, func: Callable[..., Coroutine[Any, Any, ETLResults]]) -> TrackedAsync: ...

    @overload
    def __call__(self, func: Callable[..., ETLResults]) -> Tracked: ...

    def __call__(self, func: Any) -> Any:
        if isinstance(func, staticmethod | classmethod):
            return type(func)(self(func.__func__))
        is_async = inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(
            getattr(func, "__call__", None)  # noqa: B004 - asks how, not whether
        )
        wrapped = self._wrap_async(func) if is_async else self._wrap(func)
        return _without_context(wrapped, func)

    def _wrap(self, func: Callable[..., ETLResults]) -> Tracked:
        name, place = _name(func), _placing(func)

        @functools.wraps(func)
        def tracked(*args: Any, **kwargs: Any) -> ExecutionResult | None:
            if self._skips(name):
                return None
            recording = self._recording(name)
            try:
                recording.begin()
                with within(recording):
                    args, kwargs = place(recording.context, args, kwargs)
                    results = _checked(name, func(*args, **kwargs))
            except BaseException as exc:
                recording.failed(exc)
                raise
            recording.finished(results)
            return ExecutionResult(execution_id=recording.execution_id, results=results)

        return tracked

    def _wrap_async(self, func: Callable[..., Coroutine[Any, Any, ETLResults]]) -> TrackedAsync:
        # Whoever declares an async function has paid for this import already.
        from asyncio import CancelledError

        name, place = _name(func), _placing(func)

        @functools.wraps(func)
        async def tracked(*args: Any, **kwargs: Any) -> ExecutionResult | None:
            if self._skips(name):
                return None
            recording = self._recording(name)
            try:
                recording.begin()
                with within(recording):
                    args, kwargs = place(recording.context, args, kwargs)
                    results = _checked(name, await func(*args, **kwargs))
            except BaseException as exc:
                recording.failed(exc, cancelled=isinstance(exc, CancelledError))
                raise
            recording.finished(results)
            return ExecutionResult(execution_id=recording.execution_id, results=results)

        return tracked

    def _skips(self, name: str) -> bool:
        if self.active is False:
            warnings.warn(
                f"{name}() was not called: its pipeline is not active.", UserWarning, stacklevel=3
            )
        return self.active is False

    def _recording(self, name: str) -> Recording:
        return Recording(name, self.source, self.start(), current_parent(), self.keeper)


def _name(func: Callable[..., Any]) -> str:
    return getattr(func, "__qualname__", None) or repr(func)


def _checked(name: str, returned: object) -> ETLResults:
    if isinstance(returned, ETLResults):
        return returned
    hint = ""
    if inspect.iscoroutine(returned):
        returned.close()
        hint = "Declare it with async def, so that it is awaited."
    elif isinstance(returned, ExecutionResult):
        hint = "Return the .results of the inner execution."
    raise TrackedResultError(name, returned, hint)


# The context is a parameter that the caller does not see

_Place: TypeAlias = Callable[
    [WatcherExecutionContext, tuple[Any, ...], dict[str, Any]],
    tuple[tuple[Any, ...], dict[str, Any]],
]


#: A position that no call reaches, so that the context is always passed by keyword.
_BY_KEYWORD = sys.maxsize


def _context_position(func: Callable[..., Any]) -> int | None:
    """Where the context stands among the parameters; None if there is no such parameter."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):  # some callables written in C tell no signature
        return None
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for position, parameter in enumerate(parameters):
        if parameter.name == CONTEXT_PARAMETER and parameter.kind not in variadic:
            by_keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
            return _BY_KEYWORD if by_keyword else position
    return None


def _placing(func: Callable[..., Any]) -> _Place:
    position = _context_position(func)

    def place(
        context: WatcherExecutionContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if position is None or CONTEXT_PARAMETER in kwargs:
            return args, kwargs
        if len(args) < position:
            return args, {**kwargs, CONTEXT_PARAMETER: context}
        return (*args[:position], context, *args[position:]), kwargs

    return place


def _without_context(wrapped: Any, func: Callable[..., Any]) -> Any:
    if _context_position(func) is not None:
        signature = inspect.signature(func)
        rest = [p for p in signature.parameters.values() if p.name != CONTEXT_PARAMETER]
        wrapped.__signature__ = signature.replace(parameters=rest)
    return wrapped
