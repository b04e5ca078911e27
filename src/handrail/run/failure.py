"""Errors as data, for journals, logs and pages."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any

#: Longest text kept of a message and of a traceback, in characters.
MESSAGE_LENGTH = 10_000
TRACEBACK_LENGTH = 50_000

#: Modules between the engine and a body, which say nothing about the body.
_OURS = ("handrail.run.", "handrail.handlers.")


def describe(error: BaseException) -> dict[str, Any]:
    """`{"type", "message", "traceback"}` of an error. Local variables are not shown."""
    kind = type(error)
    first = _without_ours(error.__traceback__)
    if first is None:
        # Raised by the engine itself, about a body or its files: where says nothing.
        text = "".join(traceback.format_exception_only(error))
    else:
        text = "".join(traceback.format_exception(kind, error, first))
    return {
        "type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
        "message": _message(error)[:MESSAGE_LENGTH],
        "traceback": text[-TRACEBACK_LENGTH:],
    }


def _without_ours(found: TracebackType | None) -> TracebackType | None:
    """A traceback from the first frame on that is not of the engine; none if all are."""
    first = found
    while first is not None and first.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
        first = first.tb_next
    return first


def one_line(error: BaseException) -> str:
    """Type and first line of the message."""
    first = (_message(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as exc:  # a broken __str__ must not hide the error
        return f"<its message cannot be read: {type(exc).__name__}>"
