"""Publishing: the only place that knows in which order it is done.

    ref -> token -> the phases of `handrail.run.phases` -> accept
    ref -> token -> stage the files of a kept result -> accept

The token is on record before files are touched. Nothing is visible to others before `accept`. It
is one transaction of the journal, where branches lie beside it. Where they lie in a store of
their own, the store's claim comes first and decides, and the journal is told what it decided: an
attempt that was cut off between the two is adopted by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from handrail.contracts.attempt import Attempt
from handrail.contracts.task import TaskDefinition
from handrail.contracts.workspace import BranchName
from handrail.errors import StoreCorruptError, UnknownRefError
from handrail.keep.base import Acceptance, Accepted, Adopted, Claim, Conflict, Journal
from handrail.keep.embedded_files import EmbeddedFiles
from handrail.keep.files import Draft, OpenFiles, VersionedFiles
from handrail.run.phases import Publication


class Folders(Protocol):
    """Makes and removes attempts' folders."""

    def create(self, attempt_id: str, run_id: str) -> Path:
        """A new private folder with an empty `workspace/` in it; our own marks lie beside."""
        ...

    def remove(self, folder: Path) -> None:
        """Deletes it, whatever the body did to it."""
        ...


class AttemptFiles(Publication[str]):
    """The files of one attempt, from the store of its run and back.

    What is staged is a commit that no branch names. `publish` only hands it on, since the
    acceptance that follows checks token and branch together; so no fence is needed before.
    """

    def __init__(
        self,
        files: VersionedFiles,
        folders: Folders,
        definition: TaskDefinition,
        attempt: Attempt,
        message: str,
        made_by: dict[str, str],
    ) -> None:
        assert definition.workspace is not None
        assert attempt.input_ref is not None
        self.input_ref = attempt.input_ref
        self.is_read_only = definition.workspace.read_only
        self._prefix = definition.workspace.prefix
        self._files = files
        self._folders = folders
        self._attempt = attempt
        self._message = message
        self._made_by = made_by
        self._folder: Path | None = None
        self._opened: OpenFiles | None = None
        self._staged = ""

    def open(self) -> Path:
        attempt = self._attempt
        self._folder = self._folders.create(attempt.attempt_id, attempt.run_id)
        self._opened = self._files.checkout(
            self.input_ref, self._prefix, self._folder / "workspace"
        )
        return self._opened.path

    def has_changed(self) -> bool:
        assert self._opened is not None
        draft = draft_of(self._attempt, self._message, self._made_by)
        self._staged = self._files.stage(self._opened, draft)
        return self._staged != self.input_ref

    def stage(self) -> str:
        return self._staged

    def publish(self, staged: str) -> str:
        return staged

    def close(self) -> None:
        if self._folder is not None:
            self._folders.remove(self._folder)


class Transaction:
    """Opens, stages and accepts attempts of one run.

    Args:
        branch: what accepted attempts move; none where parallel ones are composed at the end.
    """

    def __init__(
        self,
        files: VersionedFiles,
        journal: Journal,
        folders: Folders,
        branch: BranchName | None,
    ) -> None:
        self.branch = branch
        self._files = files
        self._journal = journal
        self._folders = folders
        #: Does the store move the branch itself, when it is claimed?
        self._is_claimed = branch is not None and keeps_branch(files, branch)

    def begin(self, attempt: Attempt) -> Adopted | None:
        """Takes the token; returns what was accepted already for the same work.

        Raises:
            StaleAttemptError: a later attempt has begun.
        """
        adopted = self._journal.begin_attempt(attempt.run_id, attempt.logical_key, attempt.token)
        if adopted is not None or not self._is_claimed:
            return adopted
        assert self.branch is not None
        assert attempt.input_ref is not None
        return self._files.recall(self.branch, attempt.input_ref, attempt.logical_key)

    def files_of(
        self,
        definition: TaskDefinition,
        attempt: Attempt,
        message: str,
        made_by: dict[str, str],
    ) -> AttemptFiles:
        """The files of an attempt that has begun."""
        return AttemptFiles(self._files, self._folders, definition, attempt, message, made_by)

    def accept(self, acceptance: Acceptance) -> Accepted | Adopted | Conflict:
        """Publishes an attempt: all of it or nothing, once. Durable."""
        branch, output_ref = acceptance.branch, acceptance.output_ref
        if not self._is_claimed or branch is None or output_ref is None:
            return self._journal.accept(acceptance)
        assert acceptance.input_ref is not None
        claimed = self._files.claim(
            Claim(
                branch,
                acceptance.input_ref,
                output_ref,
                acceptance.logical_key,
                acceptance.result,
                acceptance.attempt_id,
            )
        )
        if isinstance(claimed, Conflict):
            return claimed
        if isinstance(claimed, Adopted):
            acceptance = replace(acceptance, result=claimed.result, events=())
        told = self._journal.accept(replace(acceptance, branch=None, output_ref=claimed.ref))
        return claimed if isinstance(claimed, Adopted) else told

    def compose(self, base_ref: str, parts: Sequence[tuple[str, str]]) -> str:
        """The commit that holds all the folders that writers left, over a commit.

        Guards need no second look: each writer's folder is the very tree that its guards saw.

        Args:
            parts: folder and ref of each writer, in order of acceptance.
        """
        if len(parts) < 2:
            return parts[0][1] if parts else base_ref
        assert isinstance(self._files, EmbeddedFiles)  # others were refused with the plan
        return self._files.compose(base_ref, parts)

    # Files of earlier results

    def files(self, definition: TaskDefinition, ref: str) -> str:
        """What tells the files that a task sees at a commit from any others.

        Raises:
            UnknownRefError: there is no such commit, or a file where the folder should be.
        """
        assert definition.workspace is not None
        if not isinstance(self._files, EmbeddedFiles):
            return ref
        return self._files.folder(ref, definition.workspace.prefix)

    def has_files(self, definition: TaskDefinition, ref: str) -> bool:
        """Can what a task saw at a commit be taken again?"""
        if not isinstance(self._files, EmbeddedFiles):
            return not definition.writes
        trees = self._files.trees
        try:
            tree = self.files(definition, ref)
            return all(entry.digest in trees.objects for _, entry in trees.walk(tree))
        except (UnknownRefError, StoreCorruptError):
            return False

    def reuse(
        self,
        definition: TaskDefinition,
        attempt: Attempt,
        kept_ref: str,
        message: str,
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
        assert definition.workspace is not None
        assert attempt.input_ref is not None
        adopted = self.begin(attempt)
        if adopted is not None:
            return adopted
        if not definition.writes:
            return attempt.input_ref
        assert isinstance(self._files, EmbeddedFiles)  # see `has_files`
        return self._files.commit(
            draft_of(attempt, message, made_by),
            definition.workspace.prefix,
            self.files(definition, kept_ref),
        )


def draft_of(attempt: Attempt, message: str, made_by: dict[str, str]) -> Draft:
    """What is said about the commit of an attempt."""
    assert attempt.input_ref is not None
    return Draft(
        attempt.input_ref,
        message,
        time.time_ns() // 1_000_000,
        {
            **made_by,
            "run": attempt.run_id,
            "task": attempt.task_id,
            "attempt": attempt.attempt_id,
            "input_ref": attempt.input_ref,
        },
    )


def keeps_branch(files: VersionedFiles, branch: BranchName) -> bool:
    """Does a store keep that branch itself, and not the journal?

    Hidden branches of runs are always the journal's.
    """
    return not isinstance(files, EmbeddedFiles) and not branch.branch.startswith("~")
