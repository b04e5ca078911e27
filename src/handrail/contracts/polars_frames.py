"""Codecs of Polars: frames and series as an Arrow IPC stream in base64."""

from __future__ import annotations

import base64
import io
from typing import Any

import polars as pl

from handrail.contracts.codecs import Codec, add_codec


def _write(frame: Any) -> Any:
    if pl.Object in frame.dtypes:
        return NotImplemented  # the stream would hold addresses in memory
    sink = io.BytesIO()
    frame.write_ipc_stream(sink)
    return base64.b64encode(sink.getbuffer()).decode("ascii")


def _read(text: str) -> Any:
    return pl.read_ipc_stream(io.BytesIO(base64.b64decode(text)))


add_codec(pl.DataFrame, Codec("polars.DataFrame", _write, _read))
add_codec(
    pl.Series,
    Codec(
        "polars.Series",
        lambda series: _write(series.to_frame()),
        lambda text: _read(text).to_series(),
    ),
)
