"""The recording of one tracked call, which never harms the call.

The start is tried once before the function runs, and again in the background and at the end if
it failed; meanwhile the execution goes by an id made here. The same holds for the end.
"""

from __future__ import annotations

import logging
import os
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import ValidationError

from handrail.tracking.declared import ETLResults, WatcherExecutionContext
from handrail.tracking.keeper import BEATS_PER_LEASE, LeaseKeeper, is_refusal
from handrail.tracking.transport import TrackingTransport
from handrail.tracking.watermark import Position
from handrail.tracking.wire import CLIENT_IDS, EndExecution, ErrorDetail, StartExecution

_log = logging.getLogger("handrail.tracking")

#: Longest traceback that is recorded, in characters; the middle of a longer one is left out.
TRACEBACK_LIMIT = 64 * 1024


class Recording:
    """One execution, from its start to its end.

    Args:
        name: how log messages call the function.
        source: gives the transport; it may raise.
        request: the start, with `lease_seconds`.
        parent: what surrounds the call, for a request that names no parent.
        keeper: beats while the function runs.
    """

    def __init__(
        self,
        name: str,
        source: Callable[[], TrackingTransport],
        request: StartExecution,
        parent: Parent | None,
        keeper: LeaseKeeper,
    ) -> None:
        self.name = name
        self.pipeline_id = request.pipeline_id
        self.context = WatcherExecutionContext(execution_id=0, pipeline_id=request.pipeline_id)
        self._source = source
        self._request = request
        self._keeper = keeper
        self.parent = None if request.parent_execution_id is not None else parent
        self._process_id = os.getpid()
        self._transport: TrackingTransport | None = None
        self._recorded_id: int | None = None
        self._next_watermark: Position | None = None
        self._refused = False
        self._complained = False

    @property
    def execution_id(self) -> int:
        """The id that the function and its caller see."""
        return self.context.execution_id

    @property
    def where(self) -> str | None:
        """Which tracker it goes to; None if that could not be found out."""
        return None if self._transport is None else self._transport.where

    # Starting

    def begin(self) -> None:
        """Records the start, or goes on with an id of its own."""
        started_at = datetime.now(UTC)
        try:
            self._start()
        except Exception as exc:
            self._go_on_alone(started_at)
            self._not_recorded("start", exc, self._start_later)

    def _go_on_alone(self, started_at: datetime) -> None:
        client_id = random.choice(CLIENT_IDS)
        self._request = self._request.model_copy(
            update={"client_execution_id": client_id, "started_at": started_at}
        )
        self._enter(client_id, self._request.watermark, self._request.next_watermark)

    def _start(self) -> None:
        self._transport = transport = self._source()
        if self.parent is not None:
            fields = self.parent.fields(transport.where)
            self._request = self._request.model_copy(update=fields)
        started = transport.start_execution(self._request)
        self._recorded_id = started.id
        if self._request.lease_seconds is not None:
            self._keeper.hold(transport, started.id, self._request.lease_seconds)
        if not self.execution_id:
            self._enter(started.id, started.watermark, started.next_watermark)

    def _start_later(self) -> None:
        if self._recorded_id is None:
            self._start()

    def _enter(
        self, execution_id: int, watermark: Position | None, next_watermark: Position | None
    ) -> None:
        self.context = WatcherExecutionContext(
            execution_id=execution_id,
            pipeline_id=self.pipeline_id,
            watermark=watermark,
            next_watermark=next_watermark,
        )

    def move_next_watermark(self, next_watermark: Position | None) -> int | None:
        """Makes this execution promote another watermark; its recorded id, if it has one."""
        self._next_watermark = next_watermark
        return self._recorded_id

    # Ending

    def finished(self, results: ETLResults) -> None:
        """Records what the function returned."""
        try:
            fields = {name: getattr(results, name) for name in ETLResults.model_fields}
            end = self._end(**fields)
        except Exception as exc:
            # A subclass may have loosened the fields: then the outcome counts, not the numbers.
            _log.warning("Results of %s cannot be recorded whole: %s", self.name, exc)
            end = self._end(completed_successfully=bool(results.completed_successfully))
        self._record_end(end)

    def failed(self, exc: BaseException, *, cancelled: bool = False) -> None:
        """Records what the function raised."""
        try:
            error = error_detail(exc)
        except Exception as broken:
            _log.debug("A %s cannot be told whole.", type(exc).__name__, exc_info=broken)
            error = ErrorDetail(type=type(exc).__name__, message="")
        self._record_end(self._end(completed_successfully=False, cancelled=cancelled, error=error))

    def _end(self, **fields: Any) -> EndExecution:
        return EndExecution(
            execution_id=self.execution_id, next_watermark=self._next_watermark, **fields
        )

    def _record_end(self, end: EndExecution) -> None:
        if os.getpid() != self._process_id:  # a fork of the function's process, which goes on
            return
        self._keeper.settle(self)
        if self._recorded_id is None:
            end = end.model_copy(update={"ended_at": datetime.now(UTC)})
        try:
            if not self._refused:
                self._deliver(end)
        except Exception as exc:
            end = end.model_copy(update={"ended_at": end.ended_at or datetime.now(UTC)})
            self._not_recorded("end", exc, partial(self._deliver, end))
        finally:
            if self._transport is not None and self._recorded_id is not None:
                self._keeper.release(self._transport, self._recorded_id)

    def _deliver(self, end: EndExecution) -> None:
        if self._recorded_id is None:
            self._start()
        assert self._transport is not None
        reply = self._transport.end_execution(
            end.model_copy(update={"execution_id": self._recorded_id})
        )
        if reply.superseded:
            _log.warning(
                "Execution %d of %s ended after it was judged %s; its end is kept beside that.",
                reply.id,
                self.name,
                reply.state.value,
            )

    def _not_recorded(self, what: str, exc: Exception, deliver: Callable[[], None]) -> None:
        self._refused = is_refusal(exc)
        if not self._refused:
            lease_seconds = self._request.lease_seconds or 30.0
            self._keeper.owe(self, lease_seconds / BEATS_PER_LEASE, deliver)
        level = logging.DEBUG if self._complained and not self._refused else logging.WARNING
        self._complained = True
        _log.log(
            level,
            "The %s of %s (execution %d) could not be recorded%s: %s",
            what,
            self.name,
            self.execution_id,
            "" if self._refused else " yet",
            exc,
            exc_info=not isinstance(exc, ValidationError),
        )


