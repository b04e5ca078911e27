"""Outcomes as a table, as JSON, and written into a page of results."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.case import Figure
from benchmarks.runner import Measured, Outcome

HEADER = ("case", "who", "figure", "median", "least to most", "budget", "met", "Handrail ÷ it",
          "measured")  # fmt: skip

_BEGIN, _END = "<!-- {}: begin -->", "<!-- {}: end -->"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    case: str
    cells: tuple[str, ...]


def rows(outcomes: Iterable[Outcome], date: str) -> list[Row]:
    """All figures of all contenders, each with its spread."""
    return [
        Row(outcome.case.name, cells)
        for outcome in outcomes
        for measured in outcome.measured
        for cells in _cells(outcome, measured, date)
    ]


def _cells(outcome: Outcome, measured: Measured, date: str) -> list[tuple[str, ...]]:
    name, who = outcome.case.name, measured.contender.name
    if measured.problem:
        return [(name, who, measured.problem, *[""] * 6)]
    is_ours = measured is outcome.measured[0]
    when = f"{date}, {len(measured.rounds)} rounds, load {max(outcome.loads):.1f}"
    found: list[tuple[str, ...]] = []
    for figure in outcome.case.figures:
        values = measured.values(figure.name)
        if not values:
            continue
        median = statistics.median(values)
        ratio = None if is_ours else outcome.ratio(figure.name, measured)
        found.append(
            (
                name,
                who,
                f"{figure.name}, {figure.unit}",
                number(median),
                f"{number(min(values))} to {number(max(values))}",
                figure.budget if is_ours else "",
                _verdict(figure, median) if is_ours else "",
                "" if ratio is None else number(ratio),
                when,
            )
        )
    return found


def _verdict(figure: Figure, median: float) -> str:
    return {True: "yes", False: "**no**", None: ""}[figure.is_met(median)]


def number(value: float) -> str:
    """Three digits that count, without an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(found: Sequence[Row]) -> str:
    """Rows under each other, in columns, for a terminal."""
    lines = [HEADER, *(row.cells for row in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_json(outcomes: Iterable[Outcome], about: str) -> dict[str, Any]:
    """Everything that was seen, every round of it."""
    return {
        "about": about,
        "cases": [
            {
                "case": outcome.case.name,
                "loads": list(outcome.loads),
                "figures": [vars(figure) for figure in outcome.case.figures],
                "contenders": [
                    {
                        "name": measured.contender.name,
                        "problem": measured.problem,
                        "rounds": [dict(figures) for figures in measured.rounds],
                        "ratios": {
                            figure.name: outcome.ratio(figure.name, measured)
                            for figure in outcome.case.figures
                        },
                    }
                    for measured in outcome.measured
                ],
            }
            for outcome in outcomes
        ],
    }


def machine(folder: Path) -> str:
    """What the figures depend on, in one line, with nothing that names the machine."""
    return (
        f"{_processor()}, {os.cpu_count()} cores; {platform.system()} {_kernel()}; "
        f"{_file_system(folder)}; {platform.python_implementation()} {platform.python_version()}"
    )


def today() -> str:
    """The date, as `2026-11-21`."""
    return datetime.date.today().isoformat()


def _kernel() -> str:
    return platform.release().split("-")[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the mount that `folder` lies on: the longest mount point above it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(point, kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1]


# The page


def updated(page: str, found: Sequence[Row], order: Sequence[str], about: str) -> str:
    """The page with `about` and the rows put in; rows of cases not measured are kept.

    Args:
        order: names of the cases; rows of any other are dropped.

    Raises:
        ValueError: the page lacks the marks between which they belong.
    """
    measured = {row.case for row in found}
    before = [_row(line) for line in _between(page, "table").splitlines() if line.startswith("| ")]
    kept = [row for row in before if row.case in order and row.case not in measured]
    together = sorted([*kept, *found], key=lambda row: order.index(row.case))
    return _put(_put(page, "table", "\n".join(_markdown(together))), "machine", about)


def _markdown(found: Sequence[Row]) -> list[str]:
    return [
        _line(HEADER),
        "|" + "--|" * len(HEADER),
        *(_line(row.cells) for row in found),
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(line: str) -> Row:
    cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
    return Row(cells[0], cells)


def _between(page: str, name: str) -> str:
    begin, end = _BEGIN.format(name), _END.format(name)
    if begin not in page or end not in page:
        raise ValueError(f"the page has no marks {begin} and {end}")
    return page.partition(begin)[2].partition(end)[0]


def _put(page: str, name: str, text: str) -> str:
    begin, end = _BEGIN.format(name), _END.format(name)
    head, _, rest = page.partition(begin)
    return f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}"
