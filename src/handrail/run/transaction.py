"""Publishing: the only place that knows in which order it is done.

    ref -> token -> checkout -> (guards, body, guards) -> scan -> stage -> accept -> clean up

The token is on record before files are touched. The body sees a private copy and only a path.
Nothing is visible to others before `accept`, which is one transaction of the journal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from handrail.contracts.attempt import Attempt
from handrail.contracts.task import TaskDefinition
from handrail.contracts.workspace import BranchName, WorkspaceSpec
from handrail.keep.base import Adopted, Commit, Journal
from handrail.keep.checkout import Checkout
from handrail.keep.trees import Trees


class Folders(Protocol):
    """Makes and removes attempts' folders."""

    def create(self, attempt_id: str, run_id: str) -> Path:
        """A new private folder with an empty `workspace/` in it; our own marks lie beside."""
        ...

    def remove(self, folder: Path) -> None:
        """Deletes it, whatever the body did to it."""
        ...


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt with its files checked out."""

    attempt: Attempt
    spec: WorkspaceSpec
    folder: Path
    checkout: Checkout

    @property
    def workspace(self) -> Path:
        """What the body gets."""
        return self.checkout.path


class Transaction:
    """Opens, stages and closes attempts of one run on one branch."""

    def __init__(
        self, trees: Trees, journal: Journal, folders: Folders, branch: BranchName
    ) -> None:
        self.branch = branch
        self._trees = trees
        self._journal = journal
        self._folders = folders

    def open(self, definition: TaskDefinition, attempt: Attempt) -> OpenAttempt | Adopted:
        """Takes the token and checks the files out, unless the work was accepted already.

        Raises:
            StaleAttemptError: a later attempt has begun.
            UnknownRefError: the input ref is no commit.
        """
        spec = definition.workspace
        assert spec is not None
        assert attempt.input_ref is not None
        adopted = self._journal.begin_attempt(attempt.run_id, attempt.logical_key, attempt.token)
        if adopted is not None:
            return adopted
        tree = self._trees.commit(attempt.input_ref).tree
        if spec.prefix != "/":
            tree = self._trees.subtree(tree, spec.prefix)
        folder = self._folders.create(attempt.attempt_id, attempt.run_id)
        try:
            checkout = Checkout.create(self._trees, tree, folder / "workspace")
        except BaseException:
            self._folders.remove(folder)
            raise
        return OpenAttempt(attempt, spec, folder, checkout)

    def stage(self, opened: OpenAttempt, message: str, at: int, made_by: dict[str, str]) -> str:
        """Stores what the body changed and returns its commit; without a change the input ref.

        A read-only task changes nothing, whatever its body did.
        """
        attempt = opened.attempt
        assert attempt.input_ref is not None
        if opened.spec.read_only:
            return attempt.input_ref
        before = self._trees.commit(attempt.input_ref)
        tree = opened.checkout.stage()
        if opened.spec.prefix != "/":
            tree = self._trees.replace(before.tree, opened.spec.prefix, tree)
        if tree == before.tree:
            return attempt.input_ref
        ref = self._trees.put_commit(
            Commit(
                tree=tree,
                parents=(attempt.input_ref,),
                message=message,
                at=at,
                made_by={
                    **made_by,
                    "run": attempt.run_id,
                    "task": attempt.task_id,
                    "attempt": attempt.attempt_id,
                    "input_ref": attempt.input_ref,
                },
            )
        )
        self._trees.objects.flush()
        return ref

    def close(self, opened: OpenAttempt) -> None:
        """Removes the attempt's folder."""
        self._folders.remove(opened.folder)
