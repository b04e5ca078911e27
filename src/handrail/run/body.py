"""The only caller of user code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from handrail.contracts.guards import Guardrail
from handrail.contracts.task import TaskDefinition
from handrail.errors import (
    GuardrailViolation,
    PostGuardrailViolation,
    PreGuardrailViolation,
    TaskInputError,
)
from handrail.run.guards import check_guardrails
from handrail.run.resources import resources


def run_body(
    definition: TaskDefinition,
    arguments: Mapping[str, Any],
    *,
    workspace: Path | None = None,
    context: Any = None,
) -> Any:
    """Calls a task's function the way its contract says and returns its checked result.

    Args:
        arguments: by parameter; for typed tasks the fields of `params`, or `{"": params}`.
        workspace: folder with the task's files, for tasks that have a workspace.
        context: what `inject_context` injects.

    Raises:
        TaskInputError: the arguments or the result do not fit the contract.
        PreGuardrailViolation: the files are not as the task needs them.
        PostGuardrailViolation: the body left files that may not be published.
        Exception: whatever the function raises.
    """
    contract = definition.contract
    if contract.shape == "keywords" and not contract.is_async and not definition.inject_context:
        # What most bodies are: nothing to check, and nothing between the engine and them.
        return definition.fn(**resources.opened(arguments)) if arguments else definition.fn()
    if contract.shape != "workspace":
        raw = _call(definition, arguments, context)
        if contract.is_async:
            raw = _awaited(raw)
        return raw if contract.shape == "keywords" else check_result(definition, raw)
    if workspace is None or definition.workspace is None:
        raise TaskInputError(f"Task '{definition.name}' works on files and was given none.")
    params = params_of(definition, arguments)
    _guard(workspace, definition.workspace.pre, "pre", PreGuardrailViolation)
    raw = definition.fn(workspace, params)
    result = check_result(definition, _awaited(raw) if contract.is_async else raw)
    _guard(workspace, definition.workspace.post, "post", PostGuardrailViolation)
    return result


async def run_async_body(
    definition: TaskDefinition, arguments: Mapping[str, Any], *, context: Any = None
) -> Any:
    """The same for an async function without files, within the caller's event loop."""
    raw = await _call(definition, arguments, context)
    return raw if definition.contract.shape == "keywords" else check_result(definition, raw)


def _call(definition: TaskDefinition, arguments: Mapping[str, Any], context: Any) -> Any:
    if definition.contract.shape == "params":
        return definition.fn(params_of(definition, arguments))
    if arguments:
        arguments = resources.opened(arguments)
    if definition.inject_context:
        return definition.fn(context, **arguments)
    return definition.fn(**arguments)


def _awaited(raw: Any) -> Any:
    # Imported here, since worker processes start faster without it.
    import asyncio

    return asyncio.run(raw)


def _guard(
    workspace: Path, guardrails: Iterable[Guardrail], phase: str, error: type[GuardrailViolation]
) -> None:
    try:
        check_guardrails(workspace, guardrails, phase)
    except GuardrailViolation as exc:
        raise error(str(exc)) from exc


def check_params(definition: TaskDefinition, arguments: Mapping[str, Any]) -> None:
    """Raises `TaskInputError` unless a typed task's arguments make its `params`."""
    params_of(definition, arguments)


def params_of(definition: TaskDefinition, arguments: Mapping[str, Any]) -> BaseModel:
    """The `params` that a typed task's arguments make.

    Raises:
        TaskInputError: they do not fit the task's model.
    """
    model = definition.params_model
    fields = arguments.get("", arguments)
    if isinstance(fields, model):
        return fields
    if isinstance(fields, (Mapping, BaseModel)):
        fields = dict(fields)
    try:
        return model.model_validate(fields, extra="forbid", by_alias=True, by_name=True)
    except ValidationError as exc:
        raise TaskInputError(
            f"Task '{definition.name}': params do not validate: {_problems(exc)}"
        ) from exc


def check_result(definition: TaskDefinition, raw: Any) -> BaseModel:
    """What a typed task's body returned, as its output model.

    Raises:
        TaskInputError: it does not fit the model.
    """
    model = definition.output_model
    by_alias = not isinstance(raw, BaseModel)
    if isinstance(raw, BaseModel):
        # By field names, so that aliases and computed fields cannot make a good result bad.
        fields = type(raw).model_fields
        raw = {name: getattr(raw, name) for name in fields if hasattr(raw, name)}
    try:
        return model.model_validate(raw, extra="forbid", by_alias=by_alias, by_name=True)
    except ValidationError as exc:
        raise TaskInputError(
            f"Task '{definition.name}': its result does not validate: {_problems(exc)}"
        ) from exc


def _problems(exc: ValidationError) -> str:
    # Without the values: they may be secret.
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or exc.title}: {problem['msg']}"
        for problem in exc.errors(include_url=False, include_input=False, include_context=False)
    )
