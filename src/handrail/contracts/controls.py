"""How often, how long and how many at once: the controls of a task.

`RetryPolicy` speaks both families' words. What is not said is resolved by whoever uses the
policy: the engine with its own defaults, a durable orchestrator with its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Logic = Literal["FIXED", "EXPONENTIAL_BACKOFF", "LINEAR_BACKOFF"]


#: Longest wait where a policy sets no limit, in seconds: a year.
_LONGEST = 365 * 86_400.0


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


@dataclass(frozen=True, slots=True)
class RetryRule:
    """A retry policy with everything said. The wait before retry n (from 1) is

        FIXED                delay_seconds
        LINEAR_BACKOFF       delay_seconds * n
        EXPONENTIAL_BACKOFF  delay_seconds * backoff_factor ** (n - 1)

    at most `max_delay_seconds` (0: no limit; a year is the longest), then times a random factor
    from 0.5 to 1.5 with `jitter`, plus up to `jitter_seconds`.
    """

    #: Attempts after the first.
    retry_count: int
    logic: Logic
    delay_seconds: float
    backoff_factor: float
    max_delay_seconds: float
    jitter: bool
    jitter_seconds: float

    def delay_before(self, retry: int, random: Callable[[], float]) -> float:
        """Seconds to wait before retry number `retry`; `random` returns 0 <= x < 1."""
        delay = min(self.delay_seconds * self._factor(retry), self.max_delay_seconds or _LONGEST)
        if self.jitter:
            delay *= 0.5 + random()
        return delay + self.jitter_seconds * random()

    def _factor(self, retry: int) -> float:
        if self.logic == "FIXED":
            return 1.0
        if self.logic == "LINEAR_BACKOFF":
            return float(retry)
        try:
            return self.backoff_factor ** (retry - 1)
        except OverflowError:
            return _LONGEST


#: What the engine does where a policy is silent: no retry; waits of 1, 2, 4 ... 60 seconds.
ENGINE_RULE = RetryRule(0, "EXPONENTIAL_BACKOFF", 1.0, 2.0, 60.0, False, 0.0)


class RetryPolicy(_Frozen):
    """When a failed attempt is followed by another.

    Both spellings are accepted, for one value only one of them:
    `count` or `max_retries`; `delay_seconds` or `initial_interval` (seconds);
    `max_delay_seconds` or `max_interval` (seconds); `jitter_ms` (milliseconds added at random)
    and `jitter` (a random factor from 0.5 to 1.5).

    `retry_on` limits retries to these classes, `never_on` excludes classes from them.
    """

    count: int = Field(default=3, ge=0, le=10)
    logic: Logic = "FIXED"
    delay_seconds: float = Field(default=60, ge=0)
    max_delay_seconds: float = Field(default=0, ge=0)
    jitter_ms: int = Field(default=0, ge=0)
    max_retries: int = Field(default=0, ge=0)
    initial_interval: float = Field(default=1.0, ge=0)
    backoff_factor: float = Field(default=2.0, ge=0)
    max_interval: float = Field(default=60.0, ge=0)
    jitter: bool = False
    retry_on: tuple[type[BaseException], ...] = ()
    never_on: tuple[type[BaseException], ...] = ()

    @model_validator(mode="after")
    def _one_spelling_each(self) -> RetryPolicy:
        for pair in (
            {"count", "max_retries"},
            {"delay_seconds", "initial_interval"},
            {"max_delay_seconds", "max_interval"},
        ):
            if pair <= self.model_fields_set:
                raise ValueError(f"{' and '.join(sorted(pair))} mean the same: say one of them")
        return self

    def rule(self, silent: RetryRule = ENGINE_RULE) -> RetryRule:
        """This policy with what it does not say taken from `silent`."""

        def said(default: float, *names: str) -> float:
            for name in names:
                if name in self.model_fields_set:
                    return float(getattr(self, name))
            return default

        delay = said(silent.delay_seconds, "delay_seconds", "initial_interval")
        return RetryRule(
            retry_count=int(said(silent.retry_count, "count", "max_retries")),
            logic=self.logic if "logic" in self.model_fields_set else silent.logic,
            delay_seconds=delay,
            backoff_factor=said(silent.backoff_factor, "backoff_factor"),
            max_delay_seconds=said(
                max(silent.max_delay_seconds, delay) if silent.max_delay_seconds else 0.0,
                "max_delay_seconds",
                "max_interval",
            ),
            jitter=bool(said(silent.jitter, "jitter")),
            jitter_seconds=said(silent.jitter_seconds * 1000, "jitter_ms") / 1000,
        )


class TimeoutPolicy(_Frozen):
    """Time limits of a task, in seconds; 0 is no limit.

    Args:
        policy: what a durable orchestrator does on time-out.
        seconds: limit of one attempt.
        response_seconds: a worker that is silent for so long is given up.
        poll_seconds: how long a task may wait for a worker.
        total_seconds: limit of all attempts together.
    """

    policy: Literal["RETRY", "TIME_OUT_WF", "ALERT_ONLY"] = "TIME_OUT_WF"
    seconds: int = Field(default=0, ge=0)
    response_seconds: int = Field(default=600, ge=0)
    poll_seconds: int = Field(default=0, ge=0)
    total_seconds: int = Field(default=0, ge=0)


class ExecutionLimits(_Frozen):
    """How many attempts at once, and how many in a span of seconds. None: no limit."""

    concurrent_exec_limit: int | None = Field(default=None, ge=0)
    rate_limit_frequency_in_seconds: int | None = Field(default=None, ge=0)
    rate_limit_per_frequency: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _rate_is_whole(self) -> ExecutionLimits:
        said = (self.rate_limit_frequency_in_seconds, self.rate_limit_per_frequency)
        if (said[0] is None) != (said[1] is None):
            raise ValueError(
                "rate_limit_frequency_in_seconds and rate_limit_per_frequency go together"
            )
        return self


class PublishBudget(_Frozen):
    """Seconds that publishing may take on a remote store; all are required."""

    observed_merge_p99_seconds: float = Field(ge=0)
    safety_margin_seconds: float = Field(ge=0)
    lakefs_merge_timeout_seconds: float = Field(ge=1)
    conductor_completion_timeout_seconds: float = Field(ge=1)
    worker_shutdown_grace_seconds: float = Field(ge=1)
    heartbeat_interval_seconds: float = Field(ge=1)

    @model_validator(mode="after")
    def _merge_fits(self) -> PublishBudget:
        needed = self.observed_merge_p99_seconds + self.safety_margin_seconds
        if self.lakefs_merge_timeout_seconds < needed:
            raise ValueError(f"lakefs_merge_timeout_seconds must be at least {needed:g}")
        return self

    @property
    def response_timeout_seconds(self) -> float:
        """How long a worker may be silent while it publishes, in seconds."""
        return (
            self.lakefs_merge_timeout_seconds
            + self.conductor_completion_timeout_seconds
            + self.worker_shutdown_grace_seconds
            + self.heartbeat_interval_seconds
        )


class TaskControls(_Frozen):
    """All controls of a typed task."""

    retry: RetryPolicy = RetryPolicy()
    timeout: TimeoutPolicy = TimeoutPolicy()
    limits: ExecutionLimits = ExecutionLimits()
    publish_budget: PublishBudget | None = None

    @field_validator("retry", "timeout", "limits", mode="before")
    @classmethod
    def _none_is_default(cls, value: object) -> object:
        return {} if value is None else value

    @property
    def response_timeout_seconds(self) -> int:
        """How long a worker may be silent, in seconds."""
        return self.timeout.response_seconds
