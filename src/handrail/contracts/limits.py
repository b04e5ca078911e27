"""Limits by tag: how many attempts at once, and how many in a span of time.

As text a limit is a number of places, a rate, or both:

    2            two attempts at once
    10/s         ten starts in any second; also 100/h, 5/30s (s, min, h, d)
    4, 10/min    both
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from handrail.contracts.controls import ExecutionLimits
from handrail.errors import RuntimeConfigError

#: What a limit may be, for messages.
EXPECTED = (
    "a number of places such as 2, a rate such as 10/s, 100/h or 5/30s (s, min, h, d), "
    "or both, such as '4, 10/min'"
)

_TAG = re.compile(r"[A-Za-z0-9_.:-]+")
_PLACES = re.compile(r"[0-9]{1,9}")
_RATE = re.compile(r"([0-9]{1,9}) */ *([0-9]{1,9}(?:\.[0-9]{1,6})?)? *(s|min|h|d)")
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class Limit:
    """What attempts of tasks with one tag may take, all runs together."""

    tag: str
    #: Attempts at the same time; none: any number.
    at_once: int | None = None
    #: Starts within `per_seconds`; none: any number.
    count: int | None = None
    per_seconds: float | None = None

    @property
    def spacing(self) -> int:
        """Least time from one start to the next, in microseconds; 0: there is no rate.

        It is the least whole number of which `count` are longer than `per_seconds`, so that no
        window of that length holds more starts, its two ends included.
        """
        if self.count is None or self.per_seconds is None:
            return 0
        return int(self.per_seconds * 1_000_000) // self.count + 1

    def __str__(self) -> str:
        said = [] if self.at_once is None else [str(self.at_once)]
        if self.count is not None and self.per_seconds is not None:
            said.append(f"{self.count}/{_span(self.per_seconds)}")
        return ", ".join(said)


def task_tag(name: str) -> str:
    """The tag that a task has without saying so."""
    return f"task:{name}"


def limit_of_task(name: str, said: ExecutionLimits) -> Limit | None:
    """The limit that a task's controls declare; none if they declare none, or 0."""
    at_once = said.concurrent_exec_limit or None
    count, seconds = said.rate_limit_per_frequency, said.rate_limit_frequency_in_seconds
    if count and seconds:
        return Limit(task_tag(name), at_once, count, float(seconds))
    return Limit(task_tag(name), at_once) if at_once else None


def checked_tags(said: object) -> tuple[str, ...]:
    """Tags as they are declared: one text, or several; each once.

    Raises:
        ValueError: they are none.
    """
    tags = (said,) if isinstance(said, str) else said
    if not isinstance(tags, Iterable) or isinstance(tags, Mapping):
        raise ValueError(f"tags={said!r}: expected texts, such as tags=('db', 'api')")
    return tuple(dict.fromkeys(_checked_tag(tag) for tag in tags))


def parse_limit(tag: str, said: object) -> Limit:
    """The limit that is written as a whole number, or as text.

    Raises:
        ValueError: it cannot be read; the message says what was expected.
    """
    _checked_tag(tag)
    parts = [part.strip() for part in _text(said).split(",")]
    places = [part for part in parts if _PLACES.fullmatch(part)]
    rates = [found for part in parts if (found := _RATE.fullmatch(part))]
    if len(places) + len(rates) != len(parts) or len(places) > 1 or len(rates) > 1:
        raise ValueError(f"limit of '{tag}' is {said!r}; expected {EXPECTED}")
    at_once = int(places[0]) if places else None
    count = int(rates[0][1]) if rates else None
    per_seconds = float(rates[0][2] or 1) * _UNITS[rates[0][3]] if rates else None
    if 0 in (at_once, count, per_seconds):
        raise ValueError(f"limit of '{tag}' is {said!r}: with 0 nothing would ever start")
    return Limit(tag, at_once, count, per_seconds)


def parse_limits(said: Mapping[str, object]) -> dict[str, Limit]:
    """Limits by tag, each as in `parse_limit`.

    Raises:
        ValueError: one cannot be read, or this is no mapping.
    """
    if not isinstance(said, Mapping):
        raise ValueError(f"limits={said!r}: expected limits by tag, such as {{'db': 2}}")
    return {tag: parse_limit(tag, limit) for tag, limit in said.items()}


def read_limits(said: Iterable[str], origin: str) -> dict[str, Limit]:
    """Limits as the settings have them: `("api=10/s", "db=2")`.

    Args:
        origin: where they were written, for messages.

    Raises:
        RuntimeConfigError: one cannot be read.
    """
    try:
        return parse_limits(dict(_pair(text) for text in said))
    except ValueError as exc:
        raise RuntimeConfigError(f"Setting 'limits' from {origin}: {exc}.") from exc


def _pair(text: str) -> tuple[str, str]:
    tag, _, limit = text.partition("=")
    return tag.strip(), limit.strip()


def _checked_tag(tag: object) -> str:
    if not isinstance(tag, str) or not _TAG.fullmatch(tag):
        raise ValueError(f"{tag!r} is no tag: expected letters, digits and any of _ . : -")
    return tag


def _text(said: object) -> str:
    return str(said) if isinstance(said, (str, int)) and not isinstance(said, bool) else ""


def _span(seconds: float) -> str:
    """`s`, `30s`, `min`, `2h`: the largest unit that gives a whole number."""
    for unit, length in reversed(_UNITS.items()):
        amount = seconds / length
        if amount == int(amount) or unit == "s":
            return unit if amount == 1 else f"{amount:g}{unit}"
    raise AssertionError(seconds)
