"""Codecs of Arrow: an IPC stream in base64.

https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from handrail.contracts.codecs import Codec, add_codec

#: Column that holds an array which stands alone.
_ALONE = "values"


def _write(table: Any) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    return base64.b64encode(sink.getvalue()).decode("ascii")


def _read_table(text: str) -> Any:
    return _checked(pa.ipc.open_stream(base64.b64decode(text)).read_all())


def _read_batch(text: str) -> Any:
    return _checked(pa.ipc.open_stream(base64.b64decode(text)).read_next_batch())


def _checked(table: Any) -> Any:
    # A stream that was tampered with may point outside of itself.
    table.validate(full=True)
    return table


def _write_schema(schema: Any) -> str:
    return base64.b64encode(schema.serialize()).decode("ascii")


def _read_schema(text: str) -> Any:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def _array_types(kind: Any) -> Iterator[type]:
    for found in kind.__subclasses__():
        if found.__module__.partition(".")[0] == "pyarrow":
            yield found
            yield from _array_types(found)


_ARRAY = Codec(
    "pyarrow.Array",
    lambda array: _write(pa.record_batch([array], names=[_ALONE])),
    lambda text: _read_batch(text).column(0),
)
_CHUNKED = Codec(
    "pyarrow.ChunkedArray",
    lambda array: _write(pa.table({_ALONE: array})),
    lambda text: _read_table(text).column(0),
)

add_codec(pa.Table, Codec("pyarrow.Table", _write, _read_table))
add_codec(pa.RecordBatch, Codec("pyarrow.RecordBatch", _write, _read_batch))
add_codec(pa.Schema, Codec("pyarrow.Schema", _write_schema, _read_schema))
add_codec(pa.ChunkedArray, _CHUNKED)
for _kind in _array_types(pa.Array):
    add_codec(_kind, _ARRAY)
