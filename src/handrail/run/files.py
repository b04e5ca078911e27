"""Which files a run or an attempt saw, and which it left, as its history tells."""

from __future__ import annotations

from dataclasses import dataclass

from handrail.contracts.workspace import BranchName
from handrail.errors import UnknownRefError, UnknownTaskError
from handrail.run.history import AttemptHistory, RunHistory, TaskHistory


@dataclass(frozen=True, slots=True)
class FilesOf:
    """Files of one commit, or of a folder in it."""

    repository: str
    commit_id: str
    #: The folder that was the attempt's workspace; `"/"`: all of the repository.
    prefix: str = "/"
    #: The attempt; none for a run.
    attempt_id: str | None = None


def seen_by(run: RunHistory, task: str | None = None, attempt: str | None = None) -> FilesOf:
    """The files as an attempt saw them when it began; without a task, as the run did.

    Args:
        attempt: its id, or the end of it; by default the task's last one.

    Raises:
        UnknownTaskError: the run has no such task.
        UnknownRefError: it works on no files, or never began.
    """
    repository = _repository(run)
    if task is None:
        if run.base_ref is None:
            raise UnknownRefError(f"Run {run.run_id} works on no files.")
        return FilesOf(repository, run.base_ref)
    found = _attempt(run, _task(run, task), attempt)
    assert found.input_ref is not None
    return FilesOf(repository, found.input_ref, found.prefix, found.attempt_id)


def left_by(
    run: RunHistory, task: str | None = None, attempt: str | None = None, *, last: str | None = None
) -> FilesOf:
    """The files as an accepted attempt left them; without a task, as the run published them.

    Args:
        attempt: as for `seen_by`. Only the one that was accepted left anything.
        last: the commit that was accepted last, for runs that publish each task by itself.

    Raises:
        UnknownTaskError: the run has no such task.
        UnknownRefError: nothing was accepted, or nothing was published.
    """
    repository = _repository(run)
    if task is None:
        ref = run.ref or (last if run.state == "succeeded" else None)
        if ref is None:
            raise UnknownRefError(
                f"Run {run.run_id} ({run.state}) has published nothing. "
                f"Name one of its tasks: {run.run_id}/TASK"
            )
        return FilesOf(repository, ref)
    history = _task(run, task)
    found = _attempt(run, history, attempt)
    if history.output_ref is None or found.state != "succeeded":
        raise UnknownRefError(
            f"Attempt {found.attempt_id} of task '{task}' ({found.state}) left nothing that was "
            f"accepted. Leave out --after to see the files that it saw."
        )
    return FilesOf(repository, history.output_ref, found.prefix, found.attempt_id)


def _repository(run: RunHistory) -> str:
    if run.target is None:
        raise UnknownRefError(f"Run {run.run_id} works on no files: its workflow has no workspace.")
    return BranchName.parse(run.target).repository


def _task(run: RunHistory, name: str) -> TaskHistory:
    found = run.task(name)
    if found is None:
        raise UnknownTaskError(name, [task.name for task in run.tasks])
    return found


def _attempt(run: RunHistory, task: TaskHistory, attempt: str | None) -> AttemptHistory:
    begun = [each for each in task.attempts if each.input_ref is not None]
    if not begun:
        why = "never began" if not task.attempts else "works on no files"
        raise UnknownRefError(f"Task '{task.name}' of run {run.run_id} {why}.")
    if attempt is None:
        return begun[-1]
    found = [each for each in begun if each.attempt_id.endswith(attempt)]
    exact = [each for each in found if each.attempt_id == attempt]
    if len(exact or found) != 1:
        known = ", ".join(each.attempt_id for each in begun)
        raise UnknownRefError(f"No one attempt '{attempt}' of task '{task.name}'. Known: {known}")
    return (exact or found)[0]
