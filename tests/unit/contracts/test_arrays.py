from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from handrail.contracts.values import InMemoryOnly, decode, encode, storage_of

shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
dtypes = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(),
    arrays.unsigned_integer_dtypes(),
    arrays.floating_dtypes(),
    arrays.complex_number_dtypes(),
    arrays.datetime64_dtypes(),
    arrays.timedelta64_dtypes(),
    arrays.byte_string_dtypes(max_len=3),
    arrays.unicode_string_dtypes(max_len=3),
    st.just(np.dtype([("a", "<f8", (2,)), ("b", ">i4"), ("c", [("d", "u1"), ("e", "S2")])])),
    st.just(np.dtype([("a", "<f8", (1,)), ("b", "<i2", (2, 3))])),
)


def again(value: Any) -> Any:
    text = encode(value)
    assert storage_of(text) == "data"
    found = decode(text)
    assert type(found) is type(value)
    return found


@settings(max_examples=120)
@given(arrays.arrays(dtypes, shapes), st.sampled_from("CFAT"))
def test_an_array_comes_back_the_same(array: Any, order: str) -> None:
    given_array = array.T if order == "T" else np.asarray(array, order=order)  # type: ignore[call-overload]
    found = again(given_array)
    assert (found.dtype, found.shape) == (given_array.dtype, given_array.shape)
    assert found.tobytes() == given_array.tobytes()
    assert found.flags.f_contiguous == given_array.flags.f_contiguous


def test_a_part_of_an_array_comes_back_without_the_rest() -> None:
    text = encode(np.arange(1_000_000)[::250_000])
    assert decode(text).tolist() == [0, 250_000, 500_000, 750_000]
    assert len(text) < 200


def test_an_array_that_comes_back_may_be_written_to() -> None:
    found = again(np.zeros(3))
    found[1] = 5
    assert found.tolist() == [0, 5, 0]


def test_an_array_is_written_as_dtype_shape_and_bytes() -> None:
    assert json.loads(encode(np.array([[1, 2]], "<i2"))) == {
        "!": "numpy.array",
        "v": {"dtype": "<i2", "shape": [1, 2], "bytes": "AQACAA=="},
    }


SCALARS = [
    np.True_,
    np.int8(-3),
    np.uint64(2**64 - 1),
    np.float16(0.1),
    np.float32(0.1),
    np.float64(1e300),
    np.float64("inf"),
    np.longdouble("1.1"),
    np.complex64(1 + 2j),
    np.str_("a\0"),
    np.bytes_(b"a\0"),
    np.datetime64("2024-01-01T00:00:00.000000001"),
    np.timedelta64(3, "h"),
    np.zeros(1, [("a", "<i4"), ("b", "<f8")])[0],
]


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: scalar.dtype.str)
def test_a_scalar_comes_back_the_same(scalar: Any) -> None:
    found = again(scalar)
    assert found == scalar
    assert found.dtype == scalar.dtype


def test_missing_scalars_come_back() -> None:
    assert math.isnan(again(np.float32("nan")))
    assert np.isnat(again(np.datetime64("NaT", "D")))


def test_arrays_are_found_within_other_values() -> None:
    value = {"rows": [np.arange(3)], "mean": (np.float64(0.5),)}
    found = again(value)
    assert found["rows"][0].tolist() == [0, 1, 2]
    assert type(found["mean"][0]) is np.float64


@pytest.mark.parametrize(
    "array",
    [
        np.array([{1}, None], object),
        np.zeros(2, [("a", object)]),
        np.ma.masked_array([1, 2], [True, False]),
        np.array(["a"], np.dtypes.StringDType()),
        np.zeros(1, np.dtype("f8", metadata={"unit": "m"})),
    ],
    ids=["objects", "fields of objects", "masked", "long text", "metadata"],
)
def test_arrays_without_a_form_are_pickled(array: Any) -> None:
    text = encode(array)
    assert storage_of(text) == "pickle"
    found = decode(text)
    assert repr(found) == repr(array)
    assert type(found) is type(array)


@pytest.mark.parametrize(
    "data",
    [
        {"dtype": "|O", "shape": [1], "bytes": "AAAAAAAAAAA="},
        {"dtype": [["a", "|O"]], "shape": [1], "bytes": "AAAAAAAAAAA="},
        {"dtype": "<i8", "shape": [2], "bytes": "AAAAAAAAAAA="},
        {"dtype": "no such", "shape": [2], "bytes": ""},
    ],
)
def test_bytes_that_are_no_such_array_are_refused(data: Any) -> None:
    with pytest.raises(InMemoryOnly):
        decode(json.dumps({"!": "numpy.array", "v": data}))


def test_another_process_reads_what_this_one_wrote() -> None:
    text = encode({"a": np.arange(4).reshape(2, 2), "b": np.float32(1.5)})
    program = (
        "import sys\n"
        "from handrail.contracts.values import decode, encode\n"
        "assert 'numpy' not in sys.modules\n"
        "value = decode(sys.stdin.read())\n"
        "value['a'] += 1\n"
        "print(encode(value))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = decode(done.stdout)
    assert found["a"].tolist() == [[1, 2], [3, 4]]
    assert type(found["b"]) is np.float32
