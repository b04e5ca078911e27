from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from rich.console import Console

from handrail.cli.progress import Progress
from handrail.contracts import event as kinds
from handrail.contracts.event import Event
from handrail.hooks.spec import RunView


class Terminal(io.StringIO):
    """Pretends to be one."""

    def isatty(self) -> bool:
        return True


def _console(file: io.StringIO, height: int = 25) -> Console:
    return Console(
        file=file,
        force_terminal=file.isatty(),
        width=80,
        height=height,
        color_system=None,
        markup=False,
        _environ={},
    )


def _view(*names: str, epoch: int = 1, finished: tuple[str, ...] = ()) -> RunView:
    return RunView("0123456789abcdef", "songs", epoch, dict.fromkeys(names, "direct"), finished)


def _finish_all(progress: Progress, run: RunView) -> None:
    for name in run.tasks:
        progress.on_event(run, Event(kinds.TASK_STARTED, 1000, name))
        progress.on_event(run, Event(kinds.TASK_SUCCEEDED, 2200, name))


@contextmanager
def _stdout(file: io.StringIO) -> Iterator[None]:
    with redirect_stdout(file):
        yield


def test_elsewhere_each_event_is_a_line() -> None:
    file = io.StringIO()
    progress, run = Progress(_console(file)), _view("clean")
    progress.on_run_started(run)
    _finish_all(progress, run)
    progress.on_run_finished(run, "succeeded", None)
    lines = file.getvalue().splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in lines[:-1]] == [
        "run 01234567…  ▶ songs: 1 task",
        "run 01234567…  ▶ clean",
        "run 01234567…  ✓ clean 1.2 s",
    ]
    assert re.search(r"run 0123456789abcdef  ✓ succeeded in \d+ ms$", lines[-1])


def test_a_failure_is_a_line_with_its_reason_made_visible() -> None:
    file = io.StringIO()
    progress, run = Progress(_console(file)), _view("clean")
    progress.on_run_started(run)
    error = {"type": "songs.Odd", "message": "it \x1b[2J [red]went"}
    progress.on_event(run, Event(kinds.TASK_FAILED, 1000, "clean", "", {"error": error}))
    progress.on_run_finished(run, "failed", "task 'clean' failed")
    assert "✗ clean: Odd: it \\x1b[2J [red]went\n" in file.getvalue()
    assert file.getvalue().rstrip().endswith(": task 'clean' failed")


def test_a_resumed_run_says_what_is_kept() -> None:
    file = io.StringIO()
    progress, run = Progress(_console(file)), _view("a", "b", epoch=2, finished=("a",))
    progress.on_run_started(run)
    progress.close()
    assert "▶ songs: 2 tasks, 1 kept from before (epoch 2)" in file.getvalue()


def test_in_a_terminal_the_last_picture_stays_with_a_summary_below() -> None:
    file = Terminal()
    progress, run = Progress(_console(file)), _view("clean", "load")
    progress.on_run_started(run)
    _finish_all(progress, run)
    progress.on_run_finished(run, "succeeded", None)
    shown = file.getvalue()
    assert " ✓ clean  direct        1.2 s" in shown
    assert "2 of 2 tasks done" in shown
    assert re.search(r"run 0123456789abcdef  ✓ succeeded in \d+ ms\n$", shown)


def test_a_long_graph_is_folded_into_what_is_noteworthy() -> None:
    file = Terminal()
    progress, run = Progress(_console(file, height=8)), _view(*[f"task{n}" for n in range(100)])
    progress.on_run_started(run)
    for number in range(6):
        progress.on_event(run, Event(kinds.TASK_STARTED, 1000, f"task{number}"))
    error = {"error": {"type": "E", "message": "bad"}}
    progress.on_event(run, Event(kinds.TASK_FAILED, 1500, "task5", "", error))
    progress.on_event(run, Event(kinds.TASK_SUCCEEDED, 1500, "task0"))
    progress.close()
    picture = file.getvalue().rpartition("songs  run")[2]
    assert "✗ task5" in picture
    assert "task0" not in picture
    assert "task99" not in picture
    assert "… and 1 more" in picture
    assert "1 of 100 tasks done, 1 failed, 4 cancelled" in picture


def test_what_is_printed_meanwhile_appears_above_the_picture() -> None:
    file = Terminal()
    with _stdout(file):
        progress, run = Progress(_console(file)), _view("clean")
        progress.on_run_started(run)
        sys.stdout.write("half a ")
        print("line")
        progress.on_run_finished(run, "succeeded", None)
        assert sys.stdout is file
    assert "half a line\n" in file.getvalue()
    assert file.getvalue().index("half a line") < file.getvalue().rindex("0 of 1 task done")


def test_closing_twice_is_harmless() -> None:
    progress = Progress(_console(Terminal()))
    progress.on_run_started(_view("clean"))
    progress.close()
    progress.close()
