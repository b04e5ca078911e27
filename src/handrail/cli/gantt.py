"""The attempts of a run over time, as HTML: one lane a task, one bar an attempt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from handrail.cli.graphs import mapped_by
from handrail.cli.text import clock, counted, duration, first_line, moment, visible
from handrail.cli.timeline import Axis

if TYPE_CHECKING:
    from handrail.run.history import AttemptHistory, RunHistory

_MOST_LANES = 400
#: Width of a gap that is cut out, and of all of them together, in percent.
_CUT, _MOST_CUT = 2.4, 30.0
#: Bars nearer to one another than this, in percent, are one bar if they are alike.
_NEAR = 0.12
_TICK_COUNT = 6
_STEPS_SECONDS = (
    *(base * 10**power for power in (-3, -2, -1, 0) for base in (1, 2, 5)),
    *(10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200),
)
_DAY_SECONDS = 86400


@dataclass(frozen=True, slots=True)
class Lane:
    """A task with all its attempts, those of its items included."""

    name: str
    attempts: tuple[AttemptHistory, ...]

    def spans(self, now: int) -> list[tuple[int, int]]:
        """Start and end of each attempt, in milliseconds."""
        return [_span(attempt, now) for attempt in self.attempts]


def gantt(run: RunHistory, now: int, links: dict[str, str]) -> str:
    """The chart; empty if nothing was attempted.

    Args:
        now: end of what still runs, in milliseconds since 1970, UTC.
        links: `{task: id of the element that tells more of it}`.
    """
    lanes = _lanes(run)
    if not lanes:
        return ""
    shown = sorted(lanes, key=lambda lane: _length(lane, now), reverse=True)[:_MOST_LANES]
    names = {lane.name for lane in shown}
    scale = _Scale([span for lane in shown for span in lane.spans(now)], run)
    ground = "".join(scale.ground())
    parts = ['<div class="gantt">']
    parts += (_lane(lane, scale, ground, now, links) for lane in lanes if lane.name in names)
    parts.append(
        f'<div class="lane axis"><span></span><div class="track">{scale.labels()}</div></div>'
    )
    parts.append(_key(lanes, scale))
    if len(lanes) > len(shown):
        left_out = counted(len(lanes) - len(shown), "shorter task")
        parts.append(f'<p class="faint">and {left_out}</p>')
    return "\n".join([*parts, "</div>"])


class _Scale:
    """Places moments, in percent. Long gaps in which nothing happened are cut out."""

    def __init__(self, spans: list[tuple[int, int]], run: RunHistory) -> None:
        self._pieces = Axis(spans, 1000).pieces
        self.resumes = run.epochs[1:]
        cuts = max(len(self._pieces) - 1, 0)
        self._cut = min(_CUT, _MOST_CUT / cuts) if cuts else 0.0
        self._total = sum(end - start for start, end in self._pieces) or 1
        self._factor = (100 - cuts * self._cut) / self._total
        self._origins: list[float] = []
        place = 0.0
        for start, end in self._pieces:
            self._origins.append(place)
            place += (end - start) * self._factor + self._cut

    def place(self, at: float) -> float:
        """Where a moment lies."""
        place = 0.0
        for (start, end), origin in zip(self._pieces, self._origins, strict=True):
            if at < start:
                return max(origin - self._cut / 2, 0.0)  # amid the gap before
            place = origin + (min(at, end) - start) * self._factor
            if at <= end:
                break
        return place

    def ground(self) -> Iterator[str]:
        """What lies behind the bars of every lane."""
        for _, place in self._ticks():
            yield f'<i class="tick" style="left:{place:.2f}%"></i>'
        for (_, end), (start, _), origin in zip(
            self._pieces, self._pieces[1:], self._origins[1:], strict=False
        ):
            left_out = f"{duration((start - end) / 1000)} in which nothing ran"
            yield (
                f'<i class="cut" title="{left_out}" '
                f'style="left:{origin - self._cut:.2f}%;width:{self._cut:.2f}%"></i>'
            )
        for epoch in self.resumes:
            at = moment(epoch.opened_at)
            yield (
                f'<i class="epoch" title="resumed {at} (epoch {epoch.number})" '
                f'style="left:{self.place(epoch.opened_at):.2f}%"></i>'
            )

    def labels(self) -> str:
        """Times under the lanes, from the start of the first attempt."""
        begin = self._pieces[0][0]
        labels = [f'<span class="first" style="left:0">{clock(begin)}</span>']
        last = 9.0
        for seconds, place in self._ticks():
            if place > last and place < 93:
                labels.append(f'<span style="left:{place:.2f}%">+{duration(seconds)}</span>')
                last = place + 8
        end = duration((self._pieces[-1][1] - begin) / 1000)
        labels.append(f'<span class="last" style="left:100%">+{end}</span>')
        return "".join(labels)

    def _ticks(self) -> Iterator[tuple[float, float]]:
        """Round numbers of seconds since the first attempt, and their places."""
        step = _step(self._total / 1000)
        begin = self._pieces[0][0]
        for start, end in self._pieces:
            number = int((start - begin) / 1000 // step) + 1
            while (at := begin + number * step * 1000) < end:
                yield number * step, self.place(at)
                number += 1


def _step(total_seconds: float) -> float:
    for step in _STEPS_SECONDS:
        if total_seconds / step <= _TICK_COUNT:
            return step
    return _DAY_SECONDS * max(1, round(total_seconds / _DAY_SECONDS / _TICK_COUNT))


def _lanes(run: RunHistory) -> list[Lane]:
    tasks = {task.name: task for task in run.tasks}
    attempts: dict[str, list[AttemptHistory]] = {}
    for task in run.tasks:
        begun = [attempt for attempt in task.attempts if attempt.started_at is not None]
        if begun:
            attempts.setdefault(mapped_by(task.name, tasks) or task.name, []).extend(begun)
    return [
        Lane(name, tuple(sorted(attempts[name], key=lambda a: a.started_at or 0)))
        for name in tasks
        if name in attempts
    ]


def _span(attempt: AttemptHistory, now: int) -> tuple[int, int]:
    start = attempt.started_at or 0
    end = attempt.finished_at or (now if attempt.state == "running" else start)
    return start, max(start, end)


def _length(lane: Lane, now: int) -> int:
    spans = lane.spans(now)
    return max(end for _, end in spans) - spans[0][0]


def _lane(lane: Lane, scale: _Scale, ground: str, now: int, links: dict[str, str]) -> str:
    name = escape(visible(lane.name))
    link = links.get(lane.name)
    heading = f'<a href="#{link}" title="{name}">{name}</a>' if link else f"<span>{name}</span>"
    spans = lane.spans(now)
    first = scale.place(spans[0][0])
    last = scale.place(max(end for _, end in spans))
    wait = f'<i class="wait" style="left:{first:.2f}%;width:{last - first:.2f}%"></i>'
    bars = "".join(_bar(bar) for bar in _bars(lane, scale, now))
    waits = wait if len(spans) > 1 else ""
    return f'<div class="lane">{heading}<div class="track">{ground}{waits}{bars}</div></div>'


@dataclass(slots=True)
class _Bar:
    """One attempt, or several alike that lie too near to be told apart."""

    left: float
    right: float
    state: str
    title: str
    count: int = 1


def _bars(lane: Lane, scale: _Scale, now: int) -> list[_Bar]:
    bars: list[_Bar] = []
    for attempt, (start, end) in zip(lane.attempts, lane.spans(now), strict=True):
        left, right = scale.place(start), scale.place(end)
        last = bars[-1] if bars else None
        if last and last.state == attempt.state and left - last.right < _NEAR:
            last.right, last.count = max(last.right, right), last.count + 1
        else:
            bars.append(_Bar(left, right, attempt.state, _title(attempt, end - start)))
    return bars


def _title(attempt: AttemptHistory, length: int) -> str:
    parts = [
        f"try {attempt.try_number}: {attempt.state}",
        duration(length / 1000),
        f"from {clock(attempt.started_at or 0)}",
    ]
    if attempt.epoch > 1:
        parts.append(f"epoch {attempt.epoch}")
    if attempt.error:
        parts.append(first_line(str(attempt.error.get("message", ""))))
    return ", ".join(parts)


def _bar(bar: _Bar) -> str:
    title = bar.title if bar.count == 1 else f"{bar.count:,} attempts: {bar.state}"
    return (
        f'<i class="try {escape(bar.state)}" title="{escape(title)}" '
        f'style="left:{bar.left:.2f}%;width:{bar.right - bar.left:.2f}%"></i>'
    )


def _key(lanes: Iterable[Lane], scale: _Scale) -> str:
    states = dict.fromkeys(attempt.state for lane in lanes for attempt in lane.attempts)
    keys = [f'<li><i class="try {escape(state)}"></i>{escape(state)}</li>' for state in states]
    if any(len(lane.attempts) > 1 for lane in lanes):
        keys.append('<li><i class="wait"></i>between tries</li>')
    if scale.resumes:
        keys.append('<li><i class="epoch"></i>resumed</li>')
    return f'<ul class="key">{"".join(keys)}</ul>'
