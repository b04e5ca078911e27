"""Codecs of pandas: frames, series, indexes and their scalars, with dtypes kept.

A frame is `{"columns", "index", "values", "attrs"?}`, a series `{"index", "values", "name",
"attrs"?}`. An index is `{"range": [start, stop, step], "name"}`, `{"levels", "codes", "names"}`
or `{"values", "name", "freq"?}`. Values of one column are

    a NumPy array                             dtypes of NumPy without objects
    {"dtype": "object", "items"}              any Python objects, each as data where it can be
    {"dtype", "items"}                        text (None: missing)
    {"dtype", "data", "mask"}                 numbers and booleans that may be missing
    {"dtype": "category", "codes", "categories", "ordered"}
    {"dtype", "data"}                         moments with a zone, periods; as int64
    {"dtype": "interval", "left", "right", "closed"}
    {"dtype": "arrow", "array"}               dtypes of Arrow; an Arrow IPC stream

What has another dtype, or a time zone that is not known by name, is left to pickle.
"""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd

from handrail.contracts.codecs import Codec, add_codec

# Frames and series


def _write_frame(frame: Any) -> Any:
    data = {
        "columns": _write_index(frame.columns),
        "index": _write_index(frame.index),
        "values": [_write_values(column) for _, column in frame.items()],
    }
    return {**data, "attrs": frame.attrs} if frame.attrs else data


def _read_frame(data: dict[str, Any]) -> Any:
    index = _read_index(data["index"])
    columns = {
        # Under numbers, since labels may repeat.
        position: _series(_read_values(values), index)
        for position, values in enumerate(data["values"])
    }
    frame = pd.DataFrame(columns, index=index)
    frame.columns = _read_index(data["columns"])
    frame.attrs.update(data.get("attrs", {}))
    return frame


def _write_series(series: Any) -> Any:
    data = {
        "index": _write_index(series.index),
        "values": _write_values(series),
        "name": series.name,
    }
    return {**data, "attrs": series.attrs} if series.attrs else data


def _read_series(data: dict[str, Any]) -> Any:
    values = _read_values(data["values"])
    series = _series(values, _read_index(data["index"]), data["name"])
    series.attrs.update(data.get("attrs", {}))
    return series


def _series(values: Any, index: Any, name: Any = None) -> Any:
    # With the dtype, since pandas would make text of objects that are all strings.
    return pd.Series(values, index, values.dtype, name, copy=False)


# Indexes


def _write_index(index: Any) -> Any:
    if isinstance(index, pd.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "name": index.name}
    if isinstance(index, pd.MultiIndex):
        return {
            "levels": [_write_index(level) for level in index.levels],
            "codes": [np.asarray(codes) for codes in index.codes],
            "names": list(index.names),
        }
    data = {"values": _write_values(index), "name": index.name}
    freq = getattr(index, "freqstr", None)
    is_told = freq is None or isinstance(index, pd.PeriodIndex)
    return data if is_told else {**data, "freq": freq}


def _read_index(data: dict[str, Any]) -> Any:
    if "range" in data:
        return pd.RangeIndex(*data["range"], name=data["name"])
    if "levels" in data:
        levels = [_read_index(level) for level in data["levels"]]
        return pd.MultiIndex(levels, data["codes"], names=data["names"], verify_integrity=False)
    values = _read_values(data["values"])
    index = pd.Index(values, dtype=values.dtype, name=data["name"], copy=False, tupleize_cols=False)
    if "freq" in data:
        index.freq = data["freq"]
    return index


# Values of one column


def _write_values(held: Any) -> Any:
    """Values of a series or an index."""
    dtype, array = held.dtype, held.array
    if isinstance(dtype, np.dtype):
        return {"dtype": "object", "items": [*array]} if dtype.hasobject else held.to_numpy()
    if isinstance(dtype, pd.StringDtype):
        items = array.to_numpy(object, na_value=None).tolist()
        return {"dtype": _text_dtype(dtype), "items": items}
    if isinstance(dtype, pd.ArrowDtype):
        return {"dtype": "arrow", "array": array.__arrow_array__()}
    for kind, write in _WRITERS.items():
        if isinstance(dtype, kind):
            return write(array, dtype)
    # An array of somebody else's: pickled alone, the other columns stay data.
    return {"dtype": "extension", "array": array}


def _read_values(data: Any) -> Any:
    if isinstance(data, np.ndarray):
        return data
    return _READERS.get(data["dtype"].partition("[")[0], _read_masked)(data)


def _text_dtype(dtype: Any) -> str:
    if dtype.na_value is not pd.NA:
        return "str"
    # Storage in Arrow is what pandas takes by itself where it can.
    return "string[python]" if dtype.storage == "python" else "string"


def _write_categories(array: Any, dtype: Any) -> Any:
    return {
        "dtype": "category",
        "codes": np.asarray(array.codes),
        "categories": _write_index(dtype.categories),
        "ordered": dtype.ordered,
    }


def _read_categories(data: dict[str, Any]) -> Any:
    dtype = pd.CategoricalDtype(_read_index(data["categories"]), data["ordered"])
    return pd.Categorical.from_codes(data["codes"], dtype=dtype)


def _write_zoned(array: Any, dtype: Any) -> Any:
    zone = _zone_data(dtype.tz)
    if zone is None:
        return {"dtype": "extension", "array": array}
    return {"dtype": f"zoned[{dtype.unit}]", "zone": zone, "data": array.asi8}


