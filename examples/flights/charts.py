"""The charts of the report, as PNG files, in light and dark.

Drawn on figures of their own, without pyplot, so nothing is shared with other threads; and with
nothing of the moment in the files, so the same tables make the same bytes.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from examples.flights.tables import (
    AirportDelays,
    Airports,
    CarrierDelays,
    Carriers,
    Delays,
    HourDelays,
    Hours,
    frequent,
    total,
)

_DPI = 220
_SIZE = (5.7, 4.0)
#: Where the flights begin, in degrees: John F. Kennedy, of the three airports.
_NEW_YORK = (40.64, -73.78)
#: The part of the map that is shown, in degrees: longitude, then latitude.
_MAP = ((-126.0, -65.0), (23.5, 50.0))


class Theme(NamedTuple):
    """Colours for one background."""

    name: str
    paper: str
    ink: str
    muted: str
    grid: str
    cool: str
    warm: str
    #: From no delay to much.
    heat: Sequence[str]


LIGHT = Theme(
    "light", "#ffffff", "#17222e", "#5b6976", "#e2e8ee", "#2f6fb3", "#d65f27",
    ("#f3f6f9", "#fbd9bd", "#f19a5b", "#d65f27", "#8a2f0d"),
)  # fmt: skip
DARK = Theme(
    "dark", "#18232e", "#e9eff5", "#9aa9b8", "#2b3947", "#74b3f2", "#ff9560",
    ("#22303d", "#5e3f33", "#b05a31", "#ff9560", "#ffe3cf"),
)  # fmt: skip
THEMES = (LIGHT, DARK)


def draw(carriers: Carriers, airports: Airports, hours: Hours, theme: Theme) -> dict[str, bytes]:
    """All charts in the colours of `theme`, as PNG, by name."""
    return {
        "hours": draw_hours(hours.rows, theme),
        "weather": draw_weather(hours.rows, theme),
        "carriers": draw_carriers(carriers.rows, theme),
        "airports": draw_airports(airports.rows, theme),
    }


def draw_hours(rows: Sequence[HourDelays], theme: Theme) -> bytes:
    """Mean departure delay for each month and hour of the day."""
    by_cell: dict[tuple[str, int], list[Delays]] = defaultdict(list)
    for row in rows:
        by_cell[row.month, row.hour].append(row)
    months = sorted({month for month, _ in by_cell})
    day = range(5, 24)
    cells = [[_mean(by_cell.get((month, hour), [])) for hour in day] for month in months]
    figure, axes = _canvas(theme)
    heat = LinearSegmentedColormap.from_list("heat", theme.heat)
    image = axes.pcolormesh(
        [hour - 0.5 for hour in (*day, 24)],
        [number - 0.5 for number in range(len(months) + 1)],
        cells, cmap=heat, vmin=0, vmax=40, edgecolors=theme.grid, linewidth=0.4,
    )  # fmt: skip
    axes.invert_yaxis()
    axes.set_yticks(range(len(months)), months)
    axes.set_xticks(range(6, 24, 3), [f"{hour}:00" for hour in range(6, 24, 3)])
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=28, extend="max")
    bar.set_ticks([0, 10, 20, 30, 40])
    bar.set_label("mean delay, minutes", color=theme.muted, size=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=theme.muted, length=0, labelsize=9)
    return _png(figure)


def draw_weather(rows: Sequence[HourDelays], theme: Theme) -> bytes:
    """Mean departure delay through the day, in wet and in dry weather."""
    figure, axes = _canvas(theme, has_lines=True)
    for sky, colour in (("wet", theme.warm), ("dry", theme.cool)):
        flown = {hour: _of_hour(rows, hour, sky) for hour in range(6, 23)}
        day = [hour for hour, delays in flown.items() if delays.flown]
        means = [flown[hour].mean_minutes for hour in day]
        axes.plot(day, means, color=colour, linewidth=2.4, solid_capstyle="round")
        axes.fill_between(day, means, color=colour, alpha=0.10, linewidth=0)
        if day:
            axes.text(day[-1] + 0.3, means[-1], sky, color=colour, weight="bold", va="center")
    axes.set_xlim(5.7, 24.2)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_xticks(range(6, 24, 3), [f"{hour}:00" for hour in range(6, 24, 3)])
    axes.set_ylabel("mean delay, minutes", color=theme.muted, size=9)
    return _png(figure)


def draw_carriers(rows: Sequence[CarrierDelays], theme: Theme) -> bytes:
    """Share of late departures of each airline, best on top."""
    ranked = sorted(rows, key=lambda row: (-row.late_share, row.carrier))
    mean = total(rows).late_share
    figure, axes = _canvas(theme)
    colours = [theme.warm if row.late_share > mean else theme.cool for row in ranked]
    axes.barh(range(len(ranked)), [row.late_share for row in ranked], 0.68, color=colours)
    for place, row in enumerate(ranked):
        axes.text(
            row.late_share, place, f"{row.late_share:.0%} ",
            ha="right", va="center", color=theme.paper, weight="bold", size=9,
        )  # fmt: skip
    axes.axvline(mean, color=theme.ink, linewidth=1, linestyle=(0, (2, 3)), zorder=0.5)
    axes.text(mean, len(ranked) - 0.4, f"all flights: {mean:.0%}", color=theme.muted, ha="center")
    axes.set_yticks(range(len(ranked)), [row.short_name for row in ranked])
    axes.set_xticks([])
    axes.margins(x=0.02, y=0.02)
    return _png(figure)


def draw_airports(rows: Sequence[AirportDelays], theme: Theme) -> bytes:
    """Mean arrival delay at each destination, on the map; larger dots have more flights."""
    placed = [row for row in rows if _is_shown(row) and row.flown]
    placed.sort(key=lambda row: row.mean_minutes)
    figure, axes = _canvas(theme)
    south, west = _NEW_YORK
    for row in placed:
        axes.plot([west, row.lon], [south, row.lat], color=theme.muted, linewidth=0.35, alpha=0.45)
    most = max((row.flights for row in placed), default=1)
    dots = axes.scatter(
        [row.lon for row in placed],
        [row.lat for row in placed],
        [22 + 240 * row.flights / most for row in placed],
        [row.mean_minutes for row in placed],
        cmap=LinearSegmentedColormap.from_list("delay", [
            (0.0, theme.cool), (0.25, theme.heat[0]), (0.6, theme.heat[2]), (1.0, theme.heat[3]),
        ]),
        vmin=-10, vmax=30, edgecolors=theme.ink, linewidths=0.5, zorder=3,
    )  # fmt: skip
    halo = [withStroke(linewidth=2.5, foreground=theme.paper)]
    latest = sorted(frequent(placed)[-5:], key=lambda row: (row.lon, row.dest))
    for place, row in enumerate(latest):
        axes.annotate(
            f"{row.dest} {row.mean_minutes:+.0f}", (row.lon, row.lat), (5, 5 if place % 2 else -12),
            textcoords="offset points", color=theme.ink, size=9, weight="bold", zorder=4,
            path_effects=halo,
        )  # fmt: skip
    axes.text(west + 1.2, south - 0.9, "New York", color=theme.muted, size=9)
    axes.set_xlim(*_MAP[0])
    axes.set_ylim(*_MAP[1])
    axes.set_aspect(1.27)  # a degree of latitude over one of longitude, at 38 degrees north
    axes.set_xticks([])
    axes.set_yticks([])
    bar = figure.colorbar(
        dots, ax=axes, orientation="horizontal", pad=0.02, aspect=40, shrink=0.7, extend="both"
    )
    bar.set_label("mean delay on arrival, minutes", color=theme.muted, size=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=theme.muted, length=0, labelsize=9)
    return _png(figure)


def _mean(rows: Iterable[Delays]) -> float:
    found = total(rows)
    return found.mean_minutes if found.flown else float("nan")


def _of_hour(rows: Iterable[HourDelays], hour: int, sky: str) -> Delays:
    return total(row for row in rows if row.hour == hour and row.sky == sky)


def _is_shown(row: AirportDelays) -> bool:
    (west, east), (south, north) = _MAP
    if row.lat is None or row.lon is None:
        return False
    return west <= row.lon <= east and south <= row.lat <= north


def _canvas(theme: Theme, *, has_lines: bool = False) -> tuple[Any, Any]:
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(colors=theme.muted, length=0, labelsize=9.5)
    axes.set_axisbelow(True)
    if has_lines:
        axes.grid(axis="y", color=theme.grid)
    return figure, axes


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
