"""What a case declares: its figures with their budgets, and who is measured.

Only the standard library is imported here and on top of every case: the same files run under
another interpreter, where a peer is installed and Handrail is not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: By figure name.
Figures = Mapping[str, float]

#: Figure that every child process adds, in MB: the most memory that was resident in it.
PEAK_MEMORY = "peak memory"


@dataclass(frozen=True)
class Figure:
    """Something that a case measures. Less is better, unless it has `at_least`."""

    name: str
    unit: str
    #: The budget in words, as the design has it.
    budget: str = ""
    at_most: float | None = None
    at_least: float | None = None

    def is_met(self, value: float) -> bool | None:
        """Is `value` within the budget? None without one."""
        if self.at_most is not None:
            return value <= self.at_most
        return value >= self.at_least if self.at_least is not None else None


@dataclass(frozen=True)
class Contender:
    """Somebody who does the work of a case."""

    name: str
    #: Does the work in a fresh process, in an empty working folder.
    run: Callable[[], Figures]
    #: Module of a package that must be installed for it; it runs where the peers are.
    needs: str = ""
    #: Environment variables of its process.
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One comparison. The first contender is Handrail; the others are what it is held against."""

    name: str
    about: str
    figures: tuple[Figure, ...]
    contenders: tuple[Contender, ...]
    #: Left out of `--quick` unless it is named.
    is_slow: bool = False
    #: Where the working folders lie; by default on the disk that the code is on.
    disk: str = ""

    def contender(self, name: str) -> Contender:
        """The contender of that name."""
        return next(contender for contender in self.contenders if contender.name == name)


class Spent(NamedTuple):
    """What some work took."""

    #: Of this process, all its threads.
    cpu_seconds: float
    wall_seconds: float

    def per(self, count: int) -> tuple[float, float]:
        """CPU and wall time of one of `count`, in microseconds."""
        return self.cpu_seconds * 1e6 / count, self.wall_seconds * 1e6 / count


def spent(work: Callable[[], Any]) -> Spent:
    """Does the work once and measures it."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Spent(time.process_time() - cpu, time.perf_counter() - wall)


def usual(work: Callable[[], Spent], times: int) -> Spent:
    """Median of `times` measurements, after one that is thrown away."""
    work()
    many = [work() for _ in range(times)]
    return Spent(*(statistics.median(values) for values in zip(*many, strict=True)))


def expect(found: object, wanted: object) -> None:
    """Stops a measurement that did not do its work."""
    if found != wanted:
        raise RuntimeError(f"expected {wanted!r} when the work was done, found {found!r}")
