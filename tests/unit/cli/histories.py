"""Runs as their histories tell them, to be shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from handrail.run.history import AttemptHistory, EpochHistory, RunHistory, TaskHistory

ERROR = {"type": "builtins.ValueError", "message": "no <data>\nat all", "traceback": "Trace <b>"}

_EMPTY = RunHistory(
    run_id="1m7z",
    workflow="songs",
    state="succeeded",
    reference=None,
    key=None,
    inputs="{}",
    started_at=0,
    finished_at=None,
    reason=None,
    epochs=(EpochHistory(1, "host:1", 0),),
    target=None,
    base_ref=None,
    ref=None,
    pipeline=None,
    watermark=None,
    next_watermark=None,
    tasks=(),
    edges=(),
)


def a_run(*tasks: TaskHistory, **facts: Any) -> RunHistory:
    return replace(_EMPTY, tasks=tasks, **facts)


def an_attempt(started_at: int | None, finished_at: int | None, **facts: Any) -> AttemptHistory:
    known = {"attempt_id": "x", "try_number": 1, "epoch": 1, "state": "succeeded", **facts}
    return AttemptHistory(started_at=started_at, finished_at=finished_at, **known)


def a_task(name: str, *attempts: AttemptHistory, **facts: Any) -> TaskHistory:
    """A task that ended as its last attempt did."""
    known: dict[str, Any] = {"state": attempts[-1].state if attempts else "queued", **facts}
    if attempts:
        known.setdefault("started_at", attempts[0].started_at)
        known.setdefault("finished_at", attempts[-1].finished_at)
    return TaskHistory(name, attempts=attempts, **known)
