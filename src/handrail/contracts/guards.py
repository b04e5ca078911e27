"""Guardrails: what a task expects of the files before and after its body.

Only declared here; `handrail.run.guards` looks at the files.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from handrail.errors import TaskDefinitionError

_DRIVE = re.compile(r"^[A-Za-z]:")


#: Looks at a folder: None or True, all is well; a text says what is not; False, something is not.
Look = Callable[[Path], str | bool | None]


class Guardrail(BaseModel):
    """One expectation. Make it with `require_file` and its companions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["require_file", "require_dir", "require_glob", "forbid_glob", "guardrail"]
    #: File, folder or pattern, relative to the workspace, with `/`; of your own: its name.
    path: str
    min_count: int | None = None
    max_count: int | None = None
    #: Of your own: what looks at the files.
    check: Look | None = Field(default=None, exclude=True, repr=False)

    @model_validator(mode="after")
    def _own_has_a_check(self) -> Guardrail:
        if (self.check is not None) is not (self.kind == "guardrail"):
            raise ValueError("a guardrail of your own has a check, the others have none")
        return self

    @model_validator(mode="after")
    def _counts_fit(self) -> Guardrail:
        if self.kind != "require_glob" and (self.min_count, self.max_count) != (None, None):
            raise ValueError(f"{self.kind} takes no counts")
        for count in (self.min_count, self.max_count):
            if count is not None and count < 0:
                raise ValueError("counts must not be negative")
        if None not in (self.min_count, self.max_count) and self.min_count > self.max_count:  # type: ignore[operator]
            raise ValueError("min_count is larger than max_count")
        return self


def _relative(kind: str, path: str | os.PathLike[str]) -> str:
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    bad = (
        not isinstance(text, str)
        or not text
        or text.startswith("/")
        or "\\" in text
        or "\0" in text
        or _DRIVE.match(text)
        or any(segment in ("", ".", "..") for segment in text.split("/"))
    )
    if bad or text is None:
        raise TaskDefinitionError(
            f"{kind}({path!r}): expected a path relative to the workspace, such as 'raw/a.csv'"
        )
    return text


def _make(
    kind: Literal["require_file", "require_dir", "require_glob", "forbid_glob"],
    path: str | os.PathLike[str],
    **counts: int | None,
) -> Guardrail:
    try:
        return Guardrail(kind=kind, path=_relative(kind, path), **counts)
    except ValidationError as exc:
        raise TaskDefinitionError(f"{kind}({path!r}): {exc.errors()[0]['msg']}") from exc


def require_file(path: str | os.PathLike[str]) -> Guardrail:
    """Expects a file at `path`."""
    return _make("require_file", path)


def require_dir(path: str | os.PathLike[str]) -> Guardrail:
    """Expects a folder at `path`."""
    return _make("require_dir", path)


def require_glob(
    pattern: str | os.PathLike[str],
    *,
    min_count: int | None = 1,
    max_count: int | None = None,
) -> Guardrail:
    """Expects at least `min_count` and at most `max_count` files that match `pattern`.

    `*` and `?` stay within one path segment, `**` spans any number of them, and a trailing
    `**` means every file below, on every Python version.
    """
    return _make(
        "require_glob",
        pattern,
        min_count=1 if min_count is None else min_count,
        max_count=max_count,
    )


def forbid_glob(pattern: str | os.PathLike[str]) -> Guardrail:
    """Expects that no file and no folder matches `pattern` (as in `require_glob`)."""
    return _make("forbid_glob", pattern)


@overload
def guardrail(look: Look, /) -> Guardrail: ...
@overload
def guardrail(name: str, /) -> Callable[[Look], Guardrail]: ...
def guardrail(look: Look | str, /) -> Guardrail | Callable[[Look], Guardrail]:
    """Makes a guardrail of a function that looks at the files: `@guardrail`, `@guardrail("name")`.

    The function gets the folder that the body sees. What it returns as text, or the message of
    what it raises, says what is wrong; `False` says that something is. It must change nothing.

    Raises:
        TaskDefinitionError: it is no function, or has no name.
    """
    if isinstance(look, str):
        name = look
        return lambda function: _own(function, name)
    return _own(look, getattr(look, "__name__", ""))


def _own(look: Look, name: str) -> Guardrail:
    if not callable(look) or inspect.iscoroutinefunction(look):
        raise TaskDefinitionError(f"guardrail {name!r}: expected a function of one folder")
    if not name.strip() or name == "<lambda>":
        raise TaskDefinitionError("a guardrail needs a name: guardrail('name')(function)")
    return Guardrail(kind="guardrail", path=name, check=look)
