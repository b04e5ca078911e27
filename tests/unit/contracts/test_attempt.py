from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from handrail.contracts.attempt import Attempt, assert_current_attempt_snapshot
from handrail.errors import StaleAttemptError
from handrail.ids import Token


def snapshot(**changes: Any) -> SimpleNamespace:
    values = {
        "status": "IN_PROGRESS",
        "workflow_instance_id": "w",
        "task_id": "t",
        "retry_count": 0,
        "worker_id": "a",
    }
    return SimpleNamespace(**{**values, **changes})


def test_the_same_attempt_is_current() -> None:
    assert_current_attempt_snapshot(snapshot(), snapshot(worker_id="b", poll_count=3))


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "TIMED_OUT"},
        {"workflow_instance_id": "other"},
        {"task_id": "other"},
        {"retry_count": 1},
    ],
)
def test_another_attempt_is_stale(changes: dict[str, Any]) -> None:
    with pytest.raises(StaleAttemptError, match=next(iter(changes))) as caught:
        assert_current_attempt_snapshot(snapshot(), snapshot(**changes))
    assert caught.value.task_id == "t"


def test_a_missing_attribute_is_an_error_of_the_caller() -> None:
    fresh = snapshot()
    del fresh.retry_count
    with pytest.raises(AttributeError):
        assert_current_attempt_snapshot(snapshot(), fresh)


def test_retries_are_counted_from_the_second_try() -> None:
    attempt = Attempt("r-1-3", "r", "t", "r/t", Token(1, 3), try_number=3)
    assert attempt.retry_count == 2
