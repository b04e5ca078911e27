from __future__ import annotations

import datetime

import polars as pl

from handrail.contracts.values import decode, encode, storage_of

FRAME = pl.DataFrame(
    {
        "a": [1, None],
        "b": ["x", "y"],
        "c": [[1, 2], []],
        "d": [datetime.date(2024, 1, 1), None],
        "e": pl.Series(["u", "u"], dtype=pl.Categorical),
    }
)


def test_a_frame_comes_back_the_same() -> None:
    text = encode(FRAME)
    assert storage_of(text) == "data"
    found = decode(text)
    assert found.equals(FRAME)
    assert found.schema == FRAME.schema


def test_a_series_comes_back_with_its_name() -> None:
    found = decode(encode(FRAME["c"]))
    assert found.equals(FRAME["c"])
    assert (found.name, found.dtype) == ("c", pl.List(pl.Int64))


def test_frames_of_objects_are_no_data() -> None:
    text = encode(pl.DataFrame({"a": [object()]}))
    assert storage_of(text) != "data"
