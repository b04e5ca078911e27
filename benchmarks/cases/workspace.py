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

from benchmarks.case import Case, Contender, Figure, Figures, expect

_FOLDERS, _FILES, _SIZE_BYTES = 100, 100, 10_000
_TIMES = 3


def _fill(folder: Path) -> None:
    chance = random.Random(1)
    for number in range(_FOLDERS):
        below = folder / f"folder{number:03}"
        below.mkdir(parents=True)
        for name in range(_FILES):
            (below / f"file{name:03}.bin").write_bytes(chance.randbytes(_SIZE_BYTES))


class _Phases:
    """Wall times by phase, in milliseconds, of several attempts."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seen.setdefault(phase, []).append((time.perf_counter() - start) * 1000)

    def figures(self) -> Figures:
        """The median attempt by its total, with its phases."""
        attempts = [dict(zip(self.seen, one, strict=True)) for one in zip(*self.seen.values())]
        attempts = sorted(attempts[1:], key=lambda phases: sum(phases.values()))
        middle = attempts[len(attempts) // 2]
        return {"attempt": sum(middle.values()), **middle}


def _nothing(folder: Path, number: int) -> None:
    pass


def _one_file(folder: Path, number: int) -> None:
    (folder / "folder050" / "file050.bin").write_bytes(f"{number}".encode() * 2_000)


def _handrail(body: Callable[[Path, int], None]) -> Figures:
    from handrail import Attempt, WorkspaceSpec, task
    from handrail.contracts.workspace import BranchName
    from handrail.ids import Token
    from handrail.keep.base import Acceptance, Accepted, Commit
    from handrail.keep.checkout import Checkout
    from handrail.keep.home import Home
    from handrail.keep.objects import FileObjects
    from handrail.keep.sweep import AttemptFolders
    from handrail.keep.trees import Trees
    from handrail.run.transaction import OpenAttempt, Transaction

    from benchmarks.cases.events import RUN_ID, journal_with_a_run

    home = Home.open(Path("home"))
    trees, journal = Trees(FileObjects(home.objects)), journal_with_a_run()
    first = Checkout.create(trees, trees.empty_tree, Path("first"))
    _fill(first.path)
    ref = trees.put_commit(Commit(first.stage(), (), "first", 0))
    trees.objects.flush()
    shutil.rmtree(first.path)
    branch = BranchName("bench", "main")
    journal.move_head(branch, None, ref)
    transaction = Transaction(trees, journal, AttemptFolders(home.attempts), branch)
    definition = task("files", workspace=WorkspaceSpec())(_typed_body()).definition
    phases = _Phases()
    for number in range(1, _TIMES + 2):
        attempt = Attempt(
            f"{RUN_ID}-1-{number}", RUN_ID, "files", f"{RUN_ID}/{number}", Token(1, number), 1, ref
        )
        with phases("checkout"):
            opened = transaction.open(definition, attempt)
        assert isinstance(opened, OpenAttempt)
        body(opened.workspace, number)
        with phases("scan and stage"):
            staged = transaction.stage(opened, "bench", 0, {})
        with phases("accept"):
            reply = journal.accept(
                Acceptance(
                    run_id=RUN_ID,
                    logical_key=attempt.logical_key,
                    task_id="files",
                    attempt_id=attempt.attempt_id,
                    token=attempt.token,
                    result="null",
                    branch=branch,
                    input_ref=ref,
                    output_ref=staged,
                )
            )
        with phases("clean up"):
            transaction.close(opened)
        expect(isinstance(reply, Accepted), True)
        expect(staged == ref, body is _nothing)
        ref = staged
    return phases.figures()


def _typed_body() -> Callable[..., object]:
    from pydantic import BaseModel

    class Nothing(BaseModel):
        pass

    def files(workspace: Path, params: Nothing) -> Nothing:
        return params

    return files


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


def _case(name: str, what: str, body: Callable[[Path, int], None], budget: Figure) -> Case:
    return Case(
        name,
        f"An attempt on 10,000 files of 10 KB, by copies; its body changes {what}.",
        (
            budget,
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
    )


CASES = (
    _case(
        "workspace_unchanged",
        "nothing",
        _nothing,
        Figure("attempt", "ms", "≤ 504 ms with copies (0.35 of a peer's 1.44 s)", at_most=504.0),
    ),
    _case(
        "workspace_one_changed",
        "one file",
        _one_file,
        Figure("attempt", "ms", "unchanged + ≤ 20 ms", at_most=524.0),
    ),
)
