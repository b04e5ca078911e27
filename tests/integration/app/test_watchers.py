"""Watchers of runs: who is told, in which order, and what a run tells them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from handrail import (
    ConsoleWatcher,
    Event,
    RunFailed,
    Runtime,
    RuntimeConfigError,
    RunView,
    RunWatcher,
    TaskExecutionContext,
    load_settings,
    parallel,
    task,
    workflow,
)
from handrail.errors import RunWaiting
from handrail.plugins.opentelemetry import OpenTelemetryWatcher

#: What `Named` watchers heard, by the test's home.
heard: dict[Path, list[Any]] = {}


class Named(RunWatcher):
    """A watcher that settings speak of."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @classmethod
    def from_settings(cls, settings: Any) -> Named:
        heard.setdefault(settings.home, []).append("made")
        return cls(settings.home)

    def on_run_started(self, run: RunView) -> None:
        heard[self.home].append(run.run_id)


class Diary(RunWatcher):
    def __init__(self) -> None:
        self.runs: list[RunView] = []
        self.events: list[Event] = []
        self.ends: list[tuple[str, str | None]] = []

    def on_run_started(self, run: RunView) -> None:
        self.runs.append(run)

    def on_event(self, run: RunView, event: Event) -> None:
        self.events.append(event)

    def on_run_finished(self, run: RunView, state: str, reason: str | None) -> None:
        self.ends.append((state, reason))


@task
def one() -> int:
    return 1


@task
def two(one: int) -> int:
    return one + 1


@task
def broken() -> None:
    raise ValueError("no reason")


@task(inject_context=True)
def ask(context: TaskExecutionContext) -> bool:
    return bool(context.request_approval("Go on?"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / ".handrail"


def made(home: Path, watchers: str = "", *others: RunWatcher) -> Runtime:
    environment = {"HANDRAIL_HOME": str(home), "HANDRAIL_WATCHERS": watchers}
    return Runtime(load_settings(environment=environment), watchers=others)


@pytest.fixture
def runtime(home: Path) -> Iterator[Runtime]:
    found = made(home)
    yield found
    found.close()


def test_settings_runtime_and_workflow_name_watchers_in_this_order(home: Path) -> None:
    mine, theirs = Diary(), Diary()
    name = f"{__name__}:Named"
    runtime = made(home, f"{name}, console", mine)
    flow = workflow("flow", one, watchers=[theirs, "console", mine])
    found = runtime.watchers_of(flow)
    assert [type(watcher) for watcher in found] == [Named, ConsoleWatcher, Diary, Diary]
    assert found[2:] == [mine, theirs]
    assert runtime.watchers_of(flow) == found


def test_a_name_stands_for_one_watcher_that_is_told_of_every_run(home: Path) -> None:
    runtime = made(home, f"{__name__}:Named")
    for journal in (None, "memory"):
        runtime.execute(workflow("flow", one), journal=journal)
    runtime.close()
    assert len(heard[home]) == 3
    assert heard[home][0] == "made"
    assert len({*heard[home]}) == 3


def test_only_the_runs_of_its_workflow_are_told_to_a_workflow_s_watcher(runtime: Runtime) -> None:
    diary = Diary()
    runtime.execute(workflow("watched", one, watchers=[diary]))
    runtime.execute(workflow("other", one))
    assert [run.workflow for run in diary.runs] == ["watched"]


@pytest.mark.parametrize("journal", [None, "memory"])
def test_a_watcher_that_is_unknown_is_refused_before_anything_runs(
    runtime: Runtime, journal: str | None
) -> None:
    flow = workflow("flow", one, watchers=["consle"])
    with pytest.raises(RuntimeConfigError, match="Did you mean 'console'"):
        runtime.execute(flow, journal=journal)
    assert runtime.journal.runs() == []


@pytest.mark.parametrize("journal", [None, "memory"])
def test_a_run_tells_the_same_with_and_without_a_journal(
    runtime: Runtime, journal: str | None
) -> None:
    diary = Diary()
    flow = workflow("flow", one >> two, watchers=[diary])
    runtime.execute(flow, journal=journal)
    assert [(event.kind, event.task) for event in diary.events] == [
        ("task.queued", "one"),
        ("task.started", "one"),
        ("task.succeeded", "one"),
        ("task.queued", "two"),
        ("task.started", "two"),
        ("task.succeeded", "two"),
        ("run.finished", ""),
    ]
    assert diary.ends == [("succeeded", None)]
    [run] = diary.runs
    assert (run.workflow, run.epoch, run.tasks) == ("flow", 1, {"one": "direct", "two": "direct"})
    times = [run.started_at, *(event.at for event in diary.events)]
    assert times == sorted(times)


@pytest.mark.parametrize("journal", [None, "memory"])
def test_a_run_that_failed_says_why(runtime: Runtime, journal: str | None) -> None:
    diary = Diary()
    with pytest.raises(RunFailed):
        runtime.execute(workflow("flow", broken, watchers=[diary]), journal=journal)
    assert diary.ends == [("failed", "task 'broken' failed: ValueError: no reason")]
    assert (diary.events[-1].data or {})["reason"] == diary.ends[0][1]


def test_a_run_that_waits_is_told_as_waiting_and_then_resumed(runtime: Runtime) -> None:
    diary = Diary()
    flow = workflow("flow", one >> ask, watchers=[diary])
    with pytest.raises(RunWaiting):
        runtime.execute(flow)
    assert diary.ends[0][0] == "waiting"
    assert "wait.asked" in [event.kind for event in diary.events]
    run_id = diary.runs[0].run_id
    runtime.answer(run_id, True)
    assert runtime.resume(run_id, flow) is True
    assert (diary.runs[1].epoch, diary.runs[1].finished) == (2, ("one",))
    assert diary.ends[1] == ("succeeded", None)


def test_a_run_says_which_tasks_are_in_which_group(runtime: Runtime) -> None:
    diary = Diary()
    group = parallel(one, one(task_id="again"), name="both")
    runtime.execute(workflow("flow", group >> two, watchers=[diary]), inputs={"one": 1})
    assert diary.runs[0].within == {"one": "both", "again": "both"}


def test_the_console_tells_of_a_run(runtime: Runtime) -> None:
    stream = io.StringIO()
    flow = workflow("flow", one >> two, watchers=[ConsoleWatcher(stream)])
    runtime.execute(flow)
    assert [line.split("  ")[2].split(" in ")[0] for line in stream.getvalue().splitlines()] == [
        "run started: flow, 2 tasks",
        "task one started (direct)",
        "task one succeeded",
        "task two started (direct)",
        "task two succeeded",
        "run succeeded",
    ]


def test_spans_of_a_run_belong_to_the_caller_s_trace(runtime: Runtime) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    group = parallel(one, broken, name="both")
    flow = workflow("flow", group, watchers=[OpenTelemetryWatcher(provider)])
    with (
        provider.get_tracer("caller").start_as_current_span("request") as request,
        pytest.raises(RunFailed),
    ):
        runtime.execute(flow)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"request", "run flow", "group both", "task one", "task broken"}
    assert len({span.context.trace_id for span in spans.values()}) == 1
    assert spans["run flow"].parent == request.get_span_context()
    for name in ("task one", "task broken"):
        assert spans[name].parent == spans["group both"].context
    assert spans["task broken"].status.description == "ValueError: no reason"
