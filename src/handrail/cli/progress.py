"""Shows on standard error how a run gets on: live in a terminal, else line by line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from handrail.cli.above import Above
from handrail.cli.board import Board, Row
from handrail.cli.text import (
    MARKS,
    STYLES,
    clock,
    counted,
    duration,
    first_line,
    shortened,
    visible,
)
from handrail.contracts.event import Event
from handrail.hooks.spec import RunView, RunWatcher

_REFRESH_PER_SECOND = 10
#: Lines that the live table leaves free: its heading, its counts and the prompt below.
_LINES_KEPT_FREE = 4
_NAME_LENGTH = 40


class Progress(RunWatcher):
    """Shows the runs it is told of on standard error.

    In a terminal as a table that is drawn over and over, elsewhere as one line per event, and
    at the end of either one line of summary. What is printed meanwhile appears above the table.
    One `Progress` is for one run.

    Args:
        console: where to write; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        # The stream of now: a run that captures its output puts another one into its place.
        self._console = console or Console(file=sys.stderr, highlight=False, markup=False)
        self._is_live = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._board: Board | None = None
        self._live: Live | None = None
        self._began = 0.0
        self._above = Above(self._console)
        if self._is_live:
            # Here and not when the run starts: that is told in another thread, while the run
            # itself is taking the place of the streams to capture what bodies print.
            self._above.start()

    def on_run_started(self, run: RunView) -> None:
        """Shows the run and what earlier epochs finished."""
        self._began = time.monotonic()
        self._board = board = Board(run)
        if self._is_live:
            self._live = Live(
                get_renderable=lambda: self._picture(board),
                console=self._console,
                refresh_per_second=_REFRESH_PER_SECOND,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )
            self._live.start()
        else:
            self._line(_now(), _opening_line(board))

    def on_event(self, run: RunView, event: Event) -> None:
        """Shows what became of a task."""
        if self._board is None:
            return
        row = self._board.apply(event)
        if row is not None and not self._is_live:
            self._line(event.at, _row_line(row))

    def on_run_finished(self, run: RunView, state: str, reason: str | None) -> None:
        """Leaves the last picture in place, with one line of summary below."""
        self.close()
        seconds = time.monotonic() - self._began
        summary = _summary(run, state, reason, seconds)
        if self._is_live:
            self._console.print(summary, soft_wrap=True)
        else:
            self._line(_now(), summary.plain, of_run=False)

    def close(self) -> None:
        """Leaves the last picture in place and gives the terminal back."""
        if self._board is not None:
            self._board.close(_now())
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._above.stop()

    def _line(self, at: int, text: str, *, of_run: bool = True) -> None:
        assert self._board is not None
        run = f"run {self._board.run.run_id[:8]}…  " if of_run else ""
        self._console.file.write(f"{clock(at)}  {run}{text}\n")
        self._console.file.flush()

    def _picture(self, board: Board) -> RenderableType:
        with board.lock:
            height = max(self._console.height - _LINES_KEPT_FREE, 1)
            seconds = time.monotonic() - self._began
            return Group(*_picture(board, height, self._console.width, _now(), seconds))


def _now() -> int:
    return time.time_ns() // 1_000_000


# Lines


def _opening_line(board: Board) -> str:
    run = board.run
    text = f"▶ {visible(run.workflow)}: {counted(len(board.rows), 'task')}"
    kept = board.counts["kept"]
    return f"{text}, {kept} kept from before (epoch {run.epoch})" if run.epoch > 1 else text


def _row_line(row: Row) -> str:
    text = f"{MARKS[row.state]} {visible(row.name)}"
    seconds = row.seconds(row.ended_at)
    if row.state == "succeeded" and seconds is not None:
        return f"{text} {duration(seconds)}" + (f" ({row.note})" if row.note else "")
    return f"{text}: {row.note}" if row.note else text


def _summary(run: RunView, state: str, reason: str | None, seconds: float) -> Text:
    text = Text("run ", "dim").append(run.run_id, "bold").append("  ")
    text.append(f"{MARKS.get(state, '?')} {state}", STYLES.get(state, ""))
    text.append(f" in {duration(seconds)}")
    # What a run waits for was told by the tasks that ask.
    return text.append(f": {first_line(reason)}" if reason and state != "waiting" else "")


# The picture


def _picture(
    board: Board, height: int, width: int, now: int, seconds: float
) -> Iterator[RenderableType]:
    run = board.run
    title = Text(visible(run.workflow), "bold").append(f"  run {run.run_id}", "not bold dim")
    if run.epoch > 1:
        title.append(f"  epoch {run.epoch}", "dim")
    yield title.append(f"  {duration(seconds)}", "cyan")
    rows = list(board.rows.values()) if len(board.rows) <= height else board.noteworthy()
    hidden_count = max(len(rows) - height, 0)
    shown = rows[:height]
    name_width = min(max((len(visible(row.name)) for row in shown), default=0), _NAME_LENGTH)
    handler_width = max((len(row.handler) for row in shown), default=0)
    for row in shown:
        yield _row_text(row, name_width, handler_width, width, now)
    if hidden_count:
        yield Text(f" … and {hidden_count:,} more", "dim")
    yield _counts_text(board)


def _row_text(row: Row, name_width: int, handler_width: int, width: int, now: int) -> Text:
    style = STYLES[row.state]
    name = shortened(visible(row.name), name_width)
    text = Text(f" {MARKS[row.state]} ", style).append(f"{name:<{name_width}}", _name_style(row))
    text.append(f"  {visible(row.handler):<{handler_width}}", "dim")
    seconds = row.seconds(now)
    time_text = "kept" if row.state == "kept" else "" if seconds is None else duration(seconds)
    text.append(f"  {time_text:>11}", style if row.state in ("running", "kept") else "")
    if row.retry_count:
        text.append(f"  {counted(row.retry_count, 'retry', 'retries')}", "yellow")
    if row.note:
        text.append(f"  {row.note}", "red" if row.state == "failed" else "dim")
    text.truncate(width - 1, overflow="ellipsis")
    return text


def _name_style(row: Row) -> str:
    return "dim" if row.state in ("queued", "kept", "skipped") else ""


def _counts_text(board: Board) -> Text:
    counts = board.counts
    done = counts["succeeded"] + counts["kept"]
    text = Text(f"{done:,} of {counted(len(board.rows), 'task')} done", "dim")
    for state in ("running", "waiting", "failed", "cancelled", "skipped"):
        if counts[state]:
            text.append(", ", "dim").append(f"{counts[state]:,} {state}", STYLES[state])
    return text
