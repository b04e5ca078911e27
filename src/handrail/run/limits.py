"""Which limits hold for the tasks of a run, and the run's own places under them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from handrail.contracts.limits import Limit, limit_of_task, task_tag
from handrail.contracts.task import TaskDefinition
from handrail.keep.limits import Holder, Limiter

_NOTHING: frozenset[str] = frozenset()


class Limits:
    """Limits of one epoch of a run. Never waits: a refusal says when to ask again.

    Not safe for threads; the engine's own calls it.

    Args:
        settings_limits: by tag. That of `task:NAME` comes before what the task's controls say.
        now: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        settings_limits: Mapping[str, Limit],
        limiter: Limiter,
        run_id: str,
        epoch: int,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings_limits = settings_limits
        #: Does any tag have a limit?
        self.has_tags = bool(settings_limits)
        self._limiter = limiter
        self._run_id = run_id
        self._epoch = epoch
        self._now = now
        self._known: dict[TaskDefinition, tuple[Limit, ...]] = {}
        #: Limits under which attempts of this run hold places, by attempt.
        self.held: dict[str, tuple[Limit, ...]] = {}
        #: Limits that refused: until when it is not worth asking again, and which it was.
        self._refused: dict[tuple[Limit, ...], tuple[float, str]] = {}

    def of(self, definition: TaskDefinition) -> tuple[Limit, ...]:
        """The limits of a task, each of another tag; empty if nothing limits it."""
        limits = self._known.get(definition)
        if limits is None:
            limits = self._known[definition] = tuple(self._find(definition))
        return limits

    def take(self, limits: tuple[Limit, ...], attempt_id: str) -> float:
        """Takes a place under every limit for an attempt, or nothing.

        Returns:
            0.0 when all are held; else seconds after which it is worth asking again. Until
            then, or until an attempt of this run gives a place back, the answer is the same
            and costs nothing.

        Raises:
            StaleAttemptError: another process has taken the run over.
        """
        until, _ = self._refused.get(limits, (0.0, ""))
        left = until - self._now()
        if left > 0:
            return left
        refusal = self._limiter.take(self._holder(attempt_id), limits)
        if refusal is not None:
            self._refused[limits] = (self._now() + refusal.seconds, refusal.tag)
            return refusal.seconds
        self._refused.pop(limits, None)
        if any(limit.at_once is not None for limit in limits):
            self.held[attempt_id] = limits
        return 0.0

    def refused_by(self, limits: tuple[Limit, ...]) -> str:
        """Tag of the limit that stands in the way; empty if none did when last asked."""
        return self._refused.get(limits, (0.0, ""))[1]

    def give_back(self, attempt_id: str) -> frozenset[str]:
        """Gives the places of an attempt back; does nothing if it holds none.

        Returns:
            Tags under which there may be a free place by that.
        """
        limits = self.held.get(attempt_id)
        if limits is None:
            return _NOTHING
        self._limiter.give_back(self._holder(attempt_id))
        del self.held[attempt_id]
        freed = frozenset(limit.tag for limit in limits if limit.at_once is not None)
        for refused in [*self._refused]:
            if any(limit.tag in freed for limit in refused):
                del self._refused[refused]
        return freed

    def close(self) -> None:
        """Gives back what is still held, at the end of the run's epoch."""
        for attempt_id in [*self.held]:
            self.give_back(attempt_id)

    def _find(self, definition: TaskDefinition) -> Iterator[Limit]:
        for tag in definition.tags:
            if tag in self._settings_limits:
                yield self._settings_limits[tag]
        own = task_tag(definition.name)
        if own in definition.tags:
            return
        if own in self._settings_limits:
            yield self._settings_limits[own]
        elif definition.controls is not None:
            declared = limit_of_task(definition.name, definition.controls.limits)
            if declared is not None:
                yield declared

    def _holder(self, attempt_id: str) -> Holder:
        return Holder(self._run_id, self._epoch, attempt_id)
