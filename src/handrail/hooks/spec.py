"""The socket of watchers: told of everything a run does, able to harm nothing."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, field

from handrail.contracts.event import Event


@dataclass(frozen=True, slots=True)
class RunView:
    """What is fixed about a run that watchers are told of."""

    run_id: str
    workflow: str
    epoch: int
    #: Names of the tasks, in order of the plan, with their handler types.
    tasks: dict[str, str]
    #: Tasks that an earlier epoch had finished.
    finished: tuple[str, ...] = ()
    #: When this epoch began: milliseconds since 1970, UTC.
    started_at: int = 0
    #: Innermost group of each task and group that is part of one.
    within: dict[str, str] = field(default_factory=dict)


class RunWatcher(ABC):  # noqa: B024 - every method may be left out
    """Subclass it and override what you want to hear of.

    Each watcher has a thread of its own per run. Calls of one run come one at a time, in the
    order of events, and may lag behind them; between several watchers there is no order. The
    thread has a copy of the context (`contextvars`) in which the run was started, so tracing and
    logging libraries find there what the caller had set. What a watcher raises is logged and
    changes nothing; a slow one slows down neither the run nor other watchers, and what it has
    not heard yet is kept in memory.

    One watcher may be told of several runs at the same time: what it remembers of a run belongs
    under `run.run_id`, to be dropped in `on_run_finished`.
    """

    #: How long the end of a run waits for this watcher to hear of it (seconds).
    drain_seconds: float = 2.0

    def on_run_started(self, run: RunView) -> None:  # noqa: B027
        """Called once, before the first event."""

    def on_event(self, run: RunView, event: Event) -> None:  # noqa: B027
        """Called for every event of the run; `event.kind` says which.

        `event.at` is when it happened. The last event is `run.finished`.
        """

    def on_run_finished(self, run: RunView, state: str, reason: str | None) -> None:  # noqa: B027
        """Called once, after the last event; `state` is final, or "waiting" for answers."""
