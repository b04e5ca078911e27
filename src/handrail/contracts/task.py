"""A task: a function with a contract, controls, and a place where it runs.

`@task` makes a `Task`. Its `TaskDefinition` is frozen and shared by all instances of it;
neither ever remembers a run.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar, overload
from uuid import uuid4

from pydantic import BaseModel

from handrail import plug
from handrail.contracts.controls import RetryPolicy, TaskControls
from handrail.contracts.expr import Composable, composing
from handrail.contracts.limits import checked_tags
from handrail.contracts.reuse import CachePolicy, declared_policy
from handrail.contracts.signature import Contract, read_contract
from handrail.contracts.workspace import WorkspaceSpec
from handrail.errors import TaskDefinitionError, TaskInputError

F = TypeVar("F", bound=Callable[..., Any])
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class TaskDefinition:
    """Everything that was declared of a task."""

    name: str
    fn: Callable[..., Any]
    contract: Contract
    description: str | None = None
    owner_email: str | None = None
    workspace: WorkspaceSpec | None = None
    controls: TaskControls | None = None
    handler_type: str = "direct"
    #: `{"image": ...}` for `docker_image=...`, by handler: `{"docker": {"image": ...}}`.
    handler_options: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _NOTHING)
    inject_context: bool = False
    #: Are keyword arguments looked up by name? If not, only bound ones are passed.
    resolve_keyword_args: bool = True
    max_retries: int | None = None
    retry_policy: RetryPolicy | None = None
    max_cycles: int | None = None
    #: Time limit of one attempt, in seconds.
    timeout: float | None = None
    #: When its result may be taken again; none: never.
    cache: CachePolicy | None = None
    #: Limits under which its attempts start.
    tags: tuple[str, ...] = ()

    @property
    def has_workspace(self) -> bool:
        """Does the task read or write a workspace?"""
        return self.workspace is not None

    @property
    def params_model(self) -> type[BaseModel]:
        """Model of `params`, for typed tasks."""
        if self.contract.params_model is None:
            raise TaskInputError(f"Task '{self.name}' is not typed: it has no params model.")
        return self.contract.params_model

    @property
    def output_model(self) -> type[BaseModel]:
        """Model of the result, for typed tasks."""
        if self.contract.output_model is None:
            raise TaskInputError(f"Task '{self.name}' is not typed: it has no output model.")
        return self.contract.output_model

    @property
    def writes(self) -> bool:
        """May the task publish files?"""
        return self.workspace is not None and not self.workspace.read_only

    @property
    def timeout_seconds(self) -> float | None:
        """Time limit of one attempt, whichever way it was declared."""
        if self.timeout is not None:
            return self.timeout
        if self.controls is not None and self.controls.timeout.seconds:
            return float(self.controls.timeout.seconds)
        return None

    @property
    def retry(self) -> RetryPolicy:
        """When a failed attempt is repeated, whichever way it was declared."""
        if self.retry_policy is not None:
            said = self.retry_policy.model_fields_set
            if self.max_retries is not None and not said & {"count", "max_retries"}:
                return self.retry_policy.model_copy(update={"max_retries": self.max_retries})
            return self.retry_policy
        if self.max_retries is not None:
            return RetryPolicy(max_retries=self.max_retries)
        return self.controls.retry if self.controls is not None else _SILENT_RETRY


_SILENT_RETRY = RetryPolicy()


def _does_nothing() -> None:
    """What `Task("name")` runs."""


class Task(Composable):
    """A task, or one instance of it with bound parameters; the thing that is composed.

    Calling it without arguments or with positional ones calls the function. Calling it with
    keywords makes an instance with these parameters bound, named by `task_id`; typed tasks are
    always called. `fn` is the plain function.
    """

    __slots__ = ("__dict__", "__weakref__", "_bound", "_definition", "_task_id")

    def __init__(
        self,
        definition: TaskDefinition | str,
        task_id: str | None = None,
        bound: Mapping[str, Any] = _NOTHING,
    ) -> None:
        if isinstance(definition, str):
            definition = TaskDefinition(definition, _does_nothing, Contract("keywords"))
        self._definition = definition
        self._task_id = task_id or definition.name
        self._bound = MappingProxyType(dict(bound)) if bound else _NOTHING
        for attribute in ("__module__", "__qualname__", "__doc__", "__wrapped__"):
            value = definition.fn if attribute == "__wrapped__" else None
            value = value or getattr(definition.fn, attribute, None)
            if value is not None:
                self.__dict__[attribute] = value

    # Identity

    @property
    def definition(self) -> TaskDefinition:
        """What was declared."""
        return self._definition

    @property
    def task_id(self) -> str:
        """Name of this instance in a workflow."""
        return self._task_id

    @property
    def name(self) -> str:
        return self._task_id

    @property
    def __name__(self) -> str:
        return self._task_id

    @property
    def bound(self) -> Mapping[str, Any]:
        """Parameters that were bound to this instance."""
        return self._bound

    @property
    def fn(self) -> Callable[..., Any]:
        """The plain function."""
        return self._definition.fn

    @property
    def handler_type(self) -> str:
        """Where its body runs."""
        return self._definition.handler_type

    @property
    def has_workspace(self) -> bool:
        """Does the task read or write a workspace?"""
        return self._definition.has_workspace

    @property
    def workspace(self) -> WorkspaceSpec | None:
        """What it does with its workspace."""
        return self._definition.workspace

    @property
    def params_model(self) -> type[BaseModel]:
        """Model of `params`, for typed tasks."""
        return self._definition.params_model

    @property
    def output_model(self) -> type[BaseModel]:
        """Model of the result, for typed tasks."""
        return self._definition.output_model

    # Composing

    def starts(self) -> Iterator[Task]:
        yield self

    def ends(self) -> Iterator[Task]:
        yield self

    # Calling

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args or not kwargs or self._definition.contract.shape != "keywords":
            return self.fn(*args, **{**self._bound, **kwargs})
        task_id = kwargs.pop("task_id", None) or f"{self._definition.name}_{uuid4().hex[:8]}"
        return self.instance(task_id, **kwargs)

    def instance(self, task_id: str, **bound: Any) -> Task:
        """The same task under another name, with parameters bound.

        Raises:
            TaskInputError: the function has no such parameter.
        """
        contract = self._definition.contract
        known = {parameter.name for parameter in contract.parameters}
        if contract.params_model is not None:
            known = {"params", *contract.params_model.model_fields}
        unknown = sorted(set(bound) - known)
        if unknown and not contract.open_ended:
            raise TaskInputError(
                f"Task '{self.name}' has no parameter {unknown[0]!r}"
                f"{_did_you_mean(unknown[0], known)}"
            )
        made = Task(self._definition, task_id, {**self._bound, **bound})
        composer = composing.get()
        if composer is not None:
            composer.add(made)
        return made

    def map(
        self,
        items: Composable | Iterable[Any],
        *,
        parameter: str | None = None,
        task_id: str | None = None,
    ) -> MappedTask:
        """The same task, run once for each item; its result is the list of results, in order.

        Args:
            items: a task whose result is iterable (an edge from it is added), or the items.
            parameter: which parameter takes the item; by default the first that is not bound.
                For a typed task an item is its `params`.
            task_id: name of the instance; `<name>_map` by default.

        Raises:
            TaskInputError: there is no such parameter.
        """
        contract = self._definition.contract
        if contract.shape == "workspace":
            raise TaskInputError(f"Task '{self.name}' works on files and cannot be mapped.")
        free = [p.name for p in contract.parameters if p.name not in self._bound]
        if contract.shape == "params":
            parameter = ""
        elif parameter is None:
            if not free:
                raise TaskInputError(f"Task '{self.name}' has no parameter that takes an item.")
            parameter = free[0]
        elif parameter not in free:
            raise TaskInputError(f"Task '{self.name}' has no free parameter {parameter!r}.")
        if not isinstance(items, Composable):
            items = list(items)
        made = MappedTask(self, task_id or f"{self._task_id}_map", parameter, items)
        composer = composing.get()
        if composer is not None:
            composer.add(made)
        if isinstance(items, Composable):
            items >> made
        return made

    def run(self, **inputs: Any) -> Any:
        """Runs the task alone, in memory, and returns its result.

        Raises:
            TaskInputError: the task has a workspace, so it needs a workflow with one.
        """
        return plug.runtime().run_task(self, inputs)

    def __repr__(self) -> str:
        return f"Task({self._task_id!r}, handler_type={self.handler_type!r})"


class MappedTask(Task):
    """An instance of a task that runs once for each of many items."""

    __slots__ = ("items", "parameter", "template")

    def __init__(
        self, template: Task, task_id: str, parameter: str, items: Composable | list[Any]
    ) -> None:
        super().__init__(template.definition, task_id, template.bound)
        #: The task that was mapped; it only serves to make this one.
        self.template = template
        #: Takes the item; empty: the whole params model.
        self.parameter = parameter
        #: The items, or what has them as its result.
        self.items = items


def _did_you_mean(name: str, known: set[str] | frozenset[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    return (
        f". Did you mean {near[0]!r}?"
        if near
        else f". It has: {', '.join(sorted(known)) or 'none'}."
    )


#: Keywords that `@task` takes besides handler options.
_KEYWORDS = frozenset(
    {
        "id", "name", "handler_type", "handler", "inject_context", "resolve_keyword_args",
        "max_retries", "retry_policy", "max_cycles", "timeout", "owner_email", "description",
        "workspace", "controls", "cache", "tags",
    }
)  # fmt: skip


@overload
def task(fn: Callable[..., Any], /) -> Task: ...
@overload
def task(
    id: str | None = None,
    /,
    *,
    name: str | None = None,
    handler_type: str | None = None,
    handler: str | None = None,
    inject_context: bool = False,
    resolve_keyword_args: bool = True,
    max_retries: int | None = None,
    retry_policy: RetryPolicy | None = None,
    max_cycles: int | None = None,
    timeout: float | None = None,
    owner_email: str | None = None,
    description: str | None = None,
    workspace: WorkspaceSpec | None = None,
    controls: TaskControls | None = None,
    cache: bool | float | timedelta | CachePolicy | None = None,
    tags: str | Iterable[str] = (),
    **handler_options: Any,
) -> Callable[[Callable[..., Any]], Task]: ...
def task(first: Any = None, /, **keywords: Any) -> Any:
    """Makes a task of a function: `@task`, `@task("id")`, `@task(handler_type="process")`.

    Args:
        id: name of the task (also `name`); the function's name by default.
        handler_type: where the body runs (also `handler`); `"direct"` by default.
        inject_context: pass a `TaskExecutionContext` as the first argument.
        resolve_keyword_args: bind parameters by name from upstream results and channels.
        max_retries: attempts after the first; 0 by default.
        retry_policy: the same in full.
        max_cycles: how often the task may run in a loop.
        timeout: time limit of one attempt, in seconds.
        owner_email: whom to ask about it; makes the task typed.
        workspace: what it does with the workspace's files; makes the task typed.
        controls: retry, timeout and limits in one; makes the task typed.
        cache: take an earlier result again while code, parameters and files are the same:
            `True`, or for how long (seconds or a `timedelta`), or a `CachePolicy`.
        tags: limits under which its attempts start, `"db"` or `("db", "api")`; how much each
            of them allows is a setting.
        <handler>_<option>: an option of a handler.

    Raises:
        TaskDefinitionError: the declaration cannot work; the message says why.
    """
    if callable(first) and not isinstance(first, str):
        return _declare(first, {}, sys._getframe(1).f_locals)
    if first is not None:
        if not isinstance(first, str):
            raise TaskDefinitionError(f"@task({first!r}): the id must be a string.")
        if keywords.get("id") is not None:
            raise TaskDefinitionError(f"@task({first!r}, id={keywords['id']!r}): say the id once.")
        keywords["id"] = first
    local_names = sys._getframe(1).f_locals

    def decorate(fn: Callable[..., Any]) -> Task:
        return _declare(fn, keywords, local_names)

    return decorate


def _declare(
    fn: Callable[..., Any], keywords: Mapping[str, Any], local_names: Mapping[str, Any]
) -> Task:
    if isinstance(fn, Task):
        raise TaskDefinitionError(f"Task '{fn.name}' is decorated twice.")
    name = _name_of(fn, keywords)
    handler_type = _one_of(name, keywords, "handler_type", "handler") or "direct"
    workspace, controls = keywords.get("workspace"), keywords.get("controls")
    _check_kinds(name, keywords)
    contract = read_contract(
        fn,
        name,
        strict=any(
            keywords.get(key) is not None for key in ("workspace", "owner_email", "controls")
        ),
        workspace=workspace is not None,
        inject_context=bool(keywords.get("inject_context")),
        local_names=local_names,
    )
    definition = TaskDefinition(
        name=name,
        fn=fn,
        contract=contract,
        description=keywords.get("description"),
        owner_email=keywords.get("owner_email"),
        workspace=workspace,
        controls=controls,
        handler_type=handler_type,
        handler_options=_handler_options(name, handler_type, keywords),
        inject_context=bool(keywords.get("inject_context")),
        resolve_keyword_args=keywords.get("resolve_keyword_args", True),
        max_retries=keywords.get("max_retries"),
        retry_policy=keywords.get("retry_policy"),
        max_cycles=keywords.get("max_cycles"),
        timeout=keywords.get("timeout"),
        cache=declared_policy(
            name,
            keywords.get("cache"),
            contract,
            inject_context=bool(keywords.get("inject_context")),
        ),
        tags=_tags(name, keywords),
    )
    made = Task(definition)
    composer = composing.get()
    if composer is not None:
        composer.add(made)
    return made


def _one_of(name: str, keywords: Mapping[str, Any], long: str, short: str) -> Any:
    if keywords.get(long) is not None and keywords.get(short) is not None:
        raise TaskDefinitionError(f"Task '{name}': say {long} or {short}, not both.")
    return keywords.get(long) if keywords.get(long) is not None else keywords.get(short)


def _name_of(fn: Callable[..., Any], keywords: Mapping[str, Any]) -> str:
    given = _one_of("?", keywords, "id", "name")
    name = given if given is not None else getattr(fn, "__name__", None)
    if not isinstance(name, str) or not name.strip():
        raise TaskDefinitionError(f"Task of {fn!r}: the name must be a string and not blank.")
    if any(ord(char) < 32 for char in name) or "/" in name or "\\" in name:
        raise TaskDefinitionError(
            f"Task '{name}': a name must not contain '/', '\\' or control characters."
        )
    return name


def _tags(name: str, keywords: Mapping[str, Any]) -> tuple[str, ...]:
    tags = keywords.get("tags")
    try:
        return checked_tags(()) if tags is None else checked_tags(tags)
    except ValueError as exc:
        raise TaskDefinitionError(f"Task '{name}': {exc}.") from exc


def _check_kinds(name: str, keywords: Mapping[str, Any]) -> None:
    for key, kind in (
        ("workspace", WorkspaceSpec),
        ("controls", TaskControls),
        ("retry_policy", RetryPolicy),
        ("handler_type", str),
        ("handler", str),
        ("owner_email", str),
        ("description", str),
    ):
        value = keywords.get(key)
        if value is not None and not isinstance(value, kind):
            raise TaskDefinitionError(
                f"Task '{name}': {key} must be a {kind.__name__}, not {value!r}."
            )
    _check_numbers(name, keywords)
    owner_email = keywords.get("owner_email")
    if owner_email is not None and not owner_email.strip():
        raise TaskDefinitionError(f"Task '{name}': owner_email must not be blank.")
    controls = keywords.get("controls")
    if controls is not None and controls.publish_budget and keywords.get("workspace") is None:
        raise TaskDefinitionError(f"Task '{name}': publish_budget needs a workspace.")


def _check_numbers(name: str, keywords: Mapping[str, Any]) -> None:
    for key, kinds, least in (
        ("timeout", (int, float), 0),
        ("max_retries", (int,), -1),
        ("max_cycles", (int,), 0),
    ):
        value = keywords.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kinds) or not value > least:
            wanted = "number" if float in kinds else "whole number"
            raise TaskDefinitionError(
                f"Task '{name}': {key}={value!r} must be a {wanted} larger than {least}."
            )


def _handler_options(
    name: str, handler_type: str, keywords: Mapping[str, Any]
) -> Mapping[str, Mapping[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for keyword in sorted(set(keywords) - _KEYWORDS):
        handler, underscore, option = keyword.partition("_")
        owner = handler_type if keyword.startswith(f"{handler_type}_") else handler
        if owner == handler_type:
            option = keyword[len(handler_type) + 1 :]
        if not underscore or (owner != handler_type and owner not in plug.handlers):
            raise TaskDefinitionError(
                f"Task '{name}': unknown keyword {keyword!r}"
                f"{_did_you_mean(keyword, _KEYWORDS | {f'{handler_type}_<option>'})}"
            )
        found.setdefault(owner, {})[option] = keywords[keyword]
    for owner, options in found.items():
        _check_options(name, owner, options)
    return MappingProxyType(found)


def _check_options(name: str, handler_type: str, options: Mapping[str, Any]) -> None:
    # Options of a handler that is registered later, on an engine, are checked when it runs.
    if handler_type in plug.handlers:
        model = getattr(plug.handlers.get(handler_type), "options_model", None)
        check_options(name, handler_type, options, model)


def check_options(
    name: str, handler_type: str, options: Mapping[str, Any], model: type[BaseModel] | None
) -> None:
    """Raises `TaskDefinitionError` unless a task's options fit what its handler takes.

    Args:
        name: the task's name, for messages.
        model: the handler's options; none: it takes none.
    """
    known = set(model.model_fields) if model is not None else set()
    for option in options:
        if option not in known:
            shown = {f"{handler_type}_{field_name}" for field_name in known}
            raise TaskDefinitionError(
                f"Task '{name}': handler '{handler_type}' has no option "
                f"{f'{handler_type}_{option}'!r}{_did_you_mean(f'{handler_type}_{option}', shown)}"
            )
    if model is not None:
        try:
            model.model_validate(dict(options))
        except ValueError as exc:
            raise TaskDefinitionError(f"Task '{name}': {exc}") from exc


def load_module_task(target: str) -> TaskDefinition:
    """The one task that the module `target` declares.

    Raises:
        TaskDefinitionError: `target` is no dotted module name, cannot be imported, or declares
            no task or several.
    """
    if not target or not all(part.isidentifier() for part in target.split(".")):
        raise TaskDefinitionError(
            f"{target!r} is not a module name: expected dotted names such as 'app.workers.build'."
        )
    try:
        module = importlib.import_module(target)
    except ImportError as exc:
        raise TaskDefinitionError(f"Module '{target}' cannot be imported: {exc}") from exc
    found = {made.definition.name: made.definition for made in _tasks_of(module)}
    if len(found) != 1:
        shown = ", ".join(sorted(found)) or "none"
        raise TaskDefinitionError(
            f"Module '{target}' must declare exactly one task; found {shown}."
        )
    return next(iter(found.values()))


def _tasks_of(module: ModuleType) -> Iterator[Task]:
    for value in vars(module).values():
        if isinstance(value, Task) and value.fn.__module__ == module.__name__:
            yield value
