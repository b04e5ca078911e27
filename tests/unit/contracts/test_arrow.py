from __future__ import annotations

import base64
import json
from typing import Any

import pyarrow as pa
import pytest

from handrail.contracts.values import InMemoryOnly, decode, encode, storage_of

TABLE = pa.table(
    {"a": [1, None, 3], "b": [["x"], None, []], "c": pa.array(["u", "v", "u"]).dictionary_encode()},
    metadata={"source": "test"},
)

VALUES = {
    "table": TABLE,
    "table in parts": pa.concat_tables([TABLE, TABLE]),
    "table without rows": TABLE.slice(0, 0),
    "table without columns": pa.table({}),
    "part of a table": TABLE.slice(1, 1),
    "batch": TABLE.to_batches()[0],
    "batch without rows": TABLE.to_batches()[0].slice(0, 0),
    "schema": TABLE.schema,
    "numbers": pa.array([1, None, 3], pa.int16()),
    "lists": TABLE["b"].chunk(0),
    "structs": pa.array([{"x": 1, "y": "a"}, None]),
    "dictionary": TABLE["c"].chunk(0),
    "nothing": pa.array([None, None]),
    "no values": pa.array([], pa.float32()),
    "moments": pa.array([0, 1], pa.timestamp("us", "Europe/Berlin")),
    "chunks": pa.chunked_array([[1], [2, 3]]),
    "no chunks": pa.chunked_array([], pa.int8()),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_arrow_comes_back_the_same(name: str) -> None:
    value = VALUES[name]
    text = encode({"value": value})
    assert storage_of(text) == "data"
    found: Any = decode(text)["value"]
    assert type(found) is type(value)
    assert found.equals(value)
    if hasattr(value, "schema"):
        assert found.schema.equals(value.schema, check_metadata=True)


def test_a_part_of_an_array_comes_back_without_the_rest() -> None:
    assert len(encode(pa.array(range(100_000)).slice(10, 2))) < 1000


def test_a_stream_that_points_outside_of_itself_is_refused() -> None:
    text = json.loads(encode(pa.array(["some", "words"])))
    content = bytearray(base64.b64decode(text["v"]))
    place = content.index((4).to_bytes(4, "little") + (9).to_bytes(4, "little"))
    content[place : place + 4] = (2**30).to_bytes(4, "little")
    text["v"] = base64.b64encode(content).decode()
    with pytest.raises(InMemoryOnly, match="cannot be read back"):
        decode(json.dumps(text))
