"""What is known of the tasks of a run while it goes on."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from handrail.cli.text import duration, first_line
from handrail.contracts import event as kinds
from handrail.contracts.event import Event
from handrail.hooks.spec import RunView

#: States that stay in sight when a graph is too long to be shown whole.
_NOTEWORTHY = ("failed", "running", "waiting", "cancelled")

_STATES = {
    kinds.TASK_STARTED: "running",
    kinds.TASK_RETRIED: "waiting",
    kinds.WAIT_ASKED: "waiting",
    kinds.TASK_SUCCEEDED: "succeeded",
    kinds.TASK_FAILED: "failed",
}


@dataclass(slots=True)
class Row:
    """A task as shown. Times are in milliseconds since 1970, UTC."""

    name: str
    handler: str
    state: str = "queued"
    started_at: int = 0
    ended_at: int = 0
    retry_count: int = 0
    note: str = ""
    #: Does it wait for an answer?
    is_asking: bool = False

    def seconds(self, now: int) -> float | None:
        """How long it runs or ran; none if it did not."""
        if not self.started_at or self.state in ("queued", "kept"):
            return None
        return ((self.ended_at or now) - self.started_at) / 1000


class Board:
    """What is known of the tasks of a run. One thread changes it, another one reads it."""

    def __init__(self, run: RunView) -> None:
        self.run = run
        self.rows = {name: Row(name, handler) for name, handler in run.tasks.items()}
        self.counts = Counter({"queued": len(self.rows)})
        self.lock = threading.Lock()
        self._noteworthy: dict[str, Row] = {}
        for name in run.finished:
            if name in self.rows:
                self._set(self.rows[name], "kept")

    def apply(self, event: Event) -> Row | None:
        """Takes in an event; returns the row that changed."""
        state = _STATES.get(event.kind)
        if state is None or not event.task:
            return None
        with self.lock:
            row = self.rows.get(event.task) or self._add(event.task)
            self._set(row, state)
            data = event.data or {}
            if state == "running":
                row.started_at, row.ended_at = event.at, 0
                row.handler = data.get("handler", row.handler)
                row.note = ""
            else:
                row.ended_at = event.at
                row.note = _note(data)
            row.retry_count += event.kind == kinds.TASK_RETRIED
            row.is_asking = event.kind == kinds.WAIT_ASKED
        return row

    def close(self, at: int) -> None:
        """Takes in that the run is over: what was under way was given up."""
        with self.lock:
            for row in list(self._noteworthy.values()):
                if row.state != "failed" and not row.is_asking:
                    row.ended_at = row.ended_at or at
                    self._set(row, "cancelled")

    def noteworthy(self) -> list[Row]:
        """Failed, running, waiting and given up tasks, those that failed first."""
        return sorted(self._noteworthy.values(), key=lambda row: _NOTEWORTHY.index(row.state))

    def _add(self, name: str) -> Row:
        row = self.rows[name] = Row(name, "")
        self.counts["queued"] += 1
        return row

    def _set(self, row: Row, state: str) -> None:
        self.counts[row.state] -= 1
        self.counts[state] += 1
        row.state = state
        if state in _NOTEWORTHY:
            self._noteworthy[row.name] = row
        else:
            self._noteworthy.pop(row.name, None)


def _note(data: dict[str, object]) -> str:
    error = data.get("error")
    if isinstance(error, dict):
        kind = str(error.get("type", "")).rpartition(".")[2]
        message = first_line(str(error.get("message", "")))
        note = f"{kind}: {message}" if message else kind
        return f"{note}; again in {_delay(data)}" if "delay_seconds" in data else note
    if "adopted" in data:
        return "adopted what an earlier attempt left"
    return first_line(str(data.get("prompt", data.get("reason", ""))))


def _delay(data: dict[str, object]) -> str:
    delay = data["delay_seconds"]
    return duration(float(delay)) if isinstance(delay, (int, float)) else "?"
