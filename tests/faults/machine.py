"""The engine as a state machine: random workflows, run, broken, cut short, mended and resumed.

Whatever happens to it on the way, a run ends with what the model of its shape says, each piece
of work is accepted once, and none that was accepted runs again.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from handrail import RunFailed, Runtime, RunWaiting, StoreError, load_settings
from handrail.contracts import event as kinds
from tests.faults.failing import Failing
from tests.faults.shapes import BOOKS, Books, Builder, Chain, Model, Work, leaves, shapes

_numbers = itertools.count()


class EngineMachine(RuleBasedStateMachine):
    """One run of one workflow."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="handrail-machine-"))
        self.settings = load_settings(
            flags={"home": self.folder / ".handrail", "capture_output": False, "tracking": False},
            environment={},
        )
        self.runtime = Runtime(self.settings)
        self.number = next(_numbers)
        self.books = BOOKS[self.number] = Books()
        self.run_id: str | None = None
        self.result: Any = None
        self.is_over = False

    @initialize(shape=shapes())
    def begin(self, shape: Chain) -> None:
        """Composes a workflow. Where nothing stands against it, it is run in memory, too."""
        self.shape = shape
        self.model = Model()
        self.expected = self.model.value(shape)
        self.flow = Builder(shape, self.books, self.number).flow
        if not any(isinstance(leaf, Work) and leaf.asks for leaf in leaves(shape)):
            assert self.runtime.execute(self.flow, journal="memory") == self.expected
            self.books.keys.clear()
        self.books.broken = {leaf.name for leaf in leaves(shape) if leaf.broken_from}

    @rule()
    def go_on(self) -> None:
        """Starts or resumes the run."""
        self._drive()

    @rule(at=st.integers(1, 30), is_reply_lost=st.booleans())
    def go_on_with_a_fault(self, at: int, is_reply_lost: bool) -> None:
        """Starts or resumes the run, and a call of the journal fails."""
        journal: Any = self.runtime.journal
        vars(self.runtime)["journal"] = Failing(journal, [at], is_reply_lost)
        try:
            self._drive()
        finally:
            vars(self.runtime)["journal"] = journal

    @rule(choice=st.integers(0, 99))
    def mend(self, choice: int) -> None:
        """Mends one task."""
        if self.books.broken:
            self.books.broken.remove(sorted(self.books.broken)[choice % len(self.books.broken)])

    @rule(choice=st.integers(0, 99))
    def answer(self, choice: int) -> None:
        """Answers one question."""
        waits = self.runtime.waits(self.run_id) if self.run_id else []
        if waits:
            wait_id = waits[choice % len(waits)].wait_id
            self.runtime.answer(str(self.run_id), "yes", wait_id=wait_id)

    @rule()
    def open_again(self) -> None:
        """As a later process would."""
        self.runtime.close()
        self.runtime = Runtime(self.settings)

    @invariant()
    def nothing_is_accepted_twice(self) -> None:
        """In the journal each piece of work succeeded once, and did not begin after that."""
        if self.run_id is None:
            return
        accepted: dict[str, str] = {}
        for attempt, _ in self._accepted():
            key = self.books.keys[attempt]
            assert key not in accepted, f"{key} was accepted twice"
            accepted[key] = attempt
        for attempt, key in [*self.books.keys.items()]:
            if key in accepted:
                ours, its = _token(attempt), _token(accepted[key])
                assert ours <= its, f"{key} ran again after it was accepted"

    def teardown(self) -> None:
        """Mends and answers everything: the run must end as the model says."""
        try:
            if hasattr(self, "shape"):
                self._finish()
        finally:
            self.runtime.close()
            BOOKS.pop(self.number)
            shutil.rmtree(self.folder)

    def _finish(self) -> None:
        self.books.broken.clear()
        for _ in range(100):
            if self.is_over:
                break
            self._drive()
            for wait in self.runtime.waits(self.run_id) if self.run_id else ():
                self.runtime.answer(str(self.run_id), True, wait_id=wait.wait_id)
        assert self.is_over, "the run does not end"
        assert self.result == self.expected
        assert self._successes() == self.model.successes
        self.nothing_is_accepted_twice()
        again = self.runtime.resume(str(self.run_id), self.flow)
        assert again == self.expected

    def _drive(self) -> None:
        """One epoch, however it ends."""
        if self.is_over:
            return
        ending: Exception | None = None
        try:
            if self.run_id is None:
                self.result = self.runtime.execute(self.flow, key="machine")
            else:
                self.result = self.runtime.resume(self.run_id, self.flow)
            self.is_over = True
        except (RunFailed, RunWaiting, StoreError) as error:
            ending = error
        if isinstance(ending, RunFailed) and not isinstance(ending.cause, StoreError):
            assert self._is_broken(str(ending.task_id))
        self._find_run()

    def _is_broken(self, task_id: str) -> bool:
        """Is it a task that was not mended, or a group around one?"""
        return task_id.partition("[")[0] in self.books.broken or task_id.startswith("group_")

    def _find_run(self) -> None:
        journal = self.runtime.journal
        runs = getattr(journal, "inner", journal).runs()
        assert len(runs) <= 1
        self.run_id = runs[0].run_id if runs else None

    def _accepted(self) -> list[tuple[str, str]]:
        return [
            (stored.event.attempt, stored.event.task)
            for stored in self.runtime.journal.events(str(self.run_id))
            if stored.event.kind == kinds.TASK_SUCCEEDED and stored.event.attempt
        ]

    def _successes(self) -> Counter[str]:
        return Counter(task for _, task in self._accepted())


def _token(attempt: str) -> tuple[int, int]:
    _, epoch, sequence = attempt.rsplit("-", 2)
    return int(epoch), int(sequence)
