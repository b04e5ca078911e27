"""When the result of a task may be taken again instead of running its body."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from handrail.contracts.signature import Contract
from handrail.errors import TaskDefinitionError


class CachePolicy(BaseModel):
    """Lets a task's result be taken again while code, parameters and files are the same.

    Args:
        ttl_seconds: how long a result may be taken again; none: for ever.
        version: counts like code: with another one, earlier results are not taken.
        ignore: parameters (for a typed task: fields of `params`) that do not count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttl_seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    version: str = ""
    ignore: tuple[str, ...] = ()


def declared_policy(
    name: str, said: object, contract: Contract, *, inject_context: bool
) -> CachePolicy | None:
    """The policy that `@task(cache=said)` means; none: results are not taken again.

    Args:
        name: the task's name, for messages.

    Raises:
        TaskDefinitionError: `said` is no policy, or the task cannot have one.
    """
    policy = _policy(name, said)
    if policy is None:
        return None
    if inject_context:
        raise TaskDefinitionError(
            f"Task '{name}': cache and inject_context do not go together. What a body does with "
            f"its context (channel, questions, next tasks) would be left out when its result is "
            f"taken again. Leave out one of them."
        )
    known = _parameters(contract)
    unknown = [each for each in policy.ignore if each not in known]
    if unknown and not contract.open_ended:
        raise TaskDefinitionError(
            f"Task '{name}': cache ignores {unknown[0]!r}, which is no parameter of it. "
            f"It has: {', '.join(sorted(known)) or 'none'}."
        )
    return policy


def _policy(name: str, said: object) -> CachePolicy | None:
    if said is None or said is False:
        return None
    if said is True:
        return CachePolicy()
    if isinstance(said, CachePolicy):
        return said
    if isinstance(said, timedelta):
        said = said.total_seconds()
    if not isinstance(said, (int, float)):
        raise TaskDefinitionError(
            f"Task '{name}': cache={said!r} must be True, a time in seconds, a timedelta or a "
            f"CachePolicy."
        )
    try:
        return CachePolicy(ttl_seconds=said)
    except ValidationError as exc:
        raise TaskDefinitionError(
            f"Task '{name}': cache={said!r} is no length of time: it must be more than 0 seconds."
        ) from exc


def _parameters(contract: Contract) -> Collection[str]:
    if contract.params_model is not None:
        return contract.params_model.model_fields
    return {parameter.name for parameter in contract.parameters}
