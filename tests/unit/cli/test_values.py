from __future__ import annotations

import datetime
import threading
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest

from handrail.cli import values
from handrail.contracts.values import encode


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": [1, None, "x"]}, {"a": [1, None, "x"]}),
        (float("nan"), "NaN"),
        ([float("inf"), float("-inf")], ["Infinity", "-Infinity"]),
        ((1, 2), [1, 2]),
        (datetime.date(2013, 1, 31), "2013-01-31"),
        (PurePosixPath("a/b"), "a/b"),
        ({1: "one"}, {"1": "one"}),
        (b"12345", "<bytes, 5 B>"),
    ],
)
def test_values_are_shown_as_plain_json(value: Any, shown: Any) -> None:
    assert values.readable(encode(value)) == shown


def test_an_object_is_shown_by_its_fields_and_its_class() -> None:
    encoded = '{"!":"dataclass","of":"songs:Span","v":{"days":3}}'
    assert values.readable(encoded) == {"days": 3}
    assert values.type_of(encoded) == "songs:Span"
    assert values.type_of("[1]") is None


def test_what_was_kept_in_memory_is_named() -> None:
    shown = values.readable(encode(threading.Lock()))
    assert shown.startswith("<_thread.lock, kept in memory only")


def test_a_pickle_is_named_and_never_loaded() -> None:
    shown = values.readable('{"!":"pickle","v":"bm90IGEgcGlja2xl"}')
    assert shown == "<pickle, 12 B>"


def test_a_short_value_is_one_visible_line() -> None:
    assert values.short(encode("a\x1b" + "b" * 50), 10) == '"a\\u001bb…'


def test_values_of_other_libraries_are_summed_up() -> None:
    assert values.readable(encode({"a": np.zeros((2, 3)), "b": np.float32(0.5)})) == {
        "a": "<numpy.array of 2 x 3 <f8, 110 B>",
        "b": 0.5,
    }
    assert values.readable(encode(pd.Timestamp("2024-01-01"))).startswith("<pandas.Timestamp, ")
