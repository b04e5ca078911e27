from __future__ import annotations

import contextvars
import logging
import threading
from typing import Any

import pytest

from handrail.contracts.event import RUN_FINISHED, Event
from handrail.hooks.chain import WatcherChain
from handrail.hooks.spec import RunView, RunWatcher

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
VIEW = RunView("r", "flow", 1, {"a": "direct"})


class Diary(RunWatcher):
    """Writes down what it hears, with the thread it hears it in."""

    def __init__(self, lines: list[Any]) -> None:
        self.lines = lines
        self.threads: set[int] = set()

    def _write(self, *line: Any) -> None:
        self.threads.add(threading.get_ident())
        self.lines.append(line)

    def on_run_started(self, run: RunView) -> None:
        self._write("started", run)

    def on_event(self, run: RunView, event: Event) -> None:
        self._write(event.kind)

    def on_run_finished(self, run: RunView, state: str, reason: str | None) -> None:
        self._write("finished", state, reason)


class Failing(RunWatcher):
    """Breaks whenever it is told something."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_event(self, run: RunView, event: Event) -> None:
        raise self.error


def tell(*watchers: RunWatcher, kinds: tuple[str, ...] = ("a", "b")) -> None:
    made = WatcherChain(VIEW, watchers)
    made.start()
    for kind in kinds:
        made.event(Event(kind, 0))
    made.finish("succeeded", None)


def test_a_watcher_hears_everything_in_order_in_a_thread_of_its_own() -> None:
    diary = Diary([])
    tell(diary)
    assert diary.lines == [
        ("started", VIEW),
        ("a",),
        ("b",),
        ("run.finished",),
        ("finished", "succeeded", None),
    ]
    assert len(diary.threads) == 1
    assert threading.get_ident() not in diary.threads


def test_each_watcher_hears_everything_whatever_the_others_do() -> None:
    first, second = Diary([]), Diary([])
    release = threading.Event()

    class Slow(RunWatcher):
        drain_seconds = 0.0

        def on_run_started(self, run: RunView) -> None:
            release.wait(10)

    tell(first, Slow(), second)
    release.set()
    assert first.lines == second.lines
    assert len(first.lines) == 5
    assert first.threads != second.threads


def test_what_the_journal_said_of_the_end_is_told() -> None:
    diary = Diary([])
    made = WatcherChain(VIEW, [diary])
    made.start()
    made.event(Event(RUN_FINISHED, 0, data={"state": "cancelled", "reason": "enough"}))
    made.finish("failed", "an error")
    assert [line[0] for line in diary.lines].count("run.finished") == 1
    assert diary.lines[-1] == ("finished", "cancelled", "enough")


def test_watchers_see_the_variables_of_the_caller() -> None:
    found: list[str] = []

    class Looking(RunWatcher):
        def on_run_started(self, run: RunView) -> None:
            found.append(variable.get())

    def execute() -> None:
        variable.set("mine")
        tell(Looking())

    contextvars.copy_context().run(execute)
    assert found == ["mine"]


@pytest.mark.parametrize(
    "error", [ValueError("broken"), SystemExit(1), KeyboardInterrupt()], ids=repr
)
def test_a_watcher_that_fails_is_logged_and_harms_nobody(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary([])
    with caplog.at_level(logging.ERROR, "handrail.hooks"):
        tell(Failing(error), diary)
    assert len(diary.lines) == 5
    assert [record.getMessage().split(" <")[0] for record in caplog.records] == [
        "run r: watcher"
    ] * 3


def test_a_slow_watcher_does_not_hold_up_the_run(caplog: pytest.LogCaptureFixture) -> None:
    release, done = threading.Event(), threading.Event()

    class Slow(Diary):
        drain_seconds = 0.01

        def on_event(self, run: RunView, event: Event) -> None:
            release.wait(10)
            super().on_event(run, event)

        def on_run_finished(self, run: RunView, state: str, reason: str | None) -> None:
            super().on_run_finished(run, state, reason)
            done.set()

    slow = Slow([])
    tell(slow)
    assert "is behind by over 0.01 s" in caplog.text
    release.set()
    assert done.wait(10)
    assert [line[0] for line in slow.lines] == [
        "started",
        "a",
        "b",
        "run.finished",
        "finished",
    ]


def test_a_watcher_may_leave_out_every_method() -> None:
    class Idle(RunWatcher):
        pass

    diary = Diary([])
    tell(Idle(), diary)
    assert len(diary.lines) == 5
