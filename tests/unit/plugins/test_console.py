from __future__ import annotations

import io
import threading
from typing import Any

import pytest

from handrail.contracts.event import Event
from handrail.errors import RuntimeConfigError
from handrail.hooks.spec import RunView
from handrail.plugins.console import ConsoleWatcher, Detail

START = 1_700_000_000_000
RUN = RunView("r1", "songs", 1, {"a": "direct"}, (), START)
EVENTS = [
    Event("task.started", START + 10, "a", "x", {"handler": "direct", "try": 1}),
    Event("channel.changed", START + 20, data={"key": "k", "value": "1"}),
    Event("task.succeeded", START + 40, "a", "x", {"result": "1"}),
    Event("run.finished", START + 1250, data={"state": "succeeded"}),
]


def tell(watcher: ConsoleWatcher, run: RunView = RUN, events: Any = EVENTS) -> None:
    watcher.on_run_started(run)
    for event in events:
        watcher.on_event(run, event)
    watcher.on_run_finished(run, "succeeded", None)


def lines(detail: Detail) -> list[str]:
    stream = io.StringIO()
    tell(ConsoleWatcher(stream, detail=detail))
    return stream.getvalue().splitlines()


def test_every_line_has_time_run_and_what_happened() -> None:
    assert lines("tasks") == [
        "2023-11-14T22:13:20.000Z  r1  run started: songs, 1 task",
        "2023-11-14T22:13:20.010Z  r1  task a started (direct)",
        "2023-11-14T22:13:20.040Z  r1  task a succeeded in 30 ms",
        "2023-11-14T22:13:21.250Z  r1  run succeeded in 1.2 s",
    ]


def test_the_detail_may_be_less_or_more() -> None:
    assert lines("runs") == [lines("tasks")[0], lines("tasks")[-1]]
    assert len(lines("all")) == 5
    assert lines("all")[2].endswith("channel key 'k' set")


def test_another_detail_is_refused() -> None:
    with pytest.raises(RuntimeConfigError, match="expected 'runs', 'tasks' or 'all'"):
        ConsoleWatcher(detail="much")  # type: ignore[arg-type]


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    tell(ConsoleWatcher(detail="runs"))
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 2


def test_what_a_stream_cannot_spell_is_escaped() -> None:
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding="ascii", write_through=True)
    tell(ConsoleWatcher(stream), RunView("r1", "Lösung", 1, {}), [])
    assert b"run started: L\\xf6sung, 0 tasks" in content.getvalue()


def test_runs_at_the_same_time_do_not_mix() -> None:
    stream = io.StringIO()
    watcher = ConsoleWatcher(stream)
    runs = [RunView(f"r{number}", "songs", 1, {"a": "direct"}, (), START) for number in range(4)]
    threads = [threading.Thread(target=tell, args=(watcher, run)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs:
        mine = [line for line in stream.getvalue().splitlines() if f"  {run.run_id}  " in line]
        assert [line.split("  ")[2] for line in mine] == [
            "run started: songs, 1 task",
            "task a started (direct)",
            "task a succeeded in 30 ms",
            "run succeeded in 1.2 s",
        ]
    assert not watcher._started
    assert not watcher._ended_at
