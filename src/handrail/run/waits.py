"""Questions to people: asked by a body, answered by anyone, later, from anywhere.

A body that asks is not kept: its attempt ends as waiting and its thread is free. When the answer
is in the journal the body runs again from its start, and the same question, the n-th it asks,
returns the answer. So everything before a question may happen more than once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from handrail.errors import TaskInputError


@dataclass(frozen=True, slots=True)
class Wait:
    """One question."""

    #: The same whenever the same body asks the same question again.
    wait_id: str
    #: "approval", "text", "selection", or "feedback".
    kind: str
    prompt: str
    task: str
    #: What may be chosen, for selections.
    options: tuple[str, ...] = ()
    #: How long the process that runs the body waits before it gives the run back (seconds).
    timeout_seconds: float = 0.0

    def to_data(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "options": list(self.options)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Wait:
        """What `to_data` made."""
        return cls(**{**data, "options": tuple(data["options"])})

    def check(self, value: Any) -> Any:
        """The answer, in the form the body gets it.

        Raises:
            TaskInputError: it is no answer to this question; says what is.
        """
        if self.kind == "approval":
            return self._approval(value)
        if self.kind == "text" and not isinstance(value, str):
            raise self._refused(value, "a text")
        if self.kind == "selection" and value not in self.options:
            raise self._refused(value, f"one of {', '.join(self.options)}")
        try:
            json.dumps(value)
        except (TypeError, ValueError) as exc:
            raise self._refused(value, f"plain data ({exc})") from exc
        return value

    def _approval(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        answers = {"yes": True, "true": True, "approve": True, "no": False, "false": False}
        if isinstance(value, str) and value.lower() in {*answers, "reject"}:
            return answers.get(value.lower(), False)
        raise self._refused(value, "yes or no")

    def _refused(self, value: Any, expected: str) -> TaskInputError:
        return TaskInputError(
            f"Task '{self.task}' asks {self.prompt!r}: {value!r} is no answer, expected {expected}."
        )


class WaitingForAnswer(BaseException):
    """Leaves a body that asked a question. Not an `Exception`: no body should catch it."""

    def __init__(self, wait: Wait) -> None:
        self.wait = wait
        super().__init__(wait.prompt)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.wait,)


class Asking:
    """Questions of one attempt, counted."""

    def __init__(self, task: str, logical_key: str, answers: Mapping[str, Any]) -> None:
        self._task = task
        self._key = logical_key
        self._answers = answers
        self._count = 0

    def ask(
        self, kind: str, prompt: str, options: Sequence[str] = (), timeout: float | None = None
    ) -> Any:
        """The answer, if there is one; else leaves the body."""
        self._count += 1
        wait_id = f"{self._key}#{self._count}"
        if wait_id in self._answers:
            return self._answers[wait_id]
        raise WaitingForAnswer(
            Wait(wait_id, kind, prompt, self._task, tuple(options), timeout or 0.0)
        )
