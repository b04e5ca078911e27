from __future__ import annotations

from typing import Any

import pytest

from handrail.contracts.event import Event
from handrail.hooks.spec import RunView
from handrail.plugins.wording import end_words, event_words, moment, one_line, span, start_words

ERROR = {"type": "lib.errors.Odd", "message": "no\nreason", "traceback": "..."}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (("task.started", "a", {"handler": "docker", "try": 1}), "task a started (docker)"),
        (("task.started", "a", {"handler": "direct", "try": 3}), "task a started (direct, try 3)"),
        (("task.succeeded", "a", {"result": "1"}), "task a succeeded in 20 ms"),
        (("task.failed", "a", {"error": ERROR}), "task a failed in 20 ms: Odd: no"),
        (
            ("task.failed", "a", {"error": {"type": "Odd", "message": ""}}),
            "task a failed in 20 ms: Odd",
        ),
        (
            ("task.retried", "a", {"error": ERROR, "delay_seconds": 1.5}),
            "task a failed in 20 ms, is tried again in 1.5 s: Odd: no",
        ),
        (
            ("group.finished", "g", {"state": "succeeded", "succeeded": ["a", "b"], "failed": {}}),
            "group g succeeded: 2 of 2 succeeded",
        ),
        (
            ("group.finished", "g", {"state": "failed", "succeeded": ["a"], "failed": {"b": {}}}),
            "group g failed: 1 of 2 succeeded, failed: b",
        ),
        (
            ("wait.asked", "a", {"prompt": "Which?", "options": ["x", "y"]}),
            "task a asks in 20 ms: Which? (x, y)",
        ),
        (("channel.changed", "", {"key": "k", "value": "1"}), "channel key 'k' set"),
        (("channel.changed", "", {"key": "k"}), "channel key 'k' deleted"),
        (("task.vanished", "a", None), "task a vanished in 20 ms"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_an_event_is_told_on_one_line(event: tuple[str, str, Any], words: str) -> None:
    kind, task, data = event
    assert event_words(Event(kind, 0, task, "", data), 20) == words


def test_the_beginning_of_a_run_tells_what_is_kept() -> None:
    tasks = {"a": "direct", "b": "direct"}
    assert start_words(RunView("r", "flow", 1, {"a": "direct"})) == "run started: flow, 1 task"
    resumed = RunView("r", "flow", 2, tasks, ("a", "gone"))
    assert start_words(resumed) == "run resumed: flow, 2 tasks, 1 kept, epoch 2"


def test_the_end_of_a_run_tells_why() -> None:
    assert end_words("succeeded", None, 1500) == "run succeeded in 1.5 s"
    assert end_words("failed", "task 'a'\nmore", None) == "run failed: task 'a'"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (59_940, "59.9 s"),
        (125_000, "2 min 5 s"),
        (3_720_000, "1 h 2 min"),
    ],
)
def test_a_length_of_time_has_the_unit_that_fits(milliseconds: int, text: str) -> None:
    assert span(milliseconds) == text


def test_a_moment_is_in_utc() -> None:
    assert moment(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"


def test_what_a_terminal_would_obey_is_taken_out() -> None:
    assert one_line("a\x1b[31mb\u202e") == "a?[31mb?"
    assert one_line("") == ""
    assert len(one_line("x" * 1000)) == 300
