"""Tells the lines of a delivered file that are flights from those that are not."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import NamedTuple

import pandas as pd

#: What is kept of a flight. A cancelled one has no delays.
COLUMNS = ["time_hour", "hour", "carrier", "tailnum", "origin", "dest", "dep_delay", "arr_delay"]

_DATE = ["year", "month", "day"]
_NUMBERS = [*_DATE, "sched_dep_time", "sched_arr_time", "flight", "distance", "hour", "minute"]
#: Those that a cancelled or diverted flight lacks.
_NUMBERS_OR_NONE = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
_CODES = {"carrier": r"[0-9A-Z]{2}", "origin": "EWR|JFK|LGA", "dest": "[A-Z]{3}"}
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


class Lines(NamedTuple):
    """The lines of one file, told apart."""

    #: One row per flight, with `COLUMNS`, as text.
    flights: pd.DataFrame
    #: `line number: what is wrong: the line`, of those that are no flights.
    refused: list[str]


def read_flights(file: Path) -> Lines:
    """Reads a month of flights. Every line comes out once, as a flight or as refused.

    Args:
        file: named after its month, `2013-01.csv`; flights of another month are refused.
    """
    header, *lines = file.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    names = header.split(",")
    missing = {*_NUMBERS, *_NUMBERS_OR_NONE, *_CODES, "tailnum", "time_hour"} - {*names}
    if missing:
        return Lines(pd.DataFrame(columns=COLUMNS), [f"1: no column {min(missing)}: {header}"])
    problems = {
        number: f"{line.count(',') + 1} values where {len(names)} are expected"
        for number, line in enumerate(lines)
        if line.count(",") + 1 != len(names)
    }
    whole = [number for number in range(len(lines)) if number not in problems]
    text = "\n".join([header, *(lines[number] for number in whole)])
    table = pd.read_csv(io.StringIO(text), dtype=str, quoting=csv.QUOTE_NONE).set_axis(whole)
    wrong = _problems(table, file.stem)
    refused = problems | wrong
    return Lines(
        table.loc[~table.index.isin(list(wrong)), COLUMNS],
        [f"{number + 2}: {refused[number]}: {lines[number]}" for number in sorted(refused)],
    )


def _problems(table: pd.DataFrame, month: str) -> dict[int, str]:
    """What is wrong, by row, where something is."""
    wrong = {}
    for name in [*_NUMBERS, *_NUMBERS_OR_NONE]:
        number = pd.to_numeric(table[name], errors="coerce")
        may_lack = table[name].isna() if name in _NUMBERS_OR_NONE else False
        wrong[name] = ~((number % 1 == 0) | may_lack)
    for name, pattern in _CODES.items():
        wrong[name] = ~table[name].str.fullmatch(pattern, na=False)
    wrong["time_hour"] = pd.to_datetime(
        table["time_hour"], format=_TIME_FORMAT, errors="coerce"
    ).isna()
    found = {
        row: f"{name} is {table[name][row]!r}" for name in wrong for row in table.index[wrong[name]]
    }
    year, number = month.split("-")
    elsewhere = (table["year"] != year) | (table["month"] != str(int(number)))
    return dict.fromkeys(table.index[elsewhere], f"not a flight of {month}") | found
