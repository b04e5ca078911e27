from __future__ import annotations

import hashlib
from pathlib import Path

import pytest


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*.csv"))
    }


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from examples.flights.feed import deliver

    folder = tmp_path_factory.mktemp("feed") / "delivery"
    deliver(folder, every=100)
    return folder


def test_the_delivery_has_a_year_and_a_month_and_what_the_codes_mean(delivery: Path) -> None:
    months = [f"2013-{month:02}.csv" for month in range(1, 13)] + ["2014-01.csv"]
    for kind in ("flights", "weather"):
        assert sorted(file.name for file in (delivery / kind).iterdir()) == months
    names = [file.name for file in sorted(delivery.glob("*.csv"))]
    assert names == ["airlines.csv", "airports.csv", "planes.csv"]


def test_the_same_call_makes_the_same_bytes(delivery: Path, tmp_path: Path) -> None:
    from examples.flights.feed import deliver

    deliver(tmp_path / "again", every=100)
    assert digests(tmp_path / "again") == digests(delivery)


def test_a_delivery_that_is_there_is_left_alone(delivery: Path) -> None:
    from examples.flights.feed import deliver

    before = digests(delivery)
    assert deliver(delivery, every=7) == deliver(delivery, every=100)
    assert digests(delivery) == before


def test_only_the_damaged_month_has_lines_that_are_no_flights(delivery: Path) -> None:
    from examples.flights.feed import DAMAGED
    from examples.flights.rows import read_flights

    refused = {file.stem for file in (delivery / "flights").iterdir() if read_flights(file).refused}
    assert refused == {DAMAGED}