def error_detail(exc: BaseException) -> ErrorDetail:
    """What is recorded of an exception; its traceback begins in the tracked function."""
    tb = exc.__traceback__
    if tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    told = traceback.TracebackException(type(exc), exc, tb)
    text = "".join(told.format())
    left_out = len(text) - TRACEBACK_LIMIT
    if left_out > 0:
        half = TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n... {left_out} characters left out ...\n{text[-half:]}"
    return ErrorDetail(type=type(exc).__qualname__, message=_message(exc), traceback=text)


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as broken:
        _log.debug("str() of a %s failed: %s", type(exc).__name__, broken, exc_info=True)
        return f"<{type(exc).__name__} that cannot be shown>"


# Parents


@dataclass(frozen=True)
class Parent:
    """What an execution started now is a child of."""

    recording: Recording | None = None
    key: str | None = None
    outer: Parent | None = None

    def fields(self, where: str) -> dict[str, int | str]:
        """The parent's field of a start that goes to the tracker `where`."""
        if self.key is not None:
            return {"parent_key": self.key}
        if self.recording is not None and self.recording.where in (None, where):
            return {"parent_execution_id": self.recording.execution_id}
        return self.outer.fields(where) if self.outer else {}


_parent: ContextVar[Parent | None] = ContextVar("handrail_tracking_parent", default=None)


def current_parent() -> Parent | None:
    """What surrounds the code that runs now."""
    return _parent.get()


def recording_of(pipeline_id: int) -> Recording | None:
    """The innermost execution of that pipeline around the code that runs now."""
    parent = _parent.get()
    while parent is not None:
        if parent.recording is not None and parent.recording.pipeline_id == pipeline_id:
            return parent.recording
        parent = parent.outer
    return None


@contextmanager
def _inside(parent: Parent) -> Iterator[None]:
    token = _parent.set(parent)
    try:
        yield
    finally:
        _parent.reset(token)


def within(recording: Recording) -> AbstractContextManager[None]:
    """Makes executions started inside children of `recording`."""
    return _inside(Parent(recording, outer=_parent.get()))


def child_of(key: str) -> AbstractContextManager[None]:
    """Makes executions started inside children of the execution with that key.

    That execution may become known to the tracker later. Threads started inside do not inherit
    it, as with any context variable.
    """
    return _inside(Parent(key=key, outer=_parent.get()))
