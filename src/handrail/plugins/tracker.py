"""Tells tracking of runs and attempts, from the journal's outbox.

Tracking is news: it may be late, it never decides. Events carry the keys of the journal, so
telling one twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

from handrail.contracts import event as kinds
from handrail.contracts.event import StoredEvent
from handrail.contracts.values import decode
from handrail.errors import HandrailError
from handrail.tracking import watermark
from handrail.tracking.declared import LARGEST_COUNT
from handrail.tracking.news import News, error_columns, joined
from handrail.tracking.wire import ErrorDetail, Metrics, State

#: What events tell of an attempt: its state, and what the commit is to it.
_ATTEMPTS = {
    kinds.TASK_STARTED: (State.RUNNING, "input_ref"),
    kinds.TASK_SUCCEEDED: (State.SUCCEEDED, "output_ref"),
    kinds.TASK_FAILED: (State.FAILED, "output_ref"),
    kinds.TASK_RETRIED: (State.FAILED, "output_ref"),
    # The attempt that gets the answer takes its place.
    kinds.WAIT_ASKED: (State.SUPERSEDED, "output_ref"),
}
#: How epochs end that may leave attempts behind, of whose end nothing tells.
_CUT_SHORT = ("crashed", "cancelled")

#: What becomes of an epoch that another one continues, by the state the run was in.
_CONTINUED = {"running": State.CRASHED, "waiting": State.SUPERSEDED}

_COUNTS = tuple(Metrics.model_fields)

Opening = Mapping[str, Any]
ReadEvents = Callable[[str], Iterable[StoredEvent]]


def executions_of(
    events: Iterable[StoredEvent],
    opening: Callable[[str], Opening],
    events_of: ReadEvents,
) -> list[News]:
    """What tracking is told of the events of runs; one piece of news for each execution.

    A run's epoch is an execution of the workflow's pipeline, an attempt one of the pipeline
    `workflow/task`, with the epoch's as parent.

    Args:
        opening: gives the data of a run's first event; asked if that is not among the events.
        events_of: gives all events of a run; asked for epochs that were cut short.
    """
    told: dict[str, News] = {}
    openings: dict[str, Opening] = {}
    for stored in events:
        if stored.event.kind == kinds.RUN_STARTED:
            openings[stored.run_id] = stored.event.data or {}
        data = openings.get(stored.run_id)
        if data is None:
            data = openings[stored.run_id] = opening(stored.run_id)
        if stored.event.task:
            news = _of_attempt(stored, data)
            if news is not None:
                _add(told, news)
        else:
            for news in (*_of_run(stored, data), *_left_behind(stored, data, events_of)):
                _add(told, news)
    return list(told.values())


def _add(told: dict[str, News], news: News) -> None:
    before = told.get(news.key)
    told[news.key] = news if before is None else joined(before, news)


@lru_cache(maxsize=8)
def _run_key(run_id: str, epoch: int) -> str:
    return f"{run_id}.{epoch}"


def _at(stored: StoredEvent) -> int:
    return stored.event.at * 1000


def _of_run(stored: StoredEvent, opening: Opening) -> Sequence[News]:
    if stored.event.kind == kinds.RUN_FINISHED:
        return (_finished(stored, opening),)
    if stored.event.kind not in (kinds.RUN_STARTED, kinds.RUN_RESUMED):
        return ()
    continued = _CONTINUED.get((stored.event.data or {}).get("before", ""))
    if continued is None:
        return (_started(stored, opening),)
    return (_continued(stored, opening, continued), _started(stored, opening))


def _continued(stored: StoredEvent, opening: Opening, state: State) -> News:
    at = _at(stored)
    key = _run_key(stored.run_id, stored.epoch - 1)
    return News(key, opening["pipeline"], "workflow", state, at, ended_at=at)


def _started(stored: StoredEvent, opening: Opening) -> News:
    run_id, epoch, at = stored.run_id, stored.epoch, _at(stored)
    return News(
        _run_key(run_id, epoch),
        opening["pipeline"],
        "workflow",
        State.RUNNING,
        at,
        started_at=at,
        columns=_known(
            watermark=_watermark(opening["watermark"]),
            next_watermark=_watermark(opening["next_watermark"]),
        ),
        metadata=_about(run_id, opening),
        continues_key=_run_key(run_id, epoch - 1) if epoch > 1 else None,
    )


def _finished(stored: StoredEvent, opening: Opening) -> News:
    data = stored.event.data or {}
    at, state, reason = _at(stored), State(data["state"]), data.get("reason")
    columns = _known(next_watermark=_watermark(opening["next_watermark"]))
    if reason:
        columns |= error_columns(ErrorDetail(type="RunFailed", message=reason))
    return News(
        _run_key(stored.run_id, stored.epoch),
        opening["pipeline"],
        "workflow",
        state,
        at,
        ended_at=at if state.final else None,
        columns=columns,
        metadata={**_about(stored.run_id, opening), "output_ref": data.get("ref")},
    )


def _about(run_id: str, opening: Opening) -> dict[str, Any]:
    return {
        "run": run_id,
        "workflow": opening["workflow"],
        "workspace": opening["target"],
        "input_ref": opening["base_ref"],
    }


def _left_behind(stored: StoredEvent, opening: Opening, events_of: ReadEvents) -> Iterator[News]:
    """The ends of attempts that an epoch began and whose end it did not tell."""
    over = _cut_short(stored)
    if over is None:
        return
    epoch, state = over
    open_attempts: dict[str, str] = {}
    for earlier in events_of(stored.run_id):
        event = earlier.event
        if earlier.epoch == epoch and event.kind == kinds.TASK_STARTED:
            open_attempts[event.attempt] = event.task
        elif event.kind in _ATTEMPTS:
            open_attempts.pop(event.attempt, None)
    at = _at(stored)
    for attempt, task in open_attempts.items():
        pipeline = f"{opening['workflow']}/{task}"
        yield News(attempt, pipeline, "task", state, at, ended_at=at)


def _cut_short(stored: StoredEvent) -> tuple[int, State] | None:
    """The epoch that the event tells to be over, if it may have left attempts behind, and how."""
    kind, data = stored.event.kind, stored.event.data or {}
    if kind == kinds.RUN_RESUMED and data.get("before") == "running":
        return stored.epoch - 1, State.CRASHED
    if kind == kinds.RUN_FINISHED and data["state"] in _CUT_SHORT:
        return stored.epoch, State(data["state"])
    return None


def _of_attempt(stored: StoredEvent, opening: Opening) -> News | None:
    event = stored.event
    if event.kind not in _ATTEMPTS or not event.attempt:
        return None
    state, ref = _ATTEMPTS[event.kind]
    at, data = _at(stored), event.data or {}
    is_start = state is State.RUNNING
    return News(
        event.attempt,
        f"{opening['workflow']}/{event.task}",
        "task",
        state,
        at,
        at if is_start else None,
        None if is_start else at,
        _outcome(data),
        _about_attempt(data.get("handler"), ref, data.get("ref"), data.get("adopted")),
        _run_key(stored.run_id, stored.epoch),
    )


def _outcome(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The columns of counts and error."""
    columns: dict[str, Any] = _counts(data["metrics"]) if "metrics" in data else {}
    if data.get("error"):
        columns |= error_columns(ErrorDetail(**data["error"]))
    return columns


@lru_cache(maxsize=256)
def _about_attempt(
    handler: str | None, ref_name: str, ref: str | None, adopted: str | None
) -> Mapping[str, str] | None:
    # Many attempts share one mapping, which is then written as text but once.
    return _known(**{"handler": handler, ref_name: ref, "adopted": adopted}) or None


def _known(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _counts(counts: Mapping[str, int]) -> dict[str, int]:
    # News that tracking refuses would come again for ever.
    said = {name: counts[name] for name in _COUNTS if name in counts}
    return {name: count for name, count in said.items() if count <= LARGEST_COUNT}


def _watermark(text: str | None) -> str | None:
    """The column of a watermark: what it was made of, or its text if it is no position."""
    if text is None:
        return None
    try:
        value = decode(text)
    except HandrailError:  # it was made of a class that is not to be had here
        return watermark.dump(text)
    is_position = isinstance(value, (str, int, date)) and not isinstance(value, bool)
    return watermark.dump(value if is_position else text)
