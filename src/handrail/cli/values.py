"""Values as the journal keeps them, made readable, and values of the command line."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

from handrail.cli.text import shortened, size, visible

#: Beyond this a value on one line is cut (characters).
SHORT_LENGTH = 200


def readable(encoded: str) -> Any:
    """An encoded value as plain JSON data: models and dataclasses are objects, tuples and sets
    lists, times and decimals strings. What no JSON can show is named in angle brackets.
    """
    return _plain(json.loads(encoded))


def short(encoded: str, length: int = SHORT_LENGTH) -> str:
    """An encoded value on one line."""
    text = json.dumps(readable(encoded), ensure_ascii=False)
    return shortened(visible(text), length)


def from_word(word: str) -> Any:
    """A value given on the command line: JSON, else the text itself."""
    try:
        # Without NaN and the like, which are no JSON; as a word they are text.
        return json.loads(word, parse_constant=_refuse)
    except ValueError:
        return word


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def pretty(encoded: str) -> str:
    """An encoded value on many lines."""
    return json.dumps(readable(encoded), ensure_ascii=False, indent=2)


def type_of(encoded: str) -> str | None:
    """`module:Class` of a value that is an object of a class; none for plain data."""
    data = json.loads(encoded)
    return data.get("of") if isinstance(data, dict) and "!" in data else None


def _plain(data: Any) -> Any:
    if isinstance(data, list):
        return [_plain(item) for item in data]
    if isinstance(data, float) and not math.isfinite(data):
        return "NaN" if math.isnan(data) else "Infinity" if data > 0 else "-Infinity"
    if not isinstance(data, dict):
        return data
    kind = data.get("!")
    if kind is None:
        return {key: _plain(item) for key, item in data.items()}
    if kind in ("pickle", "bytes"):
        length = len(base64.b64decode(data["v"]))
        return f"<{'pickle' if kind == 'pickle' else 'bytes'}, {size(length)}>"
    if kind == "memory":
        return f"<{data['of']}, kept in memory only: {data['why']}>"
    if kind == "dict":
        return _pairs(data["v"])
    if kind == "enum":
        return data["v"]
    if kind.partition(".")[0] in ("numpy", "pandas", "polars", "pyarrow"):
        return _of_library(kind, data["v"])
    return _plain(data["v"])


def _of_library(kind: str, content: Any) -> Any:
    if kind == "numpy.scalar" and "value" in content:
        return _plain(content["value"])
    shape = ""
    if kind == "numpy.array" and isinstance(content["dtype"], str):
        shape = f" of {' x '.join(map(str, content['shape'])) or 1} {content['dtype']}"
    return f"<{kind}{shape}, {size(len(json.dumps(content)))}>"


def _pairs(pairs: list[list[Any]]) -> dict[str, Any]:
    return {
        key if isinstance(key, str) else json.dumps(_plain(key)): _plain(item)
        for key, item in pairs
    }
