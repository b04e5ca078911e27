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
#: Attempts in one process, after one that is thrown away (its files are not yet cached).
_TIMES = 3

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
    """A branch of an embedded store, and attempts on it, their files made one way."""

    def __init__(self, way: str) -> None:
        from handrail.contracts.workspace import BranchName
        from handrail.keep.embedded_files import EmbeddedFiles
        from handrail.keep.home import Home
        from handrail.keep.objects import FileObjects
        from handrail.keep.sweep import AttemptFolders
        from handrail.keep.tree_cache import TreeCache
        from handrail.keep.trees import Trees
        from handrail.keep.ways import Ways
        from handrail.run.transaction import Transaction

        home = Home.open(Path("home"))
        self.trees = Trees(FileObjects(home.objects))
        self.journal = journal_with_a_run()
        self.branch = BranchName("bench", "main")
        ways = Ways(home.attempts, TreeCache(home.trees), only=way)
        problems = [each.problem for each in ways.report() if each.name == way]
        if problems != [None]:
            raise RuntimeError(f"no {way} here: {problems[0]}")
        folders = AttemptFolders(home.attempts, ways=ways)
        files = EmbeddedFiles(
            "bench",
            self.trees,
            self.journal,
            lambda trees, tree, path: folders.check_out(trees, tree, path.parent),
        )
        self.transaction = Transaction(files, self.journal, folders, self.branch)
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

        key = f"{RUN_ID}/{number}"
        attempt = Attempt(
            f"{RUN_ID}-1-{number}", RUN_ID, "files", key, Token(1, number), input_ref=self.ref
        )
        files = self.transaction.files_of(definition, attempt, "bench", {})
        with phases("checkout"):
            expect(self.transaction.begin(attempt), None)
            workspace = files.open()
        with phases("body"):
            body(workspace, number)
        with phases("scan and stage"):
            staged = files.stage() if files.has_changed() else self.ref
        with phases("accept"):
            reply = self._accept(attempt, staged)
        with phases("clean up"):
            files.close()
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


def _handrail(way: str, body: Body) -> Figures:
    store, definition, phases = _Store(way), _definition(), _Phases()
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


# Others


def _cp(body: Body) -> Figures:
    """`cp -r` of the same files, and `rm -r` of the copy: nothing is looked at or kept."""
    return _copies(
        body,
        lambda: subprocess.run(["cp", "-r", "source", "copy"], check=True),
        lambda: subprocess.run(["rm", "-r", "copy"], check=True),
    )


def _copytree(body: Body) -> Figures:
    """The same by the standard library."""
    return _copies(body, lambda: shutil.copytree("source", "copy"), lambda: shutil.rmtree("copy"))


def _copies(body: Body, check_out: Callable[[], object], clean_up: Callable[[], object]) -> Figures:
    _fill(Path("source"))
    os.sync()
    phases = _Phases()
    for number in range(1, _TIMES + 2):
        with phases("checkout"):
            check_out()
        with phases("body"):
            body(Path("copy"), number)
        with phases("clean up"):
            clean_up()
    return phases.figures()


def _git(body: Body) -> Figures:
    """A worktree of a repository, and a commit of it to a branch that is compared and moved."""
    if shutil.which("git") is None:
        raise RuntimeError("there is no git here")
    _fill(Path("source"))
    head = _git_repository()
    phases = _Phases()
    for number in range(1, _TIMES + 2):
        with phases("checkout"):
            _run_git("worktree", "add", "--detach", "../copy", head)
        with phases("body"):
            body(Path("copy"), number)
        with phases("scan and stage"):
            staged = _git_commit(head)
        with phases("accept"):
            _run_git("update-ref", "refs/heads/bench", staged, head)
        with phases("clean up"):
            _run_git("worktree", "remove", "--force", "../copy")
        expect(staged == head, body is _nothing)
        head = staged
    return phases.figures()


def _git_repository() -> str:
    _run_git("init", "--quiet")
    _run_git("add", "--all")
    _run_git("commit", "--quiet", "--message", "first")
    head = _run_git("rev-parse", "HEAD")
    _run_git("update-ref", "refs/heads/bench", head)
    return head


def _git_commit(head: str) -> str:
    _run_git("add", "--all", folder="copy")
    if not _run_git("status", "--porcelain", folder="copy"):
        return head
    _run_git("commit", "--quiet", "--message", "bench", folder="copy")
    return _run_git("rev-parse", "HEAD", folder="copy")


def _run_git(*words: str, folder: str = "source") -> str:
    who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]
    ended = subprocess.run(
        ["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True
    )
    return ended.stdout.strip()


# Cases


def _case(
    name: str, way: str, where: str, what: str, body: Body, budget: Figure, disk: str = ""
) -> Case:
    return Case(
        name,
        f"An attempt on 10,000 files of 10 KB on {where}, by {way}; its body changes {what}.",
        (
            budget,
            Figure("attempt, CPU", "ms CPU"),
            Figure("checkout", "ms"),
            Figure("body", "ms"),
            Figure("scan and stage", "ms"),
            Figure("accept", "ms"),
            Figure("clean up", "ms"),
        ),
        (
            Contender("handrail", partial(_handrail, way, body)),
            Contender("cp -r, rm -r", partial(_cp, body)),
            Contender("shutil", partial(_copytree, body)),
            Contender("git worktree", partial(_git, body)),
        ),
        is_slow=True,
        disk=disk,
    )


_OVERLAY = Figure("attempt", "ms", "≤ 150 ms by overlay", at_most=150.0)
_COPIES = Figure("attempt", "ms", "≤ 504 ms by copies (0.35 of a peer's 1.44 s)", at_most=504.0)
_ONE = Figure("attempt", "ms", "unchanged + ≤ 20 ms")

#: A disk can be so slow at making files that nothing else is seen; memory shows our own part.
_MEMORY = "/dev/shm"


def _cases() -> tuple[Case, ...]:
    found = []
    for way, mark, budget in (("overlay", "_overlay", _OVERLAY), ("copies", "", _COPIES)):
        for where, end, disk in (("disk", "", ""), ("tmpfs", "_tmpfs", _MEMORY)):
            names = f"workspace_unchanged{mark}{end}", f"workspace_one_changed{mark}{end}"
            found.append(_case(names[0], way, where, "nothing", _nothing, budget, disk))
            found.append(_case(names[1], way, where, "one file", _one_file, _ONE, disk))
    return tuple(found)


CASES = _cases()
