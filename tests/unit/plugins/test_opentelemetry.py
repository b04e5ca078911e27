from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from handrail.contracts.event import Event
from handrail.hooks.chain import WatcherChain
from handrail.hooks.spec import RunView
from handrail.plugins.opentelemetry import OpenTelemetryWatcher

START = 1_700_000_000_000
TASKS = dict.fromkeys(("a", "b", "c"), "direct")
RUN = RunView("r1", "songs", 1, TASKS, (), START, {"a": "inner", "inner": "outer", "b": "outer"})
ERROR = {"type": "lib.Odd", "message": "no reason", "traceback": "Traceback ..."}


class Tracing:
    """A provider of this test alone, and what it was told."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.watcher = OpenTelemetryWatcher(self.provider)

    def run(
        self,
        *events: Event,
        view: RunView = RUN,
        state: str = "succeeded",
        reason: str | None = None,
    ) -> dict[str, ReadableSpan]:
        """The spans of a run with these events, by name."""
        chain = WatcherChain(view, [self.watcher])
        chain.start()
        for event in events:
            chain.event(event)
        chain.event(Event("run.finished", START + 900, data={"state": state, "reason": reason}))
        chain.finish(state, reason)
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def tracing() -> Tracing:
    return Tracing()


def started(task: str, at: int, attempt: str = "", **data: Any) -> Event:
    said = {"handler": "direct", "try": 1, **data}
    return Event("task.started", START + at, task, attempt or task, said)


def ended(task: str, at: int, kind: str = "succeeded", attempt: str = "", **data: Any) -> Event:
    return Event(f"task.{kind}", START + at, task, attempt or task, data)


def times(span: ReadableSpan) -> tuple[int, int]:
    """Milliseconds after the start of the run."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time // 1_000_000 - START, span.end_time // 1_000_000 - START


def parent(span: ReadableSpan, spans: Sequence[ReadableSpan]) -> str:
    for other in spans:
        if span.parent is not None and other.context.span_id == span.parent.span_id:
            return other.name
    return ""


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_run_is_a_span_with_one_for_each_attempt(tracing: Tracing) -> None:
    spans = tracing.run(started("c", 10, handler="docker"), ended("c", 30, ref="commit"))
    assert set(spans) == {"run songs", "task c"}
    assert times(spans["run songs"]) == (0, 900)
    assert times(spans["task c"]) == (10, 30)
    assert parent(spans["task c"], [*spans.values()]) == "run songs"
    assert attributes(spans["run songs"]) == {
        "handrail.run.id": "r1",
        "handrail.workflow": "songs",
        "handrail.run.epoch": 1,
        "handrail.run.task_count": 3,
        "handrail.run.kept_count": 0,
        "handrail.state": "succeeded",
    }
    assert attributes(spans["task c"]) == {
        "handrail.run.id": "r1",
        "handrail.workflow": "songs",
        "handrail.task": "c",
        "handrail.attempt.id": "c",
        "handrail.attempt.number": 1,
        "handrail.handler": "docker",
        "handrail.state": "succeeded",
        "handrail.output_ref": "commit",
    }
    assert spans["task c"].status.status_code is StatusCode.UNSET


def test_groups_are_spans_around_their_members(tracing: Tracing) -> None:
    inner = {"state": "succeeded", "succeeded": ["a"], "failed": {}}
    outer = {"state": "failed", "succeeded": ["inner"], "failed": {"b": ERROR}}
    spans = tracing.run(
        started("a", 10), ended("a", 20), Event("group.finished", START + 25, "inner", "", inner),
        started("b", 30), ended("b", 40, "failed", error=ERROR),
        Event("group.finished", START + 45, "outer", "", outer),
        ended("outer", 45, "failed", " ", error=ERROR)._replace(attempt=""),
        state="failed", reason="task 'outer' failed",
    )  # fmt: skip
    everyone = [*spans.values()]
    assert {name: parent(span, everyone) for name, span in spans.items()} == {
        "run songs": "",
        "group outer": "run songs",
        "group inner": "group outer",
        "task a": "group inner",
        "task b": "group outer",
    }
    assert times(spans["group outer"]) == (10, 45)
    assert times(spans["group inner"]) == (10, 25)
    assert spans["group inner"].status.status_code is StatusCode.UNSET
    assert spans["group outer"].status.description == "failed: b"
    assert attributes(spans["group outer"])["handrail.group.failed"] == ("b",)
    assert attributes(spans["group outer"])["handrail.group.succeeded_count"] == 1


