"""Metadata and texts as data that every database and JSON reader accepts.

Metadata is shown, not computed with: what JSON cannot say is kept as its text, so that nothing
a function reports can prevent its execution from being recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator

_DEEPEST = 64


def storable_text(value: str) -> str:
    """The text without NUL bytes and half surrogates, both shown as escapes."""
    if value.isprintable():
        return value
    return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON data: dicts with text keys, lists, text, numbers, true, false, null.

    Other values, numbers that are not finite, and what is nested deeper than 64 levels (or in
    itself) become text.
    """
    # The checks below take several times as long, and most of what comes is text by text.
    if type(value) is str:
        return storable_text(value)
    if type(value) is dict and depth < _DEEPEST:
        return {storable_text(str(k)): plain(item, depth + 1) for k, item in value.items()}
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, date):
        return value.isoformat()
    if depth < _DEEPEST:
        if isinstance(value, BaseModel):
            value = value.model_dump()
        if isinstance(value, Mapping):
            return {storable_text(str(k)): plain(item, depth + 1) for k, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [plain(item, depth + 1) for item in value]
    if hasattr(value, "__index__"):
        return value.__index__()
    return storable_text(str(value))


def _plain_object(value: Any) -> Any:
    return plain(value) if isinstance(value, Mapping) else value


def _storable(value: Any) -> Any:
    return storable_text(value) if isinstance(value, str) else value


Text: TypeAlias = Annotated[str, BeforeValidator(_storable)]
JsonObject: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_plain_object)]
