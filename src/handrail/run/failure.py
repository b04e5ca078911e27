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
        "message": _message(error)[:MESSAGE_LENGTH],
        "traceback": text[-TRACEBACK_LENGTH:],
    }


def one_line(error: BaseException) -> str:
    """Type and first line of the message."""
    first = (_message(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as exc:  # a broken __str__ must not hide the error
        return f"<its message cannot be read: {type(exc).__name__}>"
