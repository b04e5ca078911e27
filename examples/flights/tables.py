"""The small tables that the tasks hand on: counts of flights and of minutes, by a key.

Counts and sums, not means: they can be added up further and come out the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import pandas as pd
from pydantic import BaseModel


class Delays(BaseModel):
    """How a number of flights fared."""

    #: All that were planned, and those of them that were flown.
    flights: int
    flown: int
    #: Of those flown: late ones, and the sum of all delays in minutes (early is negative).
    late: int
    minutes: int

    @property
    def mean_minutes(self) -> float:
        """Mean delay of a flight that was flown, in minutes."""
        return self.minutes / self.flown if self.flown else 0.0

    @property
    def late_share(self) -> float:
        """Share of the flown flights that were late, 0 to 1."""
        return self.late / self.flown if self.flown else 0.0


Row = TypeVar("Row", bound=Delays)


class CarrierDelays(Delays):
    """Departures of one airline. `seats` is its median aircraft; 0 if not known."""

    carrier: str
    name: str
    seats: int

    @property
    def short_name(self) -> str:
        """The name without what kind of company it is."""
        name = self.name
        for ending in (" Inc.", " Co.", " Corporation", " Airlines", " Air Lines"):
            name = name.removesuffix(ending)
        return name


class AirportDelays(Delays):
    """Arrivals at one destination. Where it lies is in degrees, if known."""

    dest: str
    name: str
    lat: float | None
    lon: float | None


class HourDelays(Delays):
    """Departures in one hour of the day in one month, in `wet`, `dry` or `unknown` weather."""

    month: str
    hour: int
    sky: str


class Carriers(BaseModel):
    rows: list[CarrierDelays]


class Airports(BaseModel):
    rows: list[AirportDelays]


class Hours(BaseModel):
    rows: list[HourDelays]


def total(rows: Iterable[Delays]) -> Delays:
    """All rows in one."""
    rows = list(rows)
    return Delays(
        flights=sum(row.flights for row in rows),
        flown=sum(row.flown for row in rows),
        late=sum(row.late for row in rows),
        minutes=sum(row.minutes for row in rows),
    )


def frequent(rows: Sequence[Row]) -> list[Row]:
    """Those rows that hold enough of the flights to say something: one in 2,000, and one at all."""
    least = max(total(rows).flights / 2000, 1)
    return [row for row in rows if row.flown and row.flights >= least]


def read_months(folder: Path) -> pd.DataFrame:
    """All months in a folder as one table, with a column `month`."""
    files = sorted(folder.glob("*.csv"))
    return pd.concat([pd.read_csv(file).assign(month=file.stem) for file in files])


def count_delays(
    flights: pd.DataFrame, keys: list[str], delay: str, late_minutes: int
) -> pd.DataFrame:
    """The columns of `Delays` for each value of `keys`, from the delays in column `delay`."""
    return (
        flights.assign(is_late=flights[delay] >= late_minutes)
        .groupby(keys)
        .agg(
            flights=(delay, "size"),
            flown=(delay, "count"),
            late=("is_late", "sum"),
            minutes=(delay, "sum"),
        )
        .astype("int64")
        .reset_index()
    )


def write_table(file: Path, table: pd.DataFrame) -> None:
    """Writes a table as CSV, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(file, index=False, lineterminator="\n")
