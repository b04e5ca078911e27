"""The phases of an attempt that works on files: the same for every store and every door.

    open -> (guards, body, guards) -> changed? -> fence -> stage -> fence -> publish -> close

The body sees a private copy and only a path. Nothing is visible to others before `publish`. A
task that only reads, and a body that changed nothing, stage nothing. Whatever happens, what was
staged is discarded and the private copy removed; trouble with that is logged and never takes the
place of the outcome.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

log = logging.getLogger("handrail.run")

Value = TypeVar("Value")
Staged = TypeVar("Staged")


class Outcome(NamedTuple, Generic[Value]):
    """What a body returned, and the commit that its files are in."""

    value: Value
    ref: str


class Publication(ABC, Generic[Staged]):
    """Where the files of one attempt come from, and where they go.

    The methods are called once each at most, in this order.
    """

    #: Commit that the files are read from.
    input_ref: str
    #: Are changes thrown away?
    is_read_only: bool

    @abstractmethod
    def open(self) -> Path:
        """Makes the private copy and remembers what is in it."""

    @abstractmethod
    def has_changed(self) -> bool:
        """Are the files others than those that were opened?"""

    def fence(self) -> None:
        """Raises if a later attempt has taken this one's place; before staging, and after."""

    def unchanged(self) -> str:
        """Ends an attempt that changed nothing; returns its ref."""
        return self.input_ref

    @abstractmethod
    def stage(self) -> Staged:
        """Stores the files where nobody sees them."""

    @abstractmethod
    def publish(self, staged: Staged) -> str:
        """Makes them what others see; returns their ref."""

    def discard(self, staged: Staged) -> None:
        """Removes what only staging needed. Called whether or not it was published."""

    @abstractmethod
    def close(self) -> None:
        """Removes the private copy. Called even if `open` failed."""


def run_phases(
    publication: Publication[Staged],
    body: Callable[[Path], Value],
    is_given_up: Callable[[], bool] = lambda: False,
) -> Outcome[Value]:
    """Takes an attempt through its phases.

    Args:
        body: called with the private copy; checks guardrails and values too.
        is_given_up: asked after the body; if so nothing is staged.

    Raises:
        BaseException: whatever a phase raises; those after it are left out.
    """
    try:
        value = body(publication.open())
        if publication.is_read_only or is_given_up():
            return Outcome(value, publication.input_ref)
        has_changed = publication.has_changed()
        publication.fence()
        if not has_changed:
            return Outcome(value, publication.unchanged())
        return Outcome(value, _publish(publication))
    finally:
        _quietly("its folder could not be removed", publication.close)


def _publish(publication: Publication[Staged]) -> str:
    staged = publication.stage()
    try:
        publication.fence()
        return publication.publish(staged)
    finally:
        _quietly("what it staged could not be removed", lambda: publication.discard(staged))


def _quietly(problem: str, act: Callable[[], None]) -> None:
    try:
        act()
    except Exception:
        # The outcome stands. What was left is found by a sweep.
        log.exception("an attempt is over, but %s", problem)
