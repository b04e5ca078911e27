"""An attempt on its way from submit to settle, and what is fixed for its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from handrail.contracts.attempt import Attempt
from handrail.flow.plan import Node
from handrail.ids import Token
from handrail.keep.base import Adopted
from handrail.run.control import Request

if TYPE_CHECKING:
    from handrail.keep.reuse import KeptResults
    from handrail.run.reuse import Lookup

_NO_ARGUMENTS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class RunSetting:
    """What is fixed for one epoch of a run."""

    run_id: str
    workflow: str = "workflow"
    epoch: int = 1
    #: First part of logical keys: the run's id, or its start key.
    key: str = ""
    max_workers: int | None = None
    max_steps: int | None = None
    #: Longest time that the epoch may take.
    timeout_seconds: float | None = None
    #: Commit that tasks without an earlier writer start from.
    base_ref: str | None = None
    made_by: dict[str, str] = field(default_factory=dict)
    #: Where tasks with a cache find earlier results; none: their bodies run.
    kept_results: KeptResults | None = None

    def attempt_id(self, sequence: int) -> str:
        """Run, epoch and sequence: the token in words."""
        return f"{self.run_id}-{self.epoch}-{sequence}"


class Flight:
    """An attempt between submit and settle."""

    __slots__ = (
        "_attempt",
        "_attempt_id",
        "adopted",
        "arguments",
        "definition",
        "error",
        "input_ref",
        "is_fenced",
        "lookup",
        "node",
        "output_ref",
        "requests",
        "rerun_epoch",
        "round",
        "sequence",
        "setting",
        "try_number",
        "value",
    )

    def __init__(self, setting: RunSetting, node: Node, sequence: int, try_number: int) -> None:
        definition = node.definition
        assert definition is not None
        self.setting = setting
        self.node = node
        self.definition = definition
        self.sequence = sequence
        self.try_number = try_number
        self.arguments: Mapping[str, Any] = _NO_ARGUMENTS
        #: 1 for the first time the task runs in this run, more in loops.
        self.round = 1
        #: Epoch of the resume that wants it to run again; 0: none.
        self.rerun_epoch = 0
        #: What the body asked for.
        self.requests: Sequence[Request] = ()
        self.input_ref: str | None = None
        self.output_ref: str | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.adopted: Adopted | None = None
        #: What was kept of it, for tasks with a cache.
        self.lookup: Lookup | None = None
        #: Given up: what comes back of it is refused.
        self.is_fenced = False
        self._attempt: Attempt | None = None
        self._attempt_id = ""

    @property
    def attempt_id(self) -> str:
        """Run, epoch and sequence: the token in words."""
        if not self._attempt_id:
            self._attempt_id = self.setting.attempt_id(self.sequence)
        return self._attempt_id

    @property
    def attempt(self) -> Attempt:
        """The attempt as others see it. Made when first asked for: most bodies never do."""
        if self._attempt is None:
            setting = self.setting
            self._attempt = Attempt(
                self.attempt_id,
                setting.run_id,
                self.node.name,
                self._logical_key(),
                Token(setting.epoch, self.sequence),
                self.try_number,
                iteration=self.round,
                max_cycles=self.definition.max_cycles,
                max_retries=self.definition.retry.rule().retry_count,
                input_ref=self.input_ref,
            )
        return self._attempt

    def _logical_key(self) -> str:
        key = f"{self.setting.key}/{self.node.name}"
        if self.rerun_epoch:
            key = f"{key}~{self.rerun_epoch}"
        if self.round > 1:
            key = f"{key}/{self.round}"
        return f"{key}@{self.input_ref}" if self.input_ref is not None else key
