from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from examples.flights.rows import Lines

HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,"
    "flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)
FLOWN = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z"
CANCELLED = (
    "2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,N18120,EWR,RDU,NA,416,16,30,2013-01-01T21:00:00Z"
)


def read(folder: Path, *lines: str, header: str = HEADER) -> Lines:
    from examples.flights.rows import read_flights

    file = folder / "2013-01.csv"
    file.write_text("\n".join([header, *lines]), encoding="utf-8")
    return read_flights(file)


def test_a_flown_and_a_cancelled_flight_are_flights(tmp_path: Path) -> None:
    lines = read(tmp_path, FLOWN, CANCELLED)
    assert lines.refused == []
    assert lines.flights["dep_delay"].fillna("none").tolist() == ["2", "none"]
    assert lines.flights["carrier"].tolist() == ["UA", "EV"]


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (FLOWN[:40], "12 values where 19 are expected"),
        (FLOWN.replace(",2,", ",#2,"), "dep_delay is '#2'"),
        (FLOWN.replace(",2,", ",2.5,"), "dep_delay is '2.5'"),
        (FLOWN.replace(",515,", ",,"), "sched_dep_time is nan"),
        (FLOWN.replace("EWR", "E?R"), "origin is 'E?R'"),
        (FLOWN.replace("2013-01-01T", "2013-01-41T"), "time_hour is '2013-01-41T10:00:00Z'"),
        (FLOWN.replace("2013,1,1", "2013,2,1"), "not a flight of 2013-01"),
        (FLOWN.replace("UA", '"A'), "carrier is '\"A'"),
        ("", "1 values where 19 are expected"),
    ],
)
def test_a_damaged_line_is_refused_with_its_number_and_the_reason(
    tmp_path: Path, damaged: str, reason: str
) -> None:
    lines = read(tmp_path, FLOWN, damaged, CANCELLED)
    assert lines.refused == [f"3: {reason}: {damaged}"]
    assert len(lines.flights) == 2


def test_bytes_that_are_no_text_are_refused_as_part_of_their_line(tmp_path: Path) -> None:
    from examples.flights.rows import read_flights

    file = tmp_path / "2013-01.csv"
    file.write_bytes(f"{HEADER}\n{FLOWN}\n".encode().replace(b",517,", b",5\xff7,"))
    assert [line[:24] for line in read_flights(file).refused] == ["2: dep_time is '5�7': 20"]


@pytest.mark.parametrize("header", ["", HEADER.replace("carrier", "carr"), "<html>"])
def test_a_file_with_another_header_is_refused_as_a_whole(tmp_path: Path, header: str) -> None:
    lines = read(tmp_path, FLOWN, header=header)
    assert len(lines.refused) == 1
    assert lines.refused[0].startswith("1: no column ")
    assert len(lines.flights) == 0
