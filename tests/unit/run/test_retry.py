from __future__ import annotations

from typing import Any

import pytest

from handrail.contracts.controls import RetryPolicy
from handrail.contracts.task import TaskDefinition, task
from handrail.errors import (
    AttemptTimeout,
    PostGuardrailViolation,
    PreGuardrailViolation,
    PublishFenceError,
    StaleAttemptError,
    TaskFailed,
    TaskInputError,
    TaskTerminalError,
    UnknownHandlerError,
    WorkerLost,
)
from handrail.run.retry import RetryDecision, decide_retry, may_retry


def definition(**keywords: Any) -> TaskDefinition:
    declare: Any = task
    made: TaskDefinition = declare(**keywords)(lambda: None).definition
    return made


def decide(made: TaskDefinition, error: BaseException, try_number: int = 1) -> float | None:
    decision = decide_retry(made, error, try_number, lambda: 0.0)
    return None if decision is None else decision.delay_seconds


def test_without_a_word_nothing_is_repeated() -> None:
    assert decide(definition(), OSError()) is None


def test_tries_are_counted_after_the_first() -> None:
    made = definition(max_retries=2)
    assert [decide(made, OSError(), number) for number in (1, 2, 3)] == [1.0, 2.0, None]


def test_the_policy_says_when() -> None:
    made = definition(retry_policy=RetryPolicy(count=1, logic="FIXED", delay_seconds=7))
    assert decide_retry(made, OSError(), 1, lambda: 0.0) == RetryDecision(7.0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(), True),
        (ValueError(), True),
        (TaskFailed("x"), True),
        (PostGuardrailViolation("x"), True),
        (AttemptTimeout("t", 1, stopped=True), True),
        (WorkerLost("x"), True),
        (TaskTerminalError("x"), False),
        (PreGuardrailViolation("x"), False),
        (TaskInputError("x"), False),
        (StaleAttemptError("t"), False),
        (PublishFenceError("b", "1", "2"), False),
        (UnknownHandlerError("h"), False),
        (KeyboardInterrupt(), False),
        (SystemExit(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_class_of_an_error_says_whether_another_try_may_do_better(
    error: BaseException, expected: bool
) -> None:
    assert may_retry(error) is expected
    assert (decide(definition(max_retries=1), error) is not None) is expected


def test_a_policy_may_narrow_what_is_repeated() -> None:
    only = definition(retry_policy=RetryPolicy(max_retries=1, retry_on=(OSError,)))
    assert decide(only, FileNotFoundError()) is not None
    assert decide(only, ValueError()) is None
    never = definition(retry_policy=RetryPolicy(max_retries=1, never_on=(FileNotFoundError,)))
    assert decide(never, OSError()) is not None
    assert decide(never, FileNotFoundError()) is None


def test_a_policy_does_not_widen_what_is_repeated() -> None:
    wide = definition(retry_policy=RetryPolicy(max_retries=1, retry_on=(TaskInputError,)))
    assert decide(wide, TaskInputError("x")) is None
