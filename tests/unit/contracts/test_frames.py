from __future__ import annotations

import datetime
import subprocess
import sys
import zoneinfo
from typing import Any, ClassVar

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handrail.contracts.values import decode, encode, storage_of

DAYS = pd.date_range("2024-03-30", periods=3, freq="D")
BERLIN = DAYS.tz_localize("Europe/Berlin")

COLUMNS: dict[str, Any] = {
    "int64": pd.Series([1, 2, 3]),
    "int8": pd.Series([1, 2, 3], dtype="int8"),
    "float with a hole": pd.Series([1.5, None, 3]),
    "bool": pd.Series([True, False, True]),
    "complex": pd.Series([1j, 2, 3]),
    "text": pd.Series(["a", None, "c"]),
    "text with NA": pd.Series(["a", None, "c"], dtype="string"),
    "text in Python": pd.Series(["a", None, "c"], dtype="string[python]"),
    "text as objects": pd.Series(["a", "b", "c"], dtype=object),
    "objects": pd.Series([{"a": (1,)}, [1], pd.NaT], dtype=object),
    "mixed": pd.Series([1, "x", 2.5], dtype=object),
    "missing": pd.Series([None, pd.NA, float("nan")], dtype=object),
    "moments": pd.Series(DAYS),
    "moments in s": pd.Series(DAYS.as_unit("s")),
    "moments in ns": pd.Series(DAYS.as_unit("ns")),
    "moments in Berlin": pd.Series(BERLIN),
    "moments in UTC": pd.Series(DAYS.tz_localize("UTC")),
    "moments east": pd.Series(
        DAYS.tz_localize(datetime.timezone(datetime.timedelta(hours=5.5)))  # as of a file's text
    ),
    "moments with a hole": pd.Series([DAYS[0], None, DAYS[2]]),
    "spans": pd.Series(DAYS - DAYS[0]),
    "months": pd.Series(pd.period_range("2024-01", periods=3, freq="M")),
    "intervals": pd.Series(pd.interval_range(0, 3, closed="left")),
    "intervals of moments": pd.Series(pd.interval_range(BERLIN[0], periods=3)),
    "categories": pd.Series(pd.Categorical(["u", None, "v"], ["v", "u", "w"], ordered=True)),
    "Int64": pd.Series([1, None, 3], dtype="Int64"),
    "UInt8": pd.Series([1, None, 3], dtype="UInt8"),
    "Float32": pd.Series([1, None, 3], dtype="Float32"),
    "boolean": pd.Series([True, None, False], dtype="boolean"),
    "int64 of Arrow": pd.Series([1, None, 3], dtype="int64[pyarrow]"),
    "text of Arrow": pd.Series(["a", None, "c"], dtype="large_string[pyarrow]"),
}


def again(value: Any) -> Any:
    text = encode(value)
    assert storage_of(text) == "data"
    found = decode(text)
    assert type(found) is type(value)
    return found


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        found, expected, check_exact=True, check_freq=True, check_index_type=True
    )
    assert found.dtypes.tolist() == expected.dtypes.tolist()
    assert found.attrs == expected.attrs


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_keeps_values_and_dtype(name: str) -> None:
    series = COLUMNS[name].rename(name)
    found = again(series)
    pd.testing.assert_series_equal(found, series, check_exact=True, check_freq=True)
    assert found.dtype == series.dtype
    assert [*map(type, found)] == [*map(type, series)]


# Lists and NA among objects cannot be labels.
@pytest.mark.parametrize("name", sorted(COLUMNS.keys() - {"objects", "missing"}))
def test_an_index_keeps_values_and_dtype(name: str) -> None:
    index = pd.Index(COLUMNS[name], name=("a", name))
    found = again(index)
    pd.testing.assert_index_equal(found, index, exact=True)
    assert found.dtype == index.dtype


