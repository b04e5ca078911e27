"""Errors as data, for journals, logs and pages."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from handrail.errors import HandrailError

#: Longest text kept of a message and of a traceback, in characters.
MESSAGE_LENGTH = 10_000
TRACEBACK_LENGTH = 50_000

#: Modules between the engine and a body, which say nothing about the body.
_OURS = ("handrail.run.", "handrail.handlers.")


def describe(error: BaseException) -> dict[str, Any]:
    """`{"type", "message", "traceback"}` of an error. Local variables are not shown."""
    kind = type(error)
    if isinstance(error, HandrailError) and not any(map(_from_outside, _with_causes(error))):
        # Raised by the engine itself, about a body or its files: where says nothing.
        text = "".join(traceback.format_exception_only(error))
    else:
        first = _from_outside(error)
        text = "".join(traceback.format_exception(kind, error, first))
    return {
        "type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
        "message": _message(error)[:MESSAGE_LENGTH],
        "traceback": text[-TRACEBACK_LENGTH:],
    }


def _from_outside(error: BaseException) -> TracebackType | None:
    """An error's traceback from the first frame on that is not the engine's; none if all are."""
    first = error.__traceback__
    while first is not None and first.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
        first = first.tb_next
    return first


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def one_line(error: BaseException) -> str:
    """Type and first line of the message."""
    first = (_message(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as exc:  # a broken __str__ must not hide the error
        return f"<its message cannot be read: {type(exc).__name__}>"
