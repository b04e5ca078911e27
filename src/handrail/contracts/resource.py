"""Things that bodies need and that are not data: a database, a client, a model.

A workflow registers a resource with the function that opens it. A task gets it as the parameter
of that name, or of that type. It is opened once in each process that needs it, when it is first
needed, and closed when the run, or the worker process, ends. It never crosses a border: what
travels is how to open it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from handrail.errors import TaskDefinitionError


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """A resource as it is declared."""

    name: str
    #: Opens it: returns it, or a context manager that gives it and closes it in the end.
    factory: Callable[[], Any]
    #: Parameters with this annotation get it, whatever their names.
    type: type | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise TaskDefinitionError(
                f"Resource {self.name!r}: the name must be one that a parameter can have."
            )
        if not callable(self.factory):
            raise TaskDefinitionError(
                f"Resource '{self.name}': {self.factory!r} is no function that opens it."
            )


@dataclass(frozen=True, slots=True)
class ResourceHandle:
    """Stands for a resource among arguments, until the body is called."""

    run_id: str
    resource: Resource