def _read_zoned(data: dict[str, Any]) -> Any:
    unit = data["dtype"][len("zoned[") : -1]
    moments = pd.DatetimeIndex(data["data"].view(f"M8[{unit}]"), tz="UTC")
    return moments.tz_convert(_zone(data["zone"])).array


def _write_periods(array: Any, dtype: Any) -> Any:
    return {"dtype": str(dtype), "data": array.asi8}


def _read_periods(data: dict[str, Any]) -> Any:
    return pd.arrays.PeriodArray(data["data"], dtype=data["dtype"])


def _write_intervals(array: Any, dtype: Any) -> Any:
    sides = {"left": _write_index(array.left), "right": _write_index(array.right)}
    return {"dtype": "interval", **sides, "closed": dtype.closed}


def _read_intervals(data: dict[str, Any]) -> Any:
    left, right = _read_index(data["left"]), _read_index(data["right"])
    return pd.arrays.IntervalArray.from_arrays(left, right, data["closed"])


def _read_masked(data: dict[str, Any]) -> Any:
    kind = pd.arrays.BooleanArray if data["dtype"] == "boolean" else None
    if kind is None:
        is_float = data["data"].dtype.kind == "f"
        kind = pd.arrays.FloatingArray if is_float else pd.arrays.IntegerArray
    return kind(data["data"], data["mask"])


def _write_masked(array: Any, dtype: Any) -> Any:
    # What stands where a value is missing is of no account, and must not tell two apart.
    filled = array.to_numpy(dtype.numpy_dtype, na_value=dtype.type(0))
    return {"dtype": dtype.name, "data": filled, "mask": array.isna()}


_WRITERS: dict[type, Any] = {
    pd.CategoricalDtype: _write_categories,
    pd.DatetimeTZDtype: _write_zoned,
    pd.PeriodDtype: _write_periods,
    pd.IntervalDtype: _write_intervals,
    pd.BooleanDtype: _write_masked,
    **{
        type(pd.api.types.pandas_dtype(f"{sign}Int{size}")): _write_masked
        for sign in ("", "U")
        for size in (8, 16, 32, 64)
    },
    pd.Float32Dtype: _write_masked,
    pd.Float64Dtype: _write_masked,
}
_READERS: dict[str, Any] = {
    "object": lambda data: _objects(data["items"]),
    "str": lambda data: pd.array(data["items"], dtype="str"),
    "string": lambda data: pd.array(data["items"], dtype=data["dtype"]),
    "category": _read_categories,
    "zoned": _read_zoned,
    "period": _read_periods,
    "interval": _read_intervals,
    "arrow": lambda data: pd.arrays.ArrowExtensionArray(data["array"]),
    "extension": lambda data: data["array"],
}


def _objects(items: list[Any]) -> Any:
    # Filled one by one: NumPy would take a list of lists for a table.
    array: Any = np.empty(len(items), object)
    for position, item in enumerate(items):
        array[position] = item
    return array


# Zones


def _zone_data(zone: Any) -> str | int | None:
    """A zone's name, or seconds east of UTC; none if it is more than that."""
    if isinstance(zone, zoneinfo.ZoneInfo):
        return zone.key
    if isinstance(zone, datetime.timezone):
        seconds = zone.utcoffset(None).total_seconds()
        # One with a name of its own is more than its offset.
        if seconds == int(seconds) and zone.tzname(None) == _zone(int(seconds)).tzname(None):
            return int(seconds)
    return None


def _zone(data: str | int) -> Any:
    if isinstance(data, str):
        return zoneinfo.ZoneInfo(data)
    return datetime.timezone(datetime.timedelta(seconds=data)) if data else datetime.UTC


# Scalars


def _write_timestamp(stamp: Any) -> Any:
    if stamp.tzinfo is None:
        return {"at": stamp.to_datetime64()}
    zone = _zone_data(stamp.tzinfo)
    if zone is None:
        return NotImplemented
    return {"at": stamp.tz_convert("UTC").tz_localize(None).to_datetime64(), "zone": zone}


def _read_timestamp(data: dict[str, Any]) -> Any:
    stamp = pd.Timestamp(data["at"])
    if "zone" not in data:
        return stamp
    return stamp.tz_localize("UTC").tz_convert(_zone(data["zone"]))


def _register(kind: type, name: str, write: Any, read: Any) -> None:
    add_codec(kind, Codec(f"pandas.{name}", write, read))


_register(pd.DataFrame, "DataFrame", _write_frame, _read_frame)
_register(pd.Series, "Series", _write_series, _read_series)
for _kind in (
    pd.Index,
    pd.RangeIndex,
    pd.MultiIndex,
    pd.CategoricalIndex,
    pd.DatetimeIndex,
    pd.TimedeltaIndex,
    pd.PeriodIndex,
    pd.IntervalIndex,
):
    _register(_kind, "Index", _write_index, _read_index)
_register(pd.Timestamp, "Timestamp", _write_timestamp, _read_timestamp)
_register(pd.Timedelta, "Timedelta", lambda span: span.to_timedelta64(), pd.Timedelta)
_register(
    pd.Period,
    "Period",
    lambda v: [v.ordinal, v.freqstr],
    lambda v: pd.Period(ordinal=v[0], freq=v[1]),
)
_register(pd.Interval, "Interval", lambda v: [v.left, v.right, v.closed], lambda v: pd.Interval(*v))
_register(type(pd.NaT), "NaT", lambda v: None, lambda v: pd.NaT)
_register(type(pd.NA), "NA", lambda v: None, lambda v: pd.NA)
