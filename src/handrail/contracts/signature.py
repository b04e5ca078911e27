"""Reads the contract of a task from its function's signature.

A contract has one of three shapes:

    keywords    any parameters; bound one by one, by name
    params      `(params: Model) -> Model`
    workspace   `(workspace: Path, params: Model) -> Model`
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from handrail.errors import TaskDefinitionError

Shape = Literal["keywords", "params", "workspace"]


class Parameter(NamedTuple):
    """One parameter of a keyword task."""

    name: str
    required: bool


@dataclass(frozen=True, slots=True)
class Contract:
    """What goes into a task and what comes out."""

    shape: Shape
    #: Parameters to bind by name, without an injected context. Empty for typed shapes.
    parameters: tuple[Parameter, ...] = ()
    params_model: type[BaseModel] | None = None
    output_model: type[BaseModel] | None = None
    #: Does the function take any further keyword (`**kwargs`)?
    open_ended: bool = False
    is_async: bool = False


def read_contract(
    fn: Callable[..., Any],
    name: str,
    *,
    strict: bool,
    workspace: bool,
    inject_context: bool,
    local_names: Mapping[str, Any],
) -> Contract:
    """The contract of `fn`, or the reason why there is none.

    Args:
        name: the task's name, for messages.
        strict: the declaration asks for a typed contract.
        workspace: the task declares a workspace.
        inject_context: the first parameter is the execution context.
        local_names: names visible where the task is declared, to resolve annotations.

    Raises:
        TaskDefinitionError: the signature fits no shape.
    """
    known = _known.get(fn) if type(fn) is FunctionType else None
    if known is not None and not strict and known[0] is inject_context:
        return known[1]
    if not callable(fn):
        raise TaskDefinitionError(f"Task '{name}': {fn!r} is not a function.")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TaskDefinitionError(f"Task '{name}' is a generator; return a value instead.")
    parameters = list(_signature(fn, name).parameters.values())
    if strict or _has_typed_params(fn, parameters, local_names):
        if inject_context:
            raise TaskDefinitionError(
                f"Task '{name}' is typed, and a typed task takes no context. Leave out "
                f"inject_context, or what makes it typed."
            )
        return _typed(fn, name, parameters, workspace, local_names)
    contract = _keywords(fn, name, parameters, inject_context)
    if type(fn) is FunctionType:
        _known[fn] = (inject_context, contract)
    return contract


#: Keyword contracts by function: one function may be many tasks.
_known: WeakKeyDictionary[FunctionType, tuple[bool, Contract]] = WeakKeyDictionary()


def _signature(fn: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(fn)
    except (ValueError, TypeError) as exc:
        raise TaskDefinitionError(f"Task '{name}': its signature cannot be read: {exc}") from exc


def _hints(fn: Callable[..., Any], local_names: Mapping[str, Any]) -> dict[str, Any]:
    # Annotations are resolved where the function lives and, for functions declared inside
    # another one, where the decorator stands.
    target = inspect.unwrap(fn)
    return typing.get_type_hints(target, localns=dict(local_names))


def annotation_of(fn: Callable[..., Any], parameter: str) -> Any:
    """The annotation of a parameter, resolved; none if it has none or it cannot be."""
    try:
        return _hints(fn, {}).get(parameter)
    except Exception:  # whatever evaluating an annotation may raise
        return None


def _is_model(annotation: Any) -> bool:
    return (
        isinstance(annotation, type)
        and issubclass(annotation, BaseModel)
        and annotation is not BaseModel
    )


def _has_typed_params(
    fn: Callable[..., Any], parameters: list[inspect.Parameter], local_names: Mapping[str, Any]
) -> bool:
    if [p.name for p in parameters] != ["params"]:
        return False
    try:
        return _is_model(_hints(fn, local_names).get("params"))
    except Exception:  # an annotation that does not resolve is no typed contract
        return False


def _keywords(
    fn: Callable[..., Any], name: str, parameters: list[inspect.Parameter], inject_context: bool
) -> Contract:
    if inject_context:
        if not parameters or parameters[0].kind not in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            raise TaskDefinitionError(
                f"Task '{name}' has inject_context=True and no first parameter to take the context."
            )
        parameters = parameters[1:]
    bound = []
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise TaskDefinitionError(
                f"Task '{name}': parameter '{parameter.name}' is positional-only; "
                f"arguments are bound by name."
            )
        if parameter.kind in (
            inspect.Parameter.KEYWORD_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            bound.append(Parameter(parameter.name, parameter.default is inspect.Parameter.empty))
    return Contract(
        "keywords",
        tuple(bound),
        open_ended=any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
        is_async=inspect.iscoroutinefunction(fn),
    )


def _typed(
    fn: Callable[..., Any],
    name: str,
    parameters: list[inspect.Parameter],
    workspace: bool,
    local_names: Mapping[str, Any],
) -> Contract:
    wanted = ["workspace", "params"] if workspace else ["params"]
    _check_parameters(name, parameters, wanted)
    try:
        hints = _hints(fn, local_names)
    except Exception as exc:
        raise TaskDefinitionError(
            f"Task '{name}': its annotations cannot be resolved: {exc}. "
            f"Declare the models at module level or import them."
        ) from exc
    if workspace and hints.get("workspace") is not Path:
        raise TaskDefinitionError(
            f"Task '{name}': 'workspace' must be annotated pathlib.Path, "
            f"not {hints.get('workspace')!r}."
        )
    for what, annotation in (("params", hints.get("params")), ("return", hints.get("return"))):
        if not _is_model(annotation):
            raise TaskDefinitionError(
                f"Task '{name}': the annotation of {what} must be a pydantic model class, "
                f"not {annotation!r}."
            )
    return Contract(
        "workspace" if workspace else "params",
        params_model=hints["params"],
        output_model=hints["return"],
        is_async=inspect.iscoroutinefunction(fn),
    )


def _check_parameters(name: str, parameters: list[inspect.Parameter], wanted: list[str]) -> None:
    shown = f"({', '.join(wanted)})"
    found = [parameter.name for parameter in parameters]
    if found != wanted:
        hint = (
            " Did you forget workspace=WorkspaceSpec(...)?"
            if found == ["workspace", "params"]
            else ""
        )
        raise TaskDefinitionError(
            f"Task '{name}' is typed and must take exactly {shown}, not ({', '.join(found)}).{hint}"
        )
    for parameter in parameters:
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            raise TaskDefinitionError(
                f"Task '{name}': '{parameter.name}' must be a plain parameter."
            )
        if parameter.default is not inspect.Parameter.empty:
            raise TaskDefinitionError(
                f"Task '{name}': '{parameter.name}' must not have a default; "
                f"give the model's fields defaults instead."
            )
