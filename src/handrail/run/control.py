"""What a body asks the engine to do next. Asked while it runs, obeyed when it is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handrail.contracts.task import Task
from handrail.contracts.values import decode, encode
from handrail.plug import import_attribute


@dataclass(frozen=True, slots=True)
class NextTask:
    """Run another task: one of the workflow by name (a jump), or a new one."""

    task: Task | str
    #: Leave out what follows the asking task.
    goto: bool


@dataclass(frozen=True, slots=True)
class NextIteration:
    """Run the same task again, with `data` as its argument."""

    data: Any


@dataclass(frozen=True, slots=True)
class Terminate:
    """End the run here, as a success."""

    message: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the run; the asking task does not count as finished."""

    message: str


Request = NextTask | NextIteration | Terminate | Cancel


def to_data(requests: Sequence[Request]) -> list[list[Any]]:
    """Requests as the journal keeps them.

    A new task is kept by `module:name`; one that cannot be imported as none, which makes its
    creator run again on a resume.
    """
    return [_to_data(request) for request in requests]


def _to_data(request: Request) -> list[Any]:
    if isinstance(request, NextTask):
        if isinstance(request.task, str):
            return ["goto", request.task]
        made = request.task
        return [
            "next",
            made.task_id,
            _reference(made),
            encode(dict(made.bound)),
            request.goto,
        ]
    if isinstance(request, NextIteration):
        return ["again", encode(request.data)]
    if isinstance(request, Terminate):
        return ["terminate", request.message]
    return ["cancel", request.message]


def from_data(data: Sequence[Sequence[Any]]) -> list[Request] | None:
    """What `to_data` wrote; none if a task in it cannot be had again."""
    found = [_from_data(entry) for entry in data]
    return None if None in found else [request for request in found if request is not None]


def _from_data(entry: Sequence[Any]) -> Request | None:
    kind, value = entry[0], entry[1]
    if kind == "goto":
        return NextTask(value, True)
    if kind == "again":
        return NextIteration(decode(value))
    if kind == "terminate":
        return Terminate(value)
    if kind == "cancel":
        return Cancel(value)
    reference, bound, goto = entry[2], entry[3], entry[4]
    template = _imported(reference) if reference is not None else None
    return NextTask(Task(template.definition, value, decode(bound)), goto) if template else None


def _reference(made: Task) -> str | None:
    reference = f"{made.fn.__module__}:{made.fn.__qualname__}"
    found = _imported(reference)
    return reference if found is not None and found.definition is made.definition else None


def _imported(reference: str) -> Task | None:
    try:
        found = import_attribute(reference)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if isinstance(found, Task) else None
