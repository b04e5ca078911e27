from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from handrail.tracking import watermark
from handrail.tracking.watermark import Position
from handrail.tracking.wire import StartExecution


class ForeignInteger:
    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize(
    "value",
    [
        "2024-01-01",
        "5",
        "",
        5,
        -1,
        2**80,
        date(2024, 1, 31),
        datetime(2024, 1, 31, 12, 30, 1, 5),
        datetime(2024, 1, 31, tzinfo=UTC),
        datetime(2024, 1, 31, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    ],
)
def test_a_watermark_keeps_its_type(value: Position) -> None:
    stored = watermark.load(watermark.dump(value))
    assert (type(stored), stored) == (type(value), value)
    sent = StartExecution(pipeline_id=1, watermark=value).model_dump_json()
    received = StartExecution.model_validate_json(sent).watermark
    assert (type(received), received) == (type(value), value)


def test_no_watermark_is_not_stored() -> None:
    assert watermark.dump(None) is None
    assert watermark.load(None) is None


def test_integers_of_other_libraries_become_plain() -> None:
    request = StartExecution.model_validate({"pipeline_id": 1, "watermark": ForeignInteger()})
    assert type(request.watermark) is int


@pytest.mark.parametrize("value", [True, 1.5, b"x", [1], {"date": 5}, {"date": "x", "y": 1}])
def test_other_values_are_refused_with_the_reason(value: object) -> None:
    with pytest.raises(ValidationError, match="a watermark is a date, a datetime, an int or a"):
        StartExecution.model_validate({"pipeline_id": 1, "watermark": value})
