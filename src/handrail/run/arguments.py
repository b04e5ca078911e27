"""Takes the arguments of a body from where the plan says they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from handrail.contracts.resource import ResourceHandle
from handrail.errors import TaskInputError
from handrail.flow.plan import Binding, Node, Plan
from handrail.run.body import check_params
from handrail.run.context import ExecutionContext

_MISSING: Any = object()


class Arguments:
    """Binds arguments from a run's results and channel."""

    def __init__(self, plan: Plan, context: ExecutionContext) -> None:
        self._plan = plan
        self._context = context

    def bind(self, node: Node) -> dict[str, Any]:
        """The arguments of a node's body, by parameter.

        Raises:
            TaskInputError: one is nowhere, or in two places.
        """
        arguments: dict[str, Any] = {}
        results, channel = self._context.results, self._context.channel
        for binding in node.bindings:
            parameter, source, key = binding.parameter, binding.source, binding.key
            upstream = self._plan.nodes[binding.node].name if binding.node >= 0 else None
            if source == "bound":
                arguments[parameter] = binding.value
            elif source == "resource":
                arguments[parameter] = ResourceHandle(self._context.run_id, binding.value)
            elif upstream is not None and upstream in results:
                arguments[parameter] = results[upstream]
            elif source == "field" and (found := self._fields(node, binding)):
                arguments[parameter] = found[0]
            elif (value := channel.get(key, _MISSING)) is not _MISSING:
                arguments[parameter] = value
            elif binding.required:
                raise TaskInputError(
                    f"Task '{node.name}' needs '{key}', and neither an upstream result nor "
                    f"the channel has it."
                )
        return arguments

    def _fields(self, node: Node, binding: Binding) -> list[Any]:
        found, names = [], []
        for index in binding.nodes:
            parent = self._plan.nodes[index].name
            result = self._context.results.get(parent)
            if isinstance(result, BaseModel) and binding.parameter in type(result).model_fields:
                found.append(getattr(result, binding.parameter))
                names.append(parent)
            elif isinstance(result, Mapping) and binding.parameter in result:
                found.append(result[binding.parameter])
                names.append(parent)
        if len(found) > 1:
            raise TaskInputError(
                f"Task '{node.name}': '{binding.parameter}' is in the results of "
                f"{' and '.join(names)}; bind it to say which is meant."
            )
        return found


def check_inputs(plan: Plan, context: ExecutionContext) -> None:
    """Checks the `params` that are made of a run's inputs alone, before anything runs.

    Raises:
        TaskInputError: they do not fit the task's model.
    """
    arguments = Arguments(plan, context)
    for node in plan.starts:
        definition = node.definition
        if definition is None or definition.contract.params_model is None or node.items:
            continue
        if all(binding.source in ("bound", "channel") for binding in node.bindings):
            check_params(definition, arguments.bind(node))
