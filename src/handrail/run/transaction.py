"""Publishing: the only place that knows in which order it is done.

    ref -> token -> checkout -> (guards, body, guards) -> scan -> stage -> accept -> clean up
    ref -> token -> stage the files of a kept result -> accept

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
from handrail.errors import StoreCorruptError, UnknownRefError
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
        tree = self.files(definition, attempt.input_ref)
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
        return self._commit(attempt, opened.spec, opened.checkout.stage(), message, at, made_by)

    def close(self, opened: OpenAttempt) -> None:
        """Removes the attempt's folder."""
        self._folders.remove(opened.folder)

    # Files of earlier results

    def files(self, definition: TaskDefinition, ref: str) -> str:
        """Digest of the folder that a task sees at a commit.

        Raises:
            UnknownRefError: there is no such commit, or a file where the folder should be.
        """
        assert definition.workspace is not None
        return self._trees.subtree(self._trees.commit(ref).tree, definition.workspace.prefix)

    def has_files(self, definition: TaskDefinition, ref: str) -> bool:
        """Is everything that a task sees at a commit still stored?"""
        objects = self._trees.objects
        try:
            tree = self.files(definition, ref)
            return all(entry.digest in objects for _, entry in self._trees.walk(tree))
        except (UnknownRefError, StoreCorruptError):
            return False

    def reuse(
        self,
        definition: TaskDefinition,
        attempt: Attempt,
        kept_ref: str,
        message: str,
        at: int,
        made_by: dict[str, str],
    ) -> str | Adopted:
        """Takes the token and stages the files that an earlier attempt left, on the input ref.

        No guard is evaluated: the attempt that left them was accepted, with the same guards, on
        the same files.

        Returns:
            The commit, or what was accepted already for this work.

        Raises:
            StaleAttemptError: a later attempt has begun.
        """
        spec = definition.workspace
        assert spec is not None
        assert attempt.input_ref is not None
        adopted = self._journal.begin_attempt(attempt.run_id, attempt.logical_key, attempt.token)
        if adopted is not None:
            return adopted
        if spec.read_only:
            return attempt.input_ref
        files = self.files(definition, kept_ref)
        return self._commit(attempt, spec, files, message, at, made_by)

    def _commit(
        self,
        attempt: Attempt,
        spec: WorkspaceSpec,
        files: str,
        message: str,
        at: int,
        made_by: dict[str, str],
    ) -> str:
        """A commit of the input ref with `files` as the task's folder; unchanged the input ref."""
        assert attempt.input_ref is not None
        before = self._trees.commit(attempt.input_ref)
        tree = self._trees.replace(before.tree, spec.prefix, files)
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
