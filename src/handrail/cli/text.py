"""Numbers, times and other people's words as text for a screen."""

from __future__ import annotations

import itertools
from datetime import datetime

from handrail.flow.pictures.letters import visible as visible

MARKS = {
    "queued": "·",
    "running": "▶",
    "waiting": "↻",
    "succeeded": "✓",
    "kept": "✓",
    "failed": "✗",
    "crashed": "✗",
    "cancelled": "⊘",
    "skipped": "-",
    "superseded": "~",
}
STYLES = {
    "queued": "dim",
    "running": "cyan",
    "waiting": "yellow",
    "succeeded": "green",
    "kept": "dim green",
    "failed": "bold red",
    "crashed": "bold red",
    "cancelled": "yellow",
    "skipped": "dim",
    "superseded": "dim",
}


def block(text: str) -> str:
    """Like `visible`, but lines stay lines and tabs become spaces."""
    return "\n".join(visible(line.expandtabs(4)) for line in text.split("\n"))


def first_line(text: str) -> str:
    """The first line that says something, visible."""
    for line in text.splitlines():
        if line.strip():
            return visible(line.strip())
    return ""


def shortened(text: str, length: int) -> str:
    """`text`, or as much of it as fits into `length` characters with an ellipsis."""
    return text if len(text) <= length else text[: max(length - 1, 0)] + "…"


def duration(seconds: float) -> str:
    """A length of time: `12 ms`, `1.2 s`, `3 min 04 s`, `2 h 05 min`, `3 d 01 h`."""
    if seconds < 0.0995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 24 else f"{hours // 24} d {hours % 24:02} h"


def moment(at: int | None) -> str:
    """Local date and time of milliseconds since 1970, UTC."""
    if at is None:
        return ""
    return datetime.fromtimestamp(at / 1000).strftime("%Y-%m-%d %H:%M:%S")


def clock(at: int) -> str:
    """Local time of day of milliseconds since 1970, UTC."""
    return datetime.fromtimestamp(at / 1000).strftime("%H:%M:%S")


def took(started_at: int | None, finished_at: int | None) -> str:
    """Length of time between two moments in milliseconds; empty if one is not known."""
    if started_at is None or finished_at is None:
        return ""
    return duration((finished_at - started_at) / 1000)


def size(size_bytes: int) -> str:
    """A size in powers of ten: `17 B`, `1.2 kB`, `3.4 MB`."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    amount = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        amount /= 1000
        if amount < 999.95 or unit == "PB":
            break
    return f"{amount:.1f} {unit}"


def counted(count: int, thing: str, things: str | None = None) -> str:
    """`1 task`, `2 tasks`; `things` for plurals that do not end in s alone."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def short_ids(ids: list[str], length: int = 8) -> dict[str, str]:
    """`{id: shortest prefix that no other of them has, at least of `length`}`."""
    ordered = sorted(set(ids))
    shared = [0, *(_shared(a, b) for a, b in itertools.pairwise(ordered)), 0]
    return {
        run_id: run_id[: max(length, shared[index] + 1, shared[index + 1] + 1)]
        for index, run_id in enumerate(ordered)
    }


def _shared(first: str, second: str) -> int:
    count = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        count += 1
    return count
