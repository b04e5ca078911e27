"""Codecs of NumPy: arrays as dtype, shape and bytes; scalars as dtype and number.

An array is `{"dtype", "shape", "order"?, "bytes"}`: `dtype` as in the .npy format (`"<f8"`, or
fields as `[name, dtype, shape?]`; NEP 1), `bytes` in base64, in C order unless `order` is `"F"`.
A scalar is `{"dtype", "value"}`, or `{"dtype", "bytes"}` where JSON has no such number. Arrays
of objects are left to pickle.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from handrail.contracts.codecs import Codec, add_codec

#: Kinds of dtypes whose scalars are numbers of JSON, up to that size (bytes).
_NUMBERS = "biuf"
_NUMBER_BYTES = 8


def write_array(array: Any) -> Any:
    """An array as data; `NotImplemented` if its dtype has no form as text."""
    dtype = _dtype_data(array.dtype)
    if dtype is None:
        return NotImplemented
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    data = {
        "dtype": dtype,
        "shape": list(array.shape),
        "bytes": _text(array.tobytes(order="F" if is_fortran else "C")),
    }
    return {**data, "order": "F"} if is_fortran else data


def read_array(data: dict[str, Any]) -> Any:
    """The array, which may be written to."""
    dtype = _dtype(data["dtype"])
    content = bytearray(base64.b64decode(data["bytes"]))
    return np.ndarray(tuple(data["shape"]), dtype, buffer=content, order=data.get("order", "C"))


def _write_scalar(scalar: Any) -> Any:
    dtype = scalar.dtype
    if dtype.kind in _NUMBERS and dtype.itemsize <= _NUMBER_BYTES:
        return {"dtype": dtype.str, "value": scalar.item()}
    if dtype.kind == "U":
        return {"dtype": "U", "value": str.__str__(scalar)}
    if dtype.kind == "S":
        return {"dtype": "S", "bytes": _text(bytes(scalar))}
    array = write_array(np.asarray(scalar))
    return array if array is NotImplemented else {"dtype": array["dtype"], "bytes": array["bytes"]}


def _read_scalar(data: dict[str, Any]) -> Any:
    # Text and bytes as they are: an array would drop NULs at their ends.
    if data["dtype"] == "U":
        return np.str_(data["value"])
    if data["dtype"] == "S":
        return np.bytes_(base64.b64decode(data["bytes"]))
    if "value" in data:
        return _dtype(data["dtype"]).type(data["value"])
    return read_array({**data, "shape": ()})[()]


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _dtype_data(dtype: Any) -> Any:
    if dtype.hasobject or dtype.metadata is not None or dtype.kind not in "biufcmMSUV":
        return None
    if dtype.names is None:
        return dtype.str
    try:
        data = json.loads(json.dumps(dtype.descr))
        found = _dtype(data)
    except ValueError:  # fields that overlap
        return None
    # Two dtypes are equal that are aligned differently.
    return data if found == dtype and found.isalignedstruct == dtype.isalignedstruct else None


def _dtype(data: Any) -> Any:
    dtype = np.lib.format.descr_to_dtype(_description(data))
    if dtype.hasobject:
        raise ValueError(f"an array of objects cannot be read from bytes: {dtype}")
    return dtype


def _description(data: Any) -> Any:
    """The description of a dtype, with tuples where JSON has lists."""
    if isinstance(data, str):
        return data
    if len(data) == 2 and isinstance(data[1], list) and all(isinstance(n, int) for n in data[1]):
        return _description(data[0]), tuple(data[1])  # an array within a field
    return [_field(field) for field in data]


def _field(field: list[Any]) -> tuple[Any, ...]:
    name = tuple(field[0]) if isinstance(field[0], list) else field[0]
    return (name, _description(field[1]), *(tuple(shape) for shape in field[2:]))


add_codec(np.ndarray, Codec("numpy.array", write_array, read_array))
for _kind in {*np.sctypeDict.values(), np.datetime64, np.timedelta64} - {np.object_}:
    add_codec(_kind, Codec("numpy.scalar", _write_scalar, _read_scalar))
