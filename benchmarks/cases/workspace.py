"""One attempt on a workspace of 10,000 files of 10 KB, phase by phase."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.case import Case, Contender, Figure, Figures, expect
from benchmarks.cases.events import RUN_ID, journal_with_a_run

if TYPE_CHECKING:
    from handrail import Attempt, TaskDefinition

_FOLDERS, _FILES, _SIZE_BYTES = 100, 100, 10_000
#: Attempts in one process, after one that is thrown away.
_TIMES = 1

Body = Callable[[Path, int], None]


def _fill(folder: Path) -> None:
    chance = random.Random(1)
    for number in range(_FOLDERS):
        below = folder / f"folder{number:03}"
        below.mkdir(parents=True)
        for name in range(_FILES):
            (below / f"file{name:03}.bin").write_bytes(chance.randbytes(_SIZE_BYTES))


def _nothing(folder: Path, number: int) -> None:
    pass


def _one_file(folder: Path, number: int) -> None:
    (folder / "folder050" / "file050.bin").write_bytes(f"{number}".encode() * 2_000)


class _Phases:
    """Wall times by phase of several attempts, and the CPU time of all their phases."""

    def __init__(self) -> None:
        self._seen: dict[str, list[float]] = {}
        self._cpu_seconds = 0.0

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start, cpu = time.perf_counter(), _cpu()
        yield
        self._seen.setdefault(phase, []).append((time.perf_counter() - start) * 1000)
        self._cpu_seconds += _cpu() - cpu

    def figures(self) -> Figures:
        """The median attempt by its total, with its phases; the first one is left out."""
        phases = list(self._seen)
        attempts = list(zip(*self._seen.values(), strict=True))
        middle = sorted(attempts[1:], key=sum)[(len(attempts) - 1) // 2]
        return {
            "attempt": sum(middle),
            "attempt, CPU": self._cpu_seconds * 1000 / len(attempts),
            **dict(zip(phases, middle, strict=True)),
        }


def _cpu() -> float:
    """CPU time of this process and of those that it waited for, in seconds."""
    return sum(os.times()[:4])


# Handrail


class _Store:
    """A branch of an embedded store, and attempts on it."""

    def __init__(self) -> None:
        from handrail.contracts.workspace import BranchName
        from handrail.keep.home import Home
        from handrail.keep.objects import FileObjects
        from handrail.keep.sweep import AttemptFolders
        from handrail.keep.trees import Trees
        from handrail.run.transaction import Transaction

        home = Home.open(Path("home"))
        self.trees = Trees(FileObjects(home.objects))
        self.journal = journal_with_a_run()
        self.branch = BranchName("bench", "main")
        self.transaction = Transaction(
            self.trees, self.journal, AttemptFolders(home.attempts), self.branch
        )
        self.ref = self._first_commit()
        self.journal.move_head(self.branch, None, self.ref)

    def _first_commit(self) -> str:
        from handrail.keep.base import Commit
        from handrail.keep.checkout import Checkout

        first = Checkout.create(self.trees, self.trees.empty_tree, Path("first"))
        _fill(first.path)
        ref = self.trees.put_commit(Commit(first.stage(), (), "first", 0))
        self.trees.objects.flush()
        shutil.rmtree(first.path)
        return ref

    def attempt(self, definition: TaskDefinition, number: int, body: Body, phases: _Phases) -> str:
        """One attempt from its token to its clean-up; returns the commit that it left."""
        from handrail import Attempt
        from handrail.ids import Token
        from handrail.keep.base import Accepted
        from handrail.run.transaction import OpenAttempt

        key = f"{RUN_ID}/{number}"
        attempt = Attempt(
            f"{RUN_ID}-1-{number}", RUN_ID, "files", key, Token(1, number), input_ref=self.ref
        )
        with phases("checkout"):
            opened = self.transaction.open(definition, attempt)
        assert isinstance(opened, OpenAttempt)
        body(opened.workspace, number)
        with phases("scan and stage"):
            staged = self.transaction.stage(opened, "bench", 0, {})
        with phases("accept"):
            reply = self._accept(attempt, staged)
        with phases("clean up"):
            self.transaction.close(opened)
        expect(type(reply), Accepted)
        return staged

    def _accept(self, attempt: Attempt, staged: str) -> object:
        from handrail.keep.base import Acceptance

        return self.journal.accept(
            Acceptance(
                run_id=attempt.run_id,
                logical_key=attempt.logical_key,
                task_id=attempt.task_id,
                attempt_id=attempt.attempt_id,
                token=attempt.token,
                result="null",
                branch=self.branch,
                input_ref=attempt.input_ref,
                output_ref=staged,
            )
        )


def _handrail(body: Body) -> Figures:
    store, definition, phases = _Store(), _definition(), _Phases()
    for number in range(1, _TIMES + 2):
        before, store.ref = store.ref, store.attempt(definition, number, body, phases)
        expect(store.ref == before, body is _nothing)
    return phases.figures()


def _definition() -> TaskDefinition:
    from pydantic import BaseModel

    from handrail import WorkspaceSpec, task

    class Nothing(BaseModel):
        pass

    @task(workspace=WorkspaceSpec())
    def files(workspace: Path, params: Nothing) -> Nothing:
        return params

    return files.definition


# The floor


def _copy() -> Figures:
    """`cp -r` of the same files, and `rm -r` of the copy."""
    source = Path("source")
    _fill(source)
    os.sync()
    phases = _Phases()
    for _ in range(_TIMES + 1):
        with phases("checkout"):
            subprocess.run(["cp", "-r", "source", "copy"], check=True)
        with phases("clean up"):
            subprocess.run(["rm", "-r", "copy"], check=True)
    return phases.figures()


def _case(name: str, where: str, what: str, body: Body, budget: Figure, disk: str = "") -> Case:
    return Case(
        name,
        f"An attempt on 10,000 files of 10 KB on {where}, by copies; its body changes {what}.",
        (
            budget,
            Figure("attempt, CPU", "ms CPU"),
            Figure("checkout", "ms"),
            Figure("scan and stage", "ms"),
            Figure("accept", "ms"),
            Figure("clean up", "ms"),
        ),
        (
            Contender("handrail", partial(_handrail, body)),
            Contender("cp -r, rm -r", _copy),
        ),
        is_slow=True,
        disk=disk,
    )


_UNCHANGED = Figure("attempt", "ms", "≤ 504 ms by copies (0.35 of a peer's 1.44 s)", at_most=504.0)
_ONE = Figure("attempt", "ms", "unchanged + ≤ 20 ms")

#: A disk can be so slow at making files that nothing else is seen; memory shows our own part.
_MEMORY = "/dev/shm"

CASES = (
    _case("workspace_unchanged", "disk", "nothing", _nothing, _UNCHANGED),
    _case("workspace_one_changed", "disk", "one file", _one_file, _ONE),
    _case("workspace_unchanged_tmpfs", "tmpfs", "nothing", _nothing, _UNCHANGED, _MEMORY),
    _case("workspace_one_changed_tmpfs", "tmpfs", "one file", _one_file, _ONE, _MEMORY),
)
