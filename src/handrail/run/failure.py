"""Errors as data, for journals, logs and pages."""

from __future__ import annotations

import traceback
from typing import Any

#: Longest text kept of a message and of a traceback, in characters.
MESSAGE_LENGTH = 10_000
TRACEBACK_LENGTH = 50_000


def describe(error: BaseException) -> dict[str, Any]:
    """`{"type", "message", "traceback"}` of an error. Local variables are not shown."""
    kind = type(error)
    text = "".join(traceback.format_exception(error))
    return {
        "type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
        "message": str(error)[:MESSAGE_LENGTH],
        "traceback": text[-TRACEBACK_LENGTH:],
    }


def one_line(error: BaseException) -> str:
    """Type and first line of the message."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
