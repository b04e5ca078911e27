from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from handrail.contracts.controls import (
    ENGINE_RULE,
    ExecutionLimits,
    Logic,
    PublishBudget,
    RetryPolicy,
    RetryRule,
    TaskControls,
    TimeoutPolicy,
)


def delays(policy: RetryPolicy, count: int, chance: float = 0.0) -> list[float]:
    rule = policy.rule()
    return [rule.delay_before(number, lambda: chance) for number in range(1, count + 1)]


def test_a_silent_policy_is_resolved_by_whoever_uses_it() -> None:
    assert RetryPolicy().rule() == ENGINE_RULE
    theirs = RetryRule(3, "FIXED", 60.0, 2.0, 0.0, False, 0.0)
    assert RetryPolicy().rule(theirs) == theirs
    assert RetryPolicy(count=1).rule(theirs).retry_count == 1


def test_what_is_not_said_reads_as_each_family_documents_it() -> None:
    policy = RetryPolicy()
    assert (policy.count, policy.logic, policy.delay_seconds) == (3, "FIXED", 60)
    assert (policy.max_delay_seconds, policy.jitter_ms) == (0, 0)
    assert (policy.max_retries, policy.initial_interval, policy.backoff_factor) == (0, 1.0, 2.0)
    assert (policy.max_interval, policy.jitter) == (60.0, False)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"count": 2}, {"max_retries": 2}),
        ({"delay_seconds": 3}, {"initial_interval": 3}),
        ({"max_delay_seconds": 9}, {"max_interval": 9}),
    ],
)
def test_both_spellings_mean_the_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert RetryPolicy(**first).rule() == RetryPolicy(**second).rule()
    with pytest.raises(ValidationError, match="mean the same: say one of them"):
        RetryPolicy(**first, **second)


@pytest.mark.parametrize(
    ("logic", "expected"),
    [
        ("FIXED", [2.0, 2.0, 2.0, 2.0]),
        ("LINEAR_BACKOFF", [2.0, 4.0, 6.0, 8.0]),
        ("EXPONENTIAL_BACKOFF", [2.0, 6.0, 18.0, 54.0]),
    ],
)
def test_waits_follow_the_logic(logic: Logic, expected: list[float]) -> None:
    policy = RetryPolicy(count=4, logic=logic, delay_seconds=2, backoff_factor=3)
    assert delays(policy, 4) == expected


def test_waits_are_bounded() -> None:
    assert delays(RetryPolicy(initial_interval=1), 8)[-2:] == [60.0, 60.0]
    assert delays(RetryPolicy(initial_interval=1, max_interval=5), 4) == [1, 2, 4, 5]
    assert delays(RetryPolicy(initial_interval=90), 2) == [90, 90]  # longer than the default bound
    unbounded = RetryPolicy(initial_interval=1, max_interval=0, backoff_factor=10)
    assert delays(unbounded, 5) == [1, 10, 100, 1000, 10_000]


def test_jitter_is_a_factor_or_milliseconds_on_top() -> None:
    assert delays(RetryPolicy(initial_interval=2, jitter=True), 1, 0.0) == [1.0]
    assert delays(RetryPolicy(initial_interval=2, jitter=True), 1, 0.999) == [pytest.approx(2.998)]
    assert delays(RetryPolicy(delay_seconds=2, jitter_ms=500), 1, 0.5) == [2.25]


@given(
    st.builds(
        RetryRule,
        retry_count=st.integers(0, 10_000),
        logic=st.sampled_from(["FIXED", "LINEAR_BACKOFF", "EXPONENTIAL_BACKOFF"]),
        delay_seconds=st.floats(0, 1e300),
        backoff_factor=st.floats(0, 1e300),
        max_delay_seconds=st.floats(0, 1e6),
        jitter=st.booleans(),
        jitter_seconds=st.floats(0, 10),
    ),
    st.integers(1, 10_000),
    st.floats(0, 0.999),
)
def test_a_wait_is_always_a_time_that_can_be_waited_for(
    rule: RetryRule, retry: int, chance: float
) -> None:
    delay = rule.delay_before(retry, lambda: chance)
    longest = rule.max_delay_seconds or 366 * 86_400
    assert 0 <= delay <= longest * 1.5 + rule.jitter_seconds


@pytest.mark.parametrize(
    "values",
    [
        {"count": 11},
        {"count": -1},
        {"max_retries": -1},
        {"delay_seconds": -1},
        {"jitter_ms": -1},
        {"logic": "SOMETIMES"},
        {"backoff_factor": -2},
        {"retries": 3},
    ],
)
def test_policies_that_cannot_be_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        RetryPolicy(**values)


def test_controls_are_frozen() -> None:
    with pytest.raises(ValidationError):
        RetryPolicy().count = 3  # type: ignore[misc]


def test_rates_go_together() -> None:
    limits = ExecutionLimits(rate_limit_frequency_in_seconds=1, rate_limit_per_frequency=2)
    assert limits.rate_limit_per_frequency == 2
    with pytest.raises(ValidationError, match="go together"):
        ExecutionLimits(rate_limit_per_frequency=2)
    with pytest.raises(ValidationError):
        ExecutionLimits(concurrent_exec_limit=-1)


def test_timeouts_have_the_documented_defaults() -> None:
    policy = TimeoutPolicy()
    assert (policy.policy, policy.seconds, policy.response_seconds) == ("TIME_OUT_WF", 0, 600)
    assert (policy.poll_seconds, policy.total_seconds) == (0, 0)


def budget(**changes: float) -> PublishBudget:
    values: dict[str, Any] = {
        "observed_merge_p99_seconds": 2,
        "safety_margin_seconds": 3,
        "lakefs_merge_timeout_seconds": 5,
        "conductor_completion_timeout_seconds": 7,
        "worker_shutdown_grace_seconds": 11,
        "heartbeat_interval_seconds": 13,
    }
    return PublishBudget(**{**values, **changes})


def test_a_publish_budget_adds_up() -> None:
    assert budget().response_timeout_seconds == 5 + 7 + 11 + 13
    with pytest.raises(ValidationError, match="at least 5"):
        budget(lakefs_merge_timeout_seconds=4.9)
    with pytest.raises(ValidationError):
        budget(heartbeat_interval_seconds=0)


def test_controls_hold_all_of_them() -> None:
    controls = TaskControls(timeout=TimeoutPolicy(response_seconds=30), publish_budget=budget())
    assert controls.response_timeout_seconds == 30
    assert controls.retry == RetryPolicy()
    empty: Any = None
    assert TaskControls(retry=empty, timeout=empty, limits=empty) == TaskControls()
    with pytest.raises(ValidationError, match="retries"):
        TaskControls(retries=3)  # type: ignore[call-arg]
