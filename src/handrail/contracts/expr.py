"""What `>>`, `<<` and `|` make of tasks.

Composing inside `with workflow(...)` adds to that workflow at once. Outside, an expression
remembers what was composed and can be added to a workflow later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from handrail.errors import WorkflowDefinitionError

if TYPE_CHECKING:
    from handrail.contracts.task import Task


class Composer(Protocol):
    """Whoever collects what is composed: a workflow."""

    def add(self, part: Composable) -> None:
        """Takes in a part and all within it."""

    def connect(self, before: Composable, after: Composable) -> None:
        """Lets `after` follow `before`."""

    def forget(self, group: ParallelGroup) -> bool:
        """Drops a group that became part of a larger one. False: something follows it."""

    def rename(self, group: ParallelGroup, name: str) -> None:
        """Gives a group another name, if it was taken in."""

    def group_name(self) -> str:
        """A free name for a group that was given none."""


#: The workflow that is being composed, if any.
composing: ContextVar[Composer | None] = ContextVar("handrail_composing", default=None)


#: What a group is called that was given no name and stands in no workflow.
UNNAMED = "ParallelGroup"


class Composable:
    """Something that can stand left or right of `>>` and `|`."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """Name of the node that stands for this part in a graph."""
        raise NotImplementedError

    def starts(self) -> Iterator[Task]:
        """The tasks that run first."""
        raise NotImplementedError

    def ends(self) -> Iterator[Task | ParallelGroup]:
        """The nodes that must be finished before what follows may run."""
        raise NotImplementedError

    def __rshift__(self, after: Composable) -> Sequence:
        return _follow(self, after)

    def __lshift__(self, before: Composable) -> Sequence:
        return _follow(before, self)

    def __or__(self, other: Composable) -> ParallelGroup:
        _check(other, "|")
        return ParallelGroup([*_dissolved(self), *_dissolved(other)])


def _check(part: object, operator: str) -> None:
    if not isinstance(part, Composable):
        raise WorkflowDefinitionError(
            f"{part!r} cannot be composed with {operator}: expected a task, a chain or a group. "
            f"Is the function decorated with @task?"
        )


def _follow(before: Composable, after: Composable) -> Sequence:
    _check(before, "<<")
    _check(after, ">>")
    sequence = Sequence(before, after)
    composer = composing.get()
    if composer is not None:
        composer.connect(before, after)
    return sequence


class Sequence(Composable):
    """`before >> after`. Both may be sequences themselves."""

    __slots__ = ("after", "before", "composer", "leftmost", "rightmost")

    def __init__(self, before: Composable, after: Composable) -> None:
        self.before = before
        self.after = after
        #: The workflow that took it in when it was composed, if any.
        self.composer = composing.get()
        self.leftmost: Composable = before.leftmost if isinstance(before, Sequence) else before
        self.rightmost: Composable = after.rightmost if isinstance(after, Sequence) else after

    @property
    def name(self) -> str:
        return self.rightmost.name

    def starts(self) -> Iterator[Task]:
        return self.leftmost.starts()

    def ends(self) -> Iterator[Task | ParallelGroup]:
        return self.rightmost.ends()

    def __iter__(self) -> Iterator[Composable]:
        # Long chains nest to the left, so this walks instead of recursing.
        waiting: list[Composable] = [self]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Sequence):
                waiting += (part.after, part.before)
            else:
                yield part

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index: int) -> Composable:
        return list(self)[index]

    def __repr__(self) -> str:
        return f"Sequence({' >> '.join(part.name for part in self)})"


class ParallelGroup(Composable):
    """`a | b | c`: members that may run at the same time.

    What follows the group runs once all of them are finished. The group's result is
    `{member name: result}`.
    """

    __slots__ = ("_name", "backend", "is_named", "max_workers", "members", "policy")

    def __init__(self, members: list[Composable], name: str | None = None) -> None:
        if not members:
            raise WorkflowDefinitionError("a group requires at least one task")
        for member in members:
            _check(member, "|")
        composer = composing.get()
        self.is_named = name is not None
        #: How the group is judged and run; see `with_execution`.
        self.policy: Any = None
        self.max_workers: int | None = None
        self.backend: str | None = None
        self.members = list(members)
        self._name = name or (composer.group_name() if composer is not None else None)
        if composer is not None:
            composer.add(self)

    @property
    def name(self) -> str:
        return self._name or UNNAMED

    def set_group_name(self, name: str) -> ParallelGroup:
        """Names the group; returns it.

        Raises:
            DuplicateTaskError: the name is taken in the workflow that is being composed.
        """
        composer = composing.get()
        if composer is not None:
            composer.rename(self, name)
        self._name = name
        self.is_named = True
        return self

    def with_execution(
        self,
        *,
        policy: Any = None,
        max_workers: int | None = None,
        backend: str | None = None,
        backend_config: Mapping[str, Any] | None = None,
    ) -> ParallelGroup:
        """Says how the group is run; returns it.

        Args:
            policy: `"strict"` (the default), `"best_effort"`, or a `GroupExecutionPolicy`.
            max_workers: tasks of the group that run at the same time.
            backend: `"threading"` (the default), `"direct"` (one after the other), or a
                handler type for members that name none.
            backend_config: `{"thread_count": n}` is another spelling of `max_workers=n`.
        """
        config = dict(backend_config or {})
        max_workers = config.pop("thread_count", None) if max_workers is None else max_workers
        if config:
            raise WorkflowDefinitionError(
                f"backend_config has no {', '.join(map(repr, sorted(config)))}; "
                f"it has 'thread_count'"
            )
        if max_workers is not None and max_workers < 1:
            raise WorkflowDefinitionError(f"max_workers={max_workers} must be at least 1")
        self.policy = policy if policy is not None else self.policy
        self.max_workers = max_workers or self.max_workers
        self.backend = backend or self.backend
        return self

    def starts(self) -> Iterator[Task]:
        for member in self.members:
            yield from member.starts()

    def ends(self) -> Iterator[Task | ParallelGroup]:
        yield self

    def __repr__(self) -> str:
        return f"ParallelGroup({', '.join(repr(member.name) for member in self.members)})"


def _dissolved(part: Composable) -> list[Composable]:
    # `a | b | c` is one group of three. A group that was named, or that something already
    # follows, stays a member of its own.
    composer = composing.get()
    if not isinstance(part, ParallelGroup) or part.is_named:
        return [part]
    return part.members if composer is None or composer.forget(part) else [part]


def chain(*parts: Composable) -> Composable:
    """`parts[0] >> parts[1] >> ...`.

    Raises:
        WorkflowDefinitionError: no part was given, or one cannot be composed.
    """
    if not parts:
        raise WorkflowDefinitionError("chain requires at least one task")
    whole = parts[0]
    _check(whole, "chain()")
    composer = composing.get()
    if composer is not None:
        composer.add(whole)
    for part in parts[1:]:
        whole = whole >> part
    return whole


def parallel(*parts: Composable, name: str | None = None) -> ParallelGroup:
    """A group of `parts`.

    Raises:
        WorkflowDefinitionError: fewer than two parts were given.
    """
    if len(parts) < 2:
        raise WorkflowDefinitionError("parallel requires at least two tasks")
    return ParallelGroup(list(parts), name)
