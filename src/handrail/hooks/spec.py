"""The socket of watchers: told of everything a run does, able to harm nothing."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

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


class RunWatcher(ABC):  # noqa: B024 - every method may be left out
    """Subclass it and override what you want to hear of.

    Calls come one at a time from a thread of their own, in the order of events. What they raise
    is logged and changes nothing; a slow one does not slow the run down.
    """

    def on_run_started(self, run: RunView) -> None:  # noqa: B027
        """Called once, before the first event."""

    def on_event(self, run: RunView, event: Event) -> None:  # noqa: B027
        """Called for every event of the run; `event.kind` says which."""

    def on_run_finished(self, run: RunView, state: str, reason: str | None) -> None:  # noqa: B027
        """Called once, after the last event; `state` is final."""