def test_errors_are_recorded_with_their_status(tracing: Tracing) -> None:
    spans = tracing.run(
        started("c", 10, "x1"), ended("c", 20, "retried", "x1", error=ERROR, delay_seconds=1.5),
        started("c", 30, "x2", **{"try": 2}), ended("c", 40, "failed", "x2", error=ERROR),
        state="failed", reason="task 'c' failed: Odd: no reason",
    )  # fmt: skip
    first, second = [s for s in tracing.exporter.get_finished_spans() if s.name == "task c"]
    for span in (first, second):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "lib.Odd: no reason"
        [told] = span.events
        assert (told.name, told.timestamp) == ("exception", span.end_time)
        assert dict(told.attributes or {}) == {
            "exception.type": "lib.Odd",
            "exception.message": "no reason",
            "exception.stacktrace": "Traceback ...",
        }
    assert attributes(first)["handrail.retry_delay_seconds"] == 1.5
    assert attributes(second)["handrail.attempt.number"] == 2
    assert spans["run songs"].status.description == "task 'c' failed: Odd: no reason"
    assert attributes(spans["run songs"])["handrail.state"] == "failed"


def test_a_task_that_could_not_begin_is_a_span_of_its_failure(tracing: Tracing) -> None:
    spans = tracing.run(ended("c", 10, "failed", error=ERROR)._replace(attempt=""), state="failed")
    assert times(spans["task c"]) == (10, 10)
    assert spans["task c"].status.status_code is StatusCode.ERROR


def test_the_trace_of_the_caller_goes_on(tracing: Tracing) -> None:
    tracer = tracing.provider.get_tracer("caller")
    with tracer.start_as_current_span("request") as request:
        spans = tracing.run(started("c", 10), ended("c", 20))
    assert spans["run songs"].parent == request.get_span_context()
    assert {span.context.trace_id for span in spans.values()} == {
        request.get_span_context().trace_id
    }
    without = tracing.run()
    assert without["run songs"].parent is None


def test_a_resumed_run_has_the_id_of_the_first_and_the_next_epoch(tracing: Tracing) -> None:
    tracing.run(started("a", 1), state="crashed")
    spans = tracing.run(view=RunView("r1", "songs", 2, TASKS, ("a", "b"), START))
    of_run = [s for s in tracing.exporter.get_finished_spans() if s.name == "run songs"]
    assert [attributes(span)["handrail.run.epoch"] for span in of_run] == [1, 2]
    assert {attributes(span)["handrail.run.id"] for span in of_run} == {"r1"}
    assert attributes(spans["run songs"])["handrail.run.kept_count"] == 2


def test_what_was_going_on_ends_with_the_run(tracing: Tracing) -> None:
    spans = tracing.run(started("a", 10), state="cancelled")
    assert set(spans) == {"run songs", "group outer", "group inner", "task a"}
    for span in spans.values():
        assert times(span)[1] == 900
        assert attributes(span)["handrail.state"] == "cancelled"


def test_a_question_ends_its_attempt_and_is_no_error(tracing: Tracing) -> None:
    asked = Event("wait.asked", START + 20, "c", "c", {"prompt": "Go?", "options": []})
    spans = tracing.run(started("c", 10), asked, state="waiting")
    assert times(spans["task c"]) == (10, 20)
    assert attributes(spans["task c"])["handrail.state"] == "waiting"
    assert attributes(spans["task c"])["handrail.wait.prompt"] == "Go?"
    assert {span.status.status_code for span in spans.values()} == {StatusCode.UNSET}


def test_items_of_a_mapped_task_share_a_name(tracing: Tracing) -> None:
    tracing.run(*(started(f"c[{n}]", n, f"x{n}") for n in range(3)))
    found = [s for s in tracing.exporter.get_finished_spans() if s.name == "task c"]
    assert {attributes(span)["handrail.task"] for span in found} == {"c[0]", "c[1]", "c[2]"}


def test_other_events_are_told_within_a_span(tracing: Tracing) -> None:
    spans = tracing.run(
        started("c", 10),
        Event("task.waved", START + 15, "c", "c"),
        Event("channel.changed", START + 16, data={"key": "k", "value": "1"}),
        ended("c", 20),
    )
    assert [event.name for event in spans["task c"].events] == ["task.waved"]
    assert not spans["run songs"].events


def test_runs_at_the_same_time_have_spans_of_their_own(tracing: Tracing) -> None:
    views = [RunView(f"r{number}", "songs", 1, TASKS, (), START) for number in (1, 2)]
    chains = [WatcherChain(view, [tracing.watcher]) for view in views]
    for chain in chains:
        chain.start()
        chain.event(started("c", 10))
    for chain in chains:
        chain.event(ended("c", 20))
        chain.finish("succeeded", None)
    spans = tracing.exporter.get_finished_spans()
    assert len({span.context.trace_id for span in spans}) == 2
    assert len(spans) == 4
    assert not tracing.watcher._traces


def test_a_program_without_tracing_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    watcher = OpenTelemetryWatcher()
    with caplog.at_level(logging.WARNING, "handrail.hooks"):
        for number in range(2):
            chain = WatcherChain(RunView(f"r{number}", "songs", 1, TASKS), [watcher])
            chain.start()
            chain.finish("succeeded", None)
    assert [record.getMessage()[:46] for record in caplog.records] == [
        "The watcher 'opentelemetry' tells nobody: no t"
    ]
