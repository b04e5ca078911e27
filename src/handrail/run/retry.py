"""Whether a failed attempt is followed by another, and when. Decides; somebody else acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from handrail.contracts.task import TaskDefinition
from handrail.errors import HandrailError


class RetryDecision(NamedTuple):
    """Try again in `delay_seconds`."""

    delay_seconds: float


def decide_retry(
    definition: TaskDefinition,
    error: BaseException,
    try_number: int,
    random: Callable[[], float],
) -> RetryDecision | None:
    """Another attempt after `error` in try number `try_number` (from 1), or none."""
    policy = definition.retry
    rule = policy.rule()
    if try_number > rule.retry_count or not may_retry(error):
        return None
    if policy.retry_on and not isinstance(error, policy.retry_on):
        return None
    if isinstance(error, policy.never_on):
        return None
    return RetryDecision(rule.delay_before(try_number, random))


def may_retry(error: BaseException) -> bool:
    """Could another attempt do better? Handrail's errors say so themselves; others may."""
    if isinstance(error, HandrailError):
        return error.retryable
    return isinstance(error, Exception)
