from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from examples.flights.feed import deliver

    folder = tmp_path_factory.mktemp("feed") / "delivery"
    deliver(folder, every=100)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def take_in(workspace: Path, delivery: Path, watermark: str | None, next_watermark: str) -> Any:
    """What the report is made of, from the bodies before it, one after the other."""
    from examples.flights import pipeline

    due = pipeline.Due(feed=str(delivery), watermark=watermark, next_watermark=next_watermark)
    batch = pipeline.ingest.fn(workspace, due)
    batch = pipeline.join_weather.fn(workspace, pipeline.clean.fn(workspace, batch))
    return pipeline.Findings(
        join_weather=batch,
        by_carrier=pipeline.by_carrier.fn(workspace, pipeline.Lateness()),
        by_airport=pipeline.by_airport.fn(workspace, pipeline.Lateness()),
        by_hour=pipeline.by_hour.fn(workspace / "joined", pipeline.Lateness()),
    )


def test_two_batches_make_what_one_makes_and_a_third_changes_nothing(
    tmp_path: Path, delivery: Path
) -> None:
    from examples.flights import pipeline

    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    take_in(one, delivery, None, "2013-04")
    take_in(two, delivery, None, "2013-02")
    take_in(two, delivery, "2013-02", "2013-04")
    made = files(one)
    assert files(two) == made
    findings = take_in(two, delivery, "2013-04", "2013-04")
    assert findings.join_weather.months == []
    report = pipeline.report.fn(two, findings)
    assert report.files == []
    assert files(two) == made


def test_every_flight_is_counted_once_in_each_table(tmp_path: Path, delivery: Path) -> None:
    from examples.flights.tables import total

    findings = take_in(tmp_path, delivery, None, "2013-03")
    count = findings.join_weather.inserts
    assert count > 500
    for table in (findings.by_carrier, findings.by_airport, findings.by_hour):
        assert total(table.rows).flights == count
    departures = total(findings.by_carrier.rows)
    assert departures == total(findings.by_hour.rows)
    assert 0 < departures.late < departures.flown < departures.flights


def test_a_month_that_was_not_delivered_is_an_error(tmp_path: Path, delivery: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no flights of 2014-02"):
        take_in(tmp_path, delivery, None, "2014-02")


def test_lines_that_are_no_flights_go_to_quarantine(tmp_path: Path, delivery: Path) -> None:
    from examples.flights import pipeline

    due = pipeline.Due(feed=str(delivery), watermark="2013-12", next_watermark="2014-01")
    batch = pipeline.ingest.fn(tmp_path, due)
    cleaned = pipeline.clean.fn(tmp_path, batch)
    refused = (tmp_path / "quarantine" / "2014-01.csv").read_text().count("\n") - 1
    assert refused > 0
    assert cleaned.inserts + refused == batch.inserts + 1  # the last line is cut off


def test_names_in_the_report_are_escaped(tmp_path: Path, delivery: Path) -> None:
    from examples.flights.report import page_of

    findings = take_in(tmp_path, delivery, None, "2013-01")
    carrier = findings.by_carrier.rows[0].model_copy(update={"name": "<b>Air & Sea</b>"})
    carriers = findings.by_carrier.model_copy(update={"rows": [carrier]})
    images: dict[str, bytes] = defaultdict(bytes)
    page = page_of(carriers, findings.by_airport, findings.by_hour, images)
    assert "&lt;b&gt;Air &amp; Sea&lt;/b&gt;" in page
    assert "<b>" not in page
