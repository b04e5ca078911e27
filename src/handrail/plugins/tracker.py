"""Tells tracking of runs and attempts, from the journal's outbox.

Tracking is news: it may be late, it never decides. Events carry the keys of the journal, so
telling one twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Any

from handrail.contracts import event as kinds
from handrail.contracts.event import FINAL_STATES, StoredEvent
from handrail.contracts.values import decode
from handrail.errors import HandrailError
from handrail.tracking.declared import LARGEST_COUNT
from handrail.tracking.wire import ErrorDetail, ExecutionEvent, Metrics

_STATES = {
    kinds.TASK_STARTED: "running",
    kinds.TASK_SUCCEEDED: "succeeded",
    kinds.TASK_FAILED: "failed",
    kinds.TASK_RETRIED: "failed",
    # The attempt that gets the answer takes its place.
    kinds.WAIT_ASKED: "superseded",
}
#: How epochs end that may leave attempts behind, of whose end nothing tells.
_CUT_SHORT = ("crashed", "cancelled")

#: What becomes of an epoch that another one continues, by the state the run was in.
_CONTINUED = {"running": "crashed", "waiting": "superseded"}

Fields = dict[str, Any]


def executions_of(
    events: Iterable[StoredEvent],
    opening: Callable[[str], dict[str, Any]],
    events_of: Callable[[str], Iterable[StoredEvent]],
) -> list[ExecutionEvent]:
    """What tracking is told of the events of runs; one record for each execution among them.

    A run's epoch is an execution of the workflow's pipeline, an attempt one of the pipeline
    `workflow/task`, with the epoch's as parent.

    Args:
        opening: gives the data of a run's first event.
        events_of: gives all events of a run; asked for epochs that were cut short.
    """
    told: dict[str, Fields] = {}
    for stored in events:
        data = opening(stored.run_id)
        of_one = _of_attempt if stored.event.task else _of_run
        left = _left_behind(stored, data, events_of) if _cuts_short(stored) else ()
        for fields in (*of_one(stored, data), *left):
            key = fields["key"]
            told[key] = _together(told[key], fields) if key in told else fields
    return [ExecutionEvent(**fields) for fields in told.values()]


def _together(before: Fields, after: Fields) -> Fields:
    known = {name: value for name, value in after.items() if value is not None}
    metadata = {**(before.get("metadata") or {}), **(after.get("metadata") or {})}
    return {**before, **known, "metadata": metadata or None}


def _run_key(run_id: str, epoch: int) -> str:
    return f"{run_id}.{epoch}"


def _at(stored: StoredEvent) -> datetime:
    return datetime.fromtimestamp(stored.event.at / 1000, UTC)


def _of_run(stored: StoredEvent, opening: dict[str, Any]) -> Iterator[Fields]:
    event, run_id, epoch = stored.event, stored.run_id, stored.epoch
    data = event.data or {}
    at = _at(stored)
    if event.kind in (kinds.RUN_STARTED, kinds.RUN_RESUMED):
        continued = _CONTINUED.get(data.get("before", ""))
        if continued is not None:
            yield Fields(
                key=_run_key(run_id, epoch - 1), pipeline=opening["pipeline"], state=continued,
                at=at, ended_at=at,
            )  # fmt: skip
        yield Fields(
            key=_run_key(run_id, epoch),
            pipeline=opening["pipeline"],
            state="running",
            at=at,
            started_at=at,
            continues_key=_run_key(run_id, epoch - 1) if epoch > 1 else None,
            watermark=_watermark(opening["watermark"]),
            next_watermark=_watermark(opening["next_watermark"]),
            metadata={
                "run": run_id,
                "workflow": opening["workflow"],
                "workspace": opening["target"],
                "input_ref": opening["base_ref"],
            },
        )
    elif event.kind == kinds.RUN_FINISHED:
        reason = data.get("reason")
        yield Fields(
            key=_run_key(run_id, epoch),
            pipeline=opening["pipeline"],
            state=data["state"],
            at=at,
            ended_at=at if data["state"] in FINAL_STATES else None,
            next_watermark=_watermark(opening["next_watermark"]),
            metadata={
                "run": run_id,
                "workflow": opening["workflow"],
                "workspace": opening["target"],
                "input_ref": opening["base_ref"],
                "output_ref": data.get("ref"),
            },
            error=ErrorDetail(type="RunFailed", message=reason) if reason else None,
        )


def _cuts_short(stored: StoredEvent) -> bool:
    """Does the event tell that an epoch is over that may have left attempts behind?"""
    data = stored.event.data or {}
    if stored.event.kind == kinds.RUN_RESUMED:
        return bool(data.get("before") == "running")
    return stored.event.kind == kinds.RUN_FINISHED and data["state"] in _CUT_SHORT


def _left_behind(
    stored: StoredEvent,
    opening: dict[str, Any],
    events_of: Callable[[str], Iterable[StoredEvent]],
) -> Iterator[Fields]:
    """The ends of attempts that an epoch began and whose end it did not tell."""
    is_resume = stored.event.kind == kinds.RUN_RESUMED
    state = "crashed" if is_resume else (stored.event.data or {})["state"]
    epoch = stored.epoch - 1 if is_resume else stored.epoch
    open_attempts: dict[str, str] = {}
    for earlier in events_of(stored.run_id):
        event = earlier.event
        if earlier.epoch == epoch and event.kind == kinds.TASK_STARTED:
            open_attempts[event.attempt] = event.task
        elif event.kind in _STATES:
            open_attempts.pop(event.attempt, None)
    for attempt, task in open_attempts.items():
        yield Fields(
            key=attempt,
            pipeline=f"{opening['workflow']}/{task}",
            pipeline_type_name="task",
            state=state,
            at=_at(stored),
            ended_at=_at(stored),
        )


def _of_attempt(stored: StoredEvent, opening: dict[str, Any]) -> Iterator[Fields]:
    event = stored.event
    if event.kind not in _STATES or not event.attempt:
        return
    data = event.data or {}
    at = _at(stored)
    error = data.get("error")
    is_start = event.kind == kinds.TASK_STARTED
    yield Fields(
        key=event.attempt,
        pipeline=f"{opening['workflow']}/{event.task}",
        pipeline_type_name="task",
        state=_STATES[event.kind],
        at=at,
        started_at=at if is_start else None,
        ended_at=None if is_start else at,
        parent_key=_run_key(stored.run_id, stored.epoch),
        metrics=_metrics(data["metrics"]) if "metrics" in data else Metrics(),
        metadata=_known(
            handler=data.get("handler"),
            input_ref=data.get("ref") if is_start else None,
            output_ref=None if is_start else data.get("ref"),
            adopted=data.get("adopted"),
        ),
        error=ErrorDetail(**error) if error else None,
    )


def _known(**values: Any) -> dict[str, Any] | None:
    return {name: value for name, value in values.items() if value is not None} or None


def _metrics(counts: dict[str, int]) -> Metrics:
    # News that tracking refuses would come again for ever.
    return Metrics(**{name: count for name, count in counts.items() if count <= LARGEST_COUNT})


def _watermark(text: str | None) -> Any:
    if text is None:
        return None
    try:
        value = decode(text)
    except HandrailError:  # it was made of a class that is not to be had here
        return text
    is_position = isinstance(value, (str, int, date)) and not isinstance(value, bool)
    return value if is_position else text
