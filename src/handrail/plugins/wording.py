"""Events of a run in plain words, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from handrail.contracts import event as kinds
from handrail.contracts.event import Event
from handrail.hooks.spec import RunView

#: Longer texts of others are cut (characters).
TEXT_LENGTH = 300


def moment(at: int) -> str:
    """A time in milliseconds since 1970 as ISO 8601, in UTC."""
    text = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def span(milliseconds: int) -> str:
    """A length of time: `"12 ms"`, `"3.4 s"`, `"2 min 5 s"`, `"1 h 2 min"`."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def one_line(text: Any) -> str:
    """The first line of a text, cut, with nothing in it that a terminal would obey."""
    first = (str(text).strip().splitlines() or [""])[0]
    shown = first if len(first) <= TEXT_LENGTH else f"{first[: TEXT_LENGTH - 3]}..."
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


def start_words(run: RunView) -> str:
    """That an epoch of a run began."""
    count = len(run.tasks)
    tasks = f"{count} task" if count == 1 else f"{count} tasks"
    if run.epoch == 1:
        return f"run started: {one_line(run.workflow)}, {tasks}"
    kept = len(set(run.finished) & run.tasks.keys())
    return f"run resumed: {one_line(run.workflow)}, {tasks}, {kept} kept, epoch {run.epoch}"


def end_words(state: str, reason: str | None, milliseconds: int | None) -> str:
    """How an epoch of a run ended."""
    lasted = f" in {span(milliseconds)}" if milliseconds is not None else ""
    return f"run {state}{lasted}{_because(reason)}"


def event_words(event: Event, milliseconds: int | None = None) -> str:
    """What happened to a task, a group or the channel, or what is asked.

    Args:
        milliseconds: how long the attempt took, where that is known.
    """
    data = event.data or {}
    subject, _, what = event.kind.partition(".")
    name = f" {one_line(event.task)}" if event.task else ""
    lasted = f" in {span(milliseconds)}" if milliseconds is not None else ""
    if event.kind == kinds.TASK_QUEUED and data:
        return f"task{name} waits for the limit '{one_line(data.get('limit', '?'))}'"
    if event.kind == kinds.TASK_STARTED:
        return f"task{name} started ({_start_details(data)})"
    if event.kind == kinds.TASK_RETRIED:
        pause = span(round(float(data.get("delay_seconds", 0)) * 1000))
        return f"task{name} failed{lasted}, is tried again in {pause}{_error(data)}"
    if event.kind == kinds.GROUP_FINISHED:
        return f"group{name} {data.get('state', 'finished')}{_members(data)}"
    if event.kind == kinds.CHANNEL_CHANGED:
        verb = "set" if "value" in data else "deleted"
        return f"channel key {one_line(data.get('key', ''))!r} {verb}"
    if event.kind == kinds.WAIT_ASKED:
        return f"task{name} asks{lasted}{_because(data.get('prompt'))}{_choices(data)}"
    return f"{subject}{name} {one_line(what)}{lasted}{_error(data)}"


def _start_details(data: Mapping[str, Any]) -> str:
    handler = one_line(data.get("handler", "?"))
    number = data.get("try", 1)
    return handler if number == 1 else f"{handler}, try {number}"


def _members(data: Mapping[str, Any]) -> str:
    good, bad = len(data.get("succeeded", ())), list(data.get("failed", ()))
    if not bad:
        return f": {good} of {good} succeeded"
    return f": {good} of {good + len(bad)} succeeded, failed: {one_line(', '.join(bad))}"


def _choices(data: Mapping[str, Any]) -> str:
    options = one_line(", ".join(map(str, data.get("options", ()))))
    return f" ({options})" if options else ""


def _error(data: Mapping[str, Any]) -> str:
    error = data.get("error")
    if not isinstance(error, Mapping):
        return _because(error)
    kind = str(error.get("type", "")).rpartition(".")[2]
    message = one_line(error.get("message", ""))
    return f": {kind}: {message}" if message else f": {kind}"


def _because(text: Any) -> str:
    return f": {one_line(text)}" if text else ""
