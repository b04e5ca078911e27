"""Tells OpenTelemetry of runs: one span per run, group and attempt.

Needs the extra `otel`. Where spans go is the program's affair: it sets up a tracer provider with
the SDK, or is started by `opentelemetry-instrument`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from handrail.contracts import event as kinds
from handrail.contracts.event import Event
from handrail.errors import NotInstalledError
from handrail.hooks.spec import RunView, RunWatcher

try:
    from opentelemetry import context as otel_context
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Status, StatusCode, Tracer, TracerProvider
except ImportError as exc:
    raise NotInstalledError("The watcher 'opentelemetry'", "otel") from exc

log = logging.getLogger("handrail.hooks")

_ENDS = {
    kinds.TASK_SUCCEEDED: "succeeded",
    kinds.TASK_FAILED: "failed",
    kinds.TASK_RETRIED: "failed",
    kinds.WAIT_ASKED: "waiting",
}
_NOT_TOLD = (kinds.RUN_STARTED, kinds.RUN_RESUMED, kinds.RUN_FINISHED, kinds.CHANNEL_CHANGED)


class OpenTelemetryWatcher(RunWatcher):
    """Makes a span of each run, each group in it, and each attempt of a task.

    A run's span continues the trace that is current where the run is started. Spans of attempts
    are children of their group's span, those of groups that belong to none of the run's. Their
    times are those of the events. What fails has the status ERROR and an event `exception`.

    A resumed run is a span of its own, maybe in another trace: both have the attribute
    `handrail.run.id`, with `handrail.run.epoch` 1, 2, and so on.

    Args:
        tracer_provider: by default the global one, as it is when a run starts.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._provider = tracer_provider
        self._traces: dict[tuple[str, int], _RunTrace] = {}
        self._has_warned = False

    def on_run_started(self, run: RunView) -> None:
        """Starts the run's span."""
        self._traces[run.run_id, run.epoch] = _RunTrace(self._tracer(), run)

    def on_event(self, run: RunView, event: Event) -> None:
        """Starts or ends a span, or adds the event to one."""
        found = self._traces.get((run.run_id, run.epoch))
        if found is not None:
            found.take(event)

    def on_run_finished(self, run: RunView, state: str, reason: str | None) -> None:
        """Ends the run's span, and those that are still open."""
        found = self._traces.pop((run.run_id, run.epoch), None)
        if found is not None:
            found.end(state, reason)

    def _tracer(self) -> Tracer:
        provider = self._provider or trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider) and not self._has_warned:
            self._has_warned = True
            log.warning(
                "The watcher 'opentelemetry' tells nobody: no tracer provider is set. "
                "Call opentelemetry.trace.set_tracer_provider() before the first run, or start "
                "the program with opentelemetry-instrument."
            )
        return provider.get_tracer("handrail", version("handrail"))