def test_a_frame_of_all_kinds_of_columns_comes_back() -> None:
    assert_same(again(pd.DataFrame(COLUMNS)), pd.DataFrame(COLUMNS))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame(index=["a", "b"]),
        pd.DataFrame(columns=["a", "b"]),
        pd.DataFrame([[1, 2.5], [3, 4.5]], columns=["a", "a"], index=[5, 5]),
        pd.DataFrame({1: [1], "b": [2], (3, "c"): [3]}),
        pd.DataFrame({("a", 1): [1], ("a", 2): [2.0]}),
        pd.DataFrame({"a": [1, 2, 3]}, index=BERLIN),
        pd.DataFrame({"a": [1, 2, 3]}, index=pd.RangeIndex(10, 4, -2, name="step")),
        pd.DataFrame(
            {"a": [1, 2, 3]},
            index=pd.MultiIndex.from_tuples(
                [(1, "x"), (2, None), (1, "y")], names=["number", ("t", 1)]
            ),
        ),
        pd.DataFrame({"a": pd.Series([1, 2, 3], dtype="int64")}, pd.CategoricalIndex([*"aba"])),
    ],
    ids=lambda frame: str(frame.shape),
)
def test_a_frame_keeps_its_labels(frame: pd.DataFrame) -> None:
    frame.attrs["source"] = {"year": (2024,)}
    assert_same(again(frame), frame)


values = st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.dates(), st.booleans())


@settings(max_examples=40)
@given(st.lists(st.lists(values, min_size=2, max_size=2), max_size=4))
def test_a_frame_of_anything_comes_back(rows: list[list[Any]]) -> None:
    frame = pd.DataFrame(rows, columns=["a", "b"])
    found = again(frame)
    assert found.dtypes.tolist() == frame.dtypes.tolist()
    assert repr(found.to_dict("split")) == repr(frame.to_dict("split"))


def test_a_part_of_a_frame_comes_back_without_the_rest() -> None:
    frame = pd.DataFrame({"a": range(100_000), "b": 1.5})
    text = encode(frame[["b"]].iloc[::50_000])
    assert_same(decode(text), frame[["b"]].iloc[::50_000])
    assert len(text) < 1000


SCALARS = [
    pd.Timestamp("2024-01-01 12:00"),
    pd.Timestamp("2024-01-01 00:00:00.000000001"),
    pd.Timestamp("2024-06-01", tz="Europe/Berlin"),
    pd.Timestamp("2024-10-27 00:30", tz="UTC").tz_convert("Europe/Berlin"),
    pd.Timestamp("2024-10-27 01:30", tz="UTC").tz_convert("Europe/Berlin"),
    pd.Timestamp("2024-06-01", tz=datetime.timezone(datetime.timedelta(hours=-3))),
    pd.Timedelta("1 days 00:00:00.000000001"),
    pd.Timedelta(3, "s"),
    pd.Period("2024-05", "M"),
    pd.Interval(0, 1.5, "both"),
    pd.Interval(pd.Timestamp("2024-01-01"), pd.Timestamp("2024-02-01")),
]


@pytest.mark.parametrize("scalar", SCALARS, ids=repr)
def test_a_scalar_comes_back_the_same(scalar: Any) -> None:
    found = again(scalar)
    assert found == scalar
    assert repr(found) == repr(scalar)
    assert getattr(found, "unit", None) == getattr(scalar, "unit", None)


@pytest.mark.parametrize("missing", [pd.NaT, pd.NA], ids=repr)
def test_what_is_missing_comes_back_as_it_is(missing: Any) -> None:
    assert again([missing])[0] is missing


def test_an_hour_that_comes_twice_keeps_its_zone() -> None:
    found = again(SCALARS[4])
    assert (found.fold, found.tzinfo) == (1, zoneinfo.ZoneInfo("Europe/Berlin"))


def test_a_column_without_a_form_is_pickled_alone() -> None:
    frame = pd.DataFrame({"a": [0, 1, 0], "b": pd.arrays.SparseArray([0, 1, 0])})
    text = encode(frame)
    assert storage_of(text) == "pickle"
    assert text.count('"!":"pickle"') == 1
    assert_same(decode(text), frame)


def test_a_kind_of_frame_that_others_made_is_pickled() -> None:
    class Map(pd.DataFrame):  # type: ignore[misc,unused-ignore]
        _metadata: ClassVar[list[str]] = ["projection"]

    found = Map({"a": [1]})
    found.projection = "flat"
    text = encode(found)
    assert storage_of(text) == "pickle"
    assert decode(text).projection == "flat"


def test_another_process_reads_what_this_one_wrote() -> None:
    frame = pd.DataFrame(COLUMNS)
    program = (
        "import sys\n"
        "from handrail.contracts.values import decode, encode\n"
        "assert 'pandas' not in sys.modules\n"
        "frame = decode(sys.stdin.read())\n"
        "print(encode(frame))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=encode(frame),
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert_same(decode(done.stdout), frame)
