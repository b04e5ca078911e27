"""Watermarks: how far a pipeline has processed.

A watermark is a date, a datetime, an int or a str, and keeps its type on its way through a
database or a network. Its JSON form is the value itself for int and str, and
`{"date": "2024-01-31"}` or `{"datetime": "2024-01-31T12:00:00+00:00"}` (ISO 8601) for times.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, TypeAlias

from pydantic import PlainSerializer, PlainValidator

Position: TypeAlias = str | int | date | datetime
_EXPECTED = "a watermark is a date, a datetime, an int or a str"


def _checked(value: Any) -> Position | None:
    if value is None or isinstance(value, str | date):
        return value
    if isinstance(value, Mapping):
        return _from_tagged(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(f"{_EXPECTED}, not {type(value).__name__}")
    return value.__index__()  # type: ignore[no-any-return]


def _from_tagged(value: Mapping[str, Any]) -> Position:
    match dict(value):
        case {"date": str(text), **rest} if not rest:
            return date.fromisoformat(text)
        case {"datetime": str(text), **rest} if not rest:
            return datetime.fromisoformat(text)
    raise ValueError(f'{_EXPECTED}; as JSON {{"date": ...}} or {{"datetime": ...}}')


def to_json_value(watermark: Position | None) -> str | int | dict[str, str] | None:
    """The JSON form of a watermark."""
    if isinstance(watermark, datetime):
        return {"datetime": watermark.isoformat()}
    if isinstance(watermark, date):
        return {"date": watermark.isoformat()}
    return watermark


def dump(watermark: Position | None) -> str | None:
    """The JSON text of a watermark; None stays None."""
    return None if watermark is None else json.dumps(to_json_value(watermark))


def load(text: str | None) -> Position | None:
    """The watermark that `dump` wrote."""
    return None if text is None else _checked(json.loads(text))


Watermark: TypeAlias = Annotated[
    str | int | date | datetime | None,
    PlainValidator(_checked),
    PlainSerializer(to_json_value, when_used="json"),
]