class _RunTrace:
    """The spans of one epoch of a run that are not over."""

    def __init__(self, tracer: Tracer, run: RunView) -> None:
        self._tracer = tracer
        self._run = run
        self._ended_at = run.started_at
        attributes = {
            "handrail.run.epoch": run.epoch,
            "handrail.run.task_count": len(run.tasks),
            "handrail.run.kept_count": len(set(run.finished) & run.tasks.keys()),
        }
        parent = otel_context.get_current()
        self._span = self._started(f"run {run.workflow}", parent, run.started_at, attributes)
        self._context = trace.set_span_in_context(self._span, parent)
        self._group_names = set(run.within.values())
        #: By name.
        self._groups: dict[str, Span] = {}
        #: By attempt id.
        self._attempts: dict[str, Span] = {}

    def take(self, event: Event) -> None:
        if event.kind == kinds.RUN_FINISHED:
            self._ended_at = event.at
        elif event.kind == kinds.TASK_STARTED:
            self._attempts[event.attempt] = self._attempt(event)
        elif event.kind in _ENDS:
            if event.attempt or event.task not in self._group_names:
                self._end_attempt(event)
        elif event.kind == kinds.GROUP_FINISHED:
            self._end_group(event)
        elif event.kind not in _NOT_TOLD and (event.data or event.kind != kinds.TASK_QUEUED):
            span = self._attempts.get(event.attempt, self._span)
            span.add_event(event.kind, _known({"handrail.task": event.task}), _ns(event.at))

    def end(self, state: str, reason: str | None) -> None:
        for span in (*self._attempts.values(), *reversed(self._groups.values())):
            span.set_attribute("handrail.state", state)
            span.end(_ns(self._ended_at))
        self._span.set_attribute("handrail.state", state)
        if state not in ("succeeded", "waiting"):
            self._span.set_status(Status(StatusCode.ERROR, reason))
        self._span.end(_ns(self._ended_at))

    # Attempts

    def _attempt(self, event: Event) -> Span:
        data = event.data or {}
        attributes = {
            "handrail.task": event.task,
            "handrail.attempt.id": event.attempt,
            "handrail.attempt.number": data.get("try"),
            "handrail.handler": data.get("handler"),
            "handrail.input_ref": data.get("ref"),
        }
        parent = self._within(_without_position(event.task), event.at)
        name = f"task {_without_position(event.task)}"
        return self._started(name, parent, event.at, attributes)

    def _end_attempt(self, event: Event) -> None:
        data = event.data or {}
        # A task that could not begin, for want of an argument, has no attempt.
        span = self._attempts.pop(event.attempt, None) or self._attempt(event)
        more = {
            "handrail.state": _ENDS[event.kind],
            "handrail.retry_delay_seconds": data.get("delay_seconds"),
            "handrail.output_ref": data.get("ref"),
            "handrail.adopted": data.get("adopted"),
            "handrail.wait.prompt": data.get("prompt"),
        }
        span.set_attributes(_known(more))
        if _ENDS[event.kind] == "failed":
            _record_error(span, data.get("error"), event.at)
        span.end(_ns(event.at))

    # Groups

    def _within(self, name: str, at: int) -> Context:
        """The context for a span of a task or group: that of its group, begun if need be."""
        group = self._run.within.get(name)
        if group is None:
            return self._context
        if group not in self._groups:
            self._groups[group] = self._group(group, at)
        return trace.set_span_in_context(self._groups[group], self._context)

    def _group(self, name: str, at: int) -> Span:
        return self._started(f"group {name}", self._within(name, at), at, {"handrail.group": name})

    def _end_group(self, event: Event) -> None:
        data = event.data or {}
        span = self._groups.pop(event.task, None) or self._group(event.task, event.at)
        failed = sorted(data.get("failed", ()))
        state = str(data.get("state", "succeeded"))
        members = {"handrail.group.succeeded_count": len(data.get("succeeded", ()))}
        span.set_attributes({"handrail.state": state, "handrail.group.failed": failed, **members})
        if state == "failed":
            span.set_status(Status(StatusCode.ERROR, f"failed: {', '.join(failed)}"))
        span.end(_ns(event.at))

    def _started(self, name: str, parent: Context, at: int, attributes: Mapping[str, Any]) -> Span:
        of_run = {"handrail.run.id": self._run.run_id, "handrail.workflow": self._run.workflow}
        return self._tracer.start_span(
            name, parent, attributes={**of_run, **_known(attributes)}, start_time=_ns(at)
        )


def _record_error(span: Span, error: Any, at: int) -> None:
    found = error if isinstance(error, Mapping) else {"message": error}
    # Names of the semantic conventions for exceptions in spans.
    attributes = {
        "exception.type": found.get("type"),
        "exception.message": found.get("message"),
        "exception.stacktrace": found.get("traceback"),
    }
    span.add_event("exception", _known(attributes), _ns(at))
    span.set_status(Status(StatusCode.ERROR, f"{found.get('type')}: {found.get('message')}"))


def _without_position(task: str) -> str:
    # Names of spans are few: the items of a mapped task share one.
    return re.sub(r"\[\d+\]$", "", task)


def _known(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value not in (None, "")}


def _ns(at: int) -> int:
    return at * 1_000_000
