"""Looks at files to see whether guardrails hold."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from handrail.contracts.guards import Guardrail, Look
from handrail.errors import GuardrailViolation

_SHOWN = 5


def check_guardrails(root: Path, guardrails: Iterable[Guardrail], phase: str) -> None:
    """Checks each guardrail in order against the files below `root`.

    Symbolic links count as files and are not followed out of `root`.

    Args:
        phase: `"pre"` or `"post"`, for the message.

    Raises:
        GuardrailViolation: the first one that does not hold; says what was found.
    """
    for guardrail in guardrails:
        if guardrail.check is not None:
            problem = _own_problem(root, guardrail.check)
            name = f"'{guardrail.path}':"
        else:
            problem = _problem(root, guardrail)
            name = f"{guardrail.kind}({guardrail.path!r})"
        if problem:
            raise GuardrailViolation(f"{phase} guardrail {name} {problem}")


def _problem(root: Path, guardrail: Guardrail) -> str | None:
    if guardrail.kind == "require_file":
        path = _inside(root, guardrail.path)
        return None if path is not None and os.path.isfile(path) else "did not find a file"
    if guardrail.kind == "require_dir":
        path = _inside(root, guardrail.path)
        return None if path is not None and os.path.isdir(path) else "did not find a directory"
    if guardrail.kind == "forbid_glob":
        found = sorted(_matching(root, guardrail.path, folders=True))
        return f"matched {_counted(found)}: {_shown(found)}" if found else None
    found = sorted(_matching(root, guardrail.path, folders=False))
    if guardrail.min_count is not None and len(found) < guardrail.min_count:
        return f"matched {_counted(found)}; min_count={guardrail.min_count}"
    if guardrail.max_count is not None and len(found) > guardrail.max_count:
        return f"matched {_counted(found)}; max_count={guardrail.max_count}: {_shown(found)}"
    return None


def _own_problem(root: Path, look: Look) -> str | None:
    try:
        answer = look(root)
    except Exception as error:
        # Whatever it raises, nobody can say that the files are as they should be.
        return str(error) if isinstance(error, AssertionError) and str(error) else repr(error)
    if isinstance(answer, str):
        return answer or "does not hold"
    return None if answer is None or answer is True else "does not hold"


def _inside(root: Path, relative: str) -> str | None:
    # A link that leads out of the workspace must not satisfy a guardrail.
    path = os.path.realpath(root / relative)
    return path if Path(path).is_relative_to(os.path.realpath(root)) else None


def _counted(found: list[str]) -> str:
    return f"{len(found)} file" if len(found) == 1 else f"{len(found)} files"


def _shown(found: list[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def _matching(root: Path, pattern: str, *, folders: bool) -> Iterator[str]:
    matches = _regex(pattern).fullmatch
    return (path for path, is_folder in _walk(root) if (folders or not is_folder) and matches(path))


def _walk(root: Path) -> Iterator[tuple[str, bool]]:
    waiting = [("", os.fspath(root))]
    while waiting:
        prefix, folder = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                yield prefix + entry.name, is_folder
                if is_folder:
                    waiting.append((f"{prefix}{entry.name}/", entry.path))


@lru_cache(maxsize=256)
def _regex(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression over `/`-separated paths.

    `**` between slashes is any number of segments, at the end anything below.
    """
    parts = []
    segments = pattern.split("/")
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        if segment == "**":
            parts.append(".+" if last else "(?:[^/]+/)*")
        else:
            parts.append(_segment(segment) + ("" if last else "/"))
    return re.compile("".join(parts), re.DOTALL)


def _segment(segment: str) -> str:
    text, position = "", 0
    while position < len(segment):
        char = segment[position]
        closing = segment.find("]", position + 2) if char == "[" else -1
        if char == "*":
            text += "[^/]*"
        elif char == "?":
            text += "[^/]"
        elif closing > 0:
            text += _choice(segment[position + 1 : closing])
            position = closing
        else:
            text += re.escape(char)
        position += 1
    return text


def _choice(inner: str) -> str:
    negated, chars = inner.startswith("!"), inner.removeprefix("!")
    escaped = re.sub(r"([\\\[\]^&|~])", r"\\\1", chars)
    expression = f"[{'^/' if negated else ''}{escaped}]"
    try:
        re.compile(expression)
    except re.error:  # a range that runs backwards, such as [z-a]: nothing is in it
        return "[^/]" if negated else r"(?!)"
    return expression
