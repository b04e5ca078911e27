"""Every error Handrail raises, in one tree.

    HandrailError
    ├── TaskDefinitionError (ValueError)      a task is declared wrong; found at import
    ├── WorkflowDefinitionError (ValueError)  tasks are composed wrong; found before anything runs
    │   ├── DuplicateTaskError
    │   ├── UnknownTaskError (KeyError)
    │   ├── CycleError
    │   ├── MissingParameterError
    │   └── ParallelWritersError
    ├── TaskInputError (ValueError)           input does not fit the task's contract
    ├── ChannelTypeError (TypeError)          a message is not of its channel's type
    ├── TaskFailed                            a body says: this attempt failed, another may do
    ├── TaskTerminalError                     a body says: do not try again
    ├── GuardrailViolation                    the files are not as the task declares
    │   ├── PreGuardrailViolation
    │   └── PostGuardrailViolation
    ├── StaleAttemptError                     another attempt has taken this one's place
    ├── PublishFenceError                     the branch moved; nothing was published
    ├── ParallelGroupError                    members failed, and the group's policy minds
    ├── ResourceError (RuntimeError)          what a body needs cannot be opened
    ├── AttemptTimeout (TimeoutError)         the body ran past its time limit
    ├── RunError (RuntimeError)               a run did not succeed
    │   ├── RunFailed
    │   ├── RunCancelled
    │   ├── RunWaiting                        for answers; can be resumed
    │   ├── RunNotFound (LookupError)
    │   ├── RunBusy                           another process holds the run
    │   ├── RunChanged                        the code changed since the run was started
    │   ├── RunTimeout (TimeoutError)
    │   ├── CycleLimitExceeded
    │   └── StepLimitExceeded
    ├── HandlerError (RuntimeError)           where a body runs could not do its part
    │   ├── UnknownHandlerError (ValueError)
    │   ├── HandlerResultError                the handler returned and left no result
    │   ├── NotSerializableError (TypeError)  a value cannot cross the border
    │   ├── RemoteError                       an error whose class is unknown here
    │   └── WorkerLost                        the far side died under the body
    ├── RuntimeConfigError (ValueError)       a setting is missing or wrong
    │   └── NotInstalledError (ImportError)   an extra is missing; says the command
    ├── StoreError (RuntimeError)             keeping or reading failed
    │   ├── StoreVersionError                 written by a newer Handrail
    │   ├── StoreCorruptError
    │   ├── StoreFullError (OSError)
    │   ├── StoreReadOnlyError (OSError)
    │   ├── UnknownRefError (LookupError)
    │   ├── UnknownClassError (LookupError)   a stored value's class is not where it was
    │   ├── LockTimeout (TimeoutError)        others held a channel's lock for too long
    │   ├── LockLost                          a channel's lock was lost while it was held
    │   └── UnsupportedFileError (ValueError) a file that a workspace cannot hold
    ├── TrackedResultError (ValueError, TypeError)  a tracked function returned something else
    └── WatcherError                          tracking
        ├── WatcherAPIError
        └── WatcherNetworkError

Whether an attempt may be repeated after an error is a property of its class (`retryable`),
read in one place: `handrail.run.retry`. Errors that are not Handrail's are retryable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class HandrailError(Exception):
    """Anything Handrail raises on purpose."""

    #: May another attempt of the same task do better?
    retryable: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are rebuilt by calling their class with `args`, which here hold the finished
        # sentence and not what the constructor wants.
        return _rebuilt, (type(self), self.args, vars(self))


def _rebuilt(
    cls: type[HandrailError], args: tuple[Any, ...], attributes: dict[str, Any]
) -> HandrailError:
    # The built-in class whose memory layout `cls` has; another one's __new__ would refuse.
    maker: Any = cls
    while "__new__" not in vars(maker):
        maker = maker.__base__
    error: HandrailError = maker.__new__(cls, *args)
    error.args = args  # OSError.__new__ leaves them out
    error.__dict__.update(attributes)
    return error


# Declaring and composing


class TaskDefinitionError(HandrailError, ValueError):
    """A task is declared in a way that cannot work."""


class WorkflowDefinitionError(HandrailError, ValueError):
    """Tasks are composed in a way that cannot run."""


class DuplicateTaskError(WorkflowDefinitionError):
    """Two tasks of one workflow have the same name."""

    def __init__(self, task_id: str, where: str = "this workflow") -> None:
        self.task_id = task_id
        super().__init__(
            f"Duplicate task ID: '{task_id}' already exists in {where}. "
            f"Give one of them another name: @task(id=...) or {task_id}(task_id=...)."
        )


class UnknownTaskError(WorkflowDefinitionError, KeyError):
    """A name that no task of the workflow has."""

    def __init__(self, task_id: str, known: Sequence[str] = ()) -> None:
        self.task_id = task_id
        self.known = tuple(known)
        shown = ", ".join(sorted(self.known)[:10])
        self._text = f"Unknown task '{task_id}'." + (f" Known tasks: {shown}." if shown else "")
        super().__init__(self._text)

    def __str__(self) -> str:  # KeyError would show the repr
        return self._text


class CycleError(WorkflowDefinitionError):
    """Tasks follow each other in a circle and nothing bounds it."""

    def __init__(self, path: Sequence[str]) -> None:
        self.path = tuple(path)
        super().__init__(
            f"Tasks form a cycle without a bound: {' >> '.join(self.path)}. "
            f"Remove one of the edges, or bound it with @task(max_cycles=N) on one of them."
        )


class MissingParameterError(WorkflowDefinitionError):
    """A parameter that nothing in the workflow can provide."""

    def __init__(self, task_id: str, parameters: Sequence[str]) -> None:
        self.task_id = task_id
        self.parameters = tuple(parameters)
        names = ", ".join(repr(name) for name in self.parameters)
        first = self.parameters[0]
        super().__init__(
            f"Task '{task_id}' needs {names}, and nothing provides it. Name an upstream task "
            f"'{first}', bind it with {task_id}({first}=...), pass it to execute({first}=...), "
            f"or give it a default."
        )


class ParallelWritersError(WorkflowDefinitionError):
    """Two tasks that may run at the same time both write one branch."""

    def __init__(self, first: str, second: str) -> None:
        self.tasks = (first, second)
        super().__init__(
            f"Tasks '{first}' and '{second}' may run in parallel and both write the workspace. "
            f"Order them with >>, declare one WorkspaceSpec(read_only=True), or give them folders "
            f"of their own: WorkspaceSpec(prefix='{first}') and WorkspaceSpec(prefix='{second}')."
        )


# Running a body


class TaskInputError(HandrailError, ValueError):
    """Input that does not fit the task's contract. Another attempt would fail alike."""


class ChannelTypeError(HandrailError, TypeError):
    """A message or a value is not of the type that its typed channel holds."""


class _Reasoned(HandrailError):
    def __init__(self, reason: str) -> None:
        if not isinstance(reason, str):
            raise TypeError(f"{type(self).__name__} reason must be a string, not {reason!r}")
        self.reason = reason
        super().__init__(reason)


class TaskFailed(_Reasoned):
    """Raised by a body: this attempt failed, another may succeed."""

    retryable = True


class TaskTerminalError(_Reasoned):
    """Raised by a body: no further attempt can succeed."""


class GuardrailViolation(HandrailError):
    """The files are not as the task declares them."""


class PreGuardrailViolation(GuardrailViolation):
    """The input files are not as the task needs them. Another attempt would find the same."""


class PostGuardrailViolation(GuardrailViolation):
    """The body left files that may not be published. Another attempt may do better."""

    retryable = True


class StaleAttemptError(HandrailError):
    """Another attempt of the same task has taken this one's place."""

    def __init__(self, task_id: str, detail: str = "") -> None:
        self.task_id = task_id
        super().__init__(
            f"Attempt of task '{task_id}' is stale{': ' + detail if detail else ''}. "
            f"Its work was discarded; the current attempt decides."
        )


class PublishFenceError(HandrailError):
    """The branch is not where this attempt found it, so nothing was published."""

    def __init__(self, branch: str, expected: str, found: str | None, won: str = "") -> None:
        self.branch = branch
        self.expected = expected
        self.found = found
        self.won = won
        super().__init__(
            f"Branch '{branch}' moved from {expected[:12]} to {(found or 'nothing')[:12]}"
            f"{f' by {won}' if won else ''}; nothing was published. "
            f"Start again from the new head."
        )


class AttemptTimeout(HandrailError, TimeoutError):
    """The body ran past its time limit."""

    retryable = True

    def __init__(self, task_id: str, timeout_seconds: float, *, stopped: bool) -> None:
        self.task_id = task_id
        self.timeout_seconds = timeout_seconds
        self.stopped = stopped
        how = "it was stopped" if stopped else "stop unconfirmed: its result will be refused"
        super().__init__(f"Task '{task_id}' ran past its timeout of {timeout_seconds:g} s; {how}.")


class ParallelGroupError(HandrailError):
    """A group did not succeed, as its policy judges."""

    def __init__(
        self,
        group_id: str,
        what: str,
        *,
        failed_tasks: Sequence[tuple[str, str]] = (),
        successful_tasks: Sequence[str] = (),
    ) -> None:
        self.group_id = group_id
        #: Names and messages of the members that failed.
        self.failed_tasks = list(failed_tasks)
        #: Names of the members that succeeded.
        self.successful_tasks = list(successful_tasks)
        failed = "; ".join(f"{name}: {message}" for name, message in self.failed_tasks)
        done = ", ".join(self.successful_tasks) or "none"
        super().__init__(
            f"Parallel group {group_id} failed: {what}. Failed: {failed or 'none'}. "
            f"Succeeded: {done}."
        )


class ResourceError(HandrailError, RuntimeError):
    """A resource of the workflow cannot be opened. Another attempt may do better."""

    retryable = True

    def __init__(self, name: str, cause: BaseException) -> None:
        self.name = name
        super().__init__(
            f"Resource '{name}' cannot be opened: {type(cause).__name__}: {cause}. "
            f"Look at what register_resource({name!r}, ...) was given."
        )


# Running a workflow


class RunError(HandrailError, RuntimeError):
    """A run did not succeed."""


class RunFailed(RunError):
    """A task of the run failed for good. `cause` is its error, also `__cause__`."""

    def __init__(
        self,
        message: str,
        *,
        run_id: str,
        task_id: str | None = None,
        cause: BaseException | None = None,
    ) -> None:
        self.run_id = run_id
        self.task_id = task_id
        self.cause = cause
        super().__init__(message)


class RunCancelled(RunError):
    """The run was cancelled by a task, a person, or an interrupt."""

    def __init__(self, run_id: str, reason: str = "") -> None:
        self.run_id = run_id
        self.reason = reason
        super().__init__(f"Run {run_id} was cancelled{': ' + reason if reason else ''}.")


class RunWaiting(RunError):
    """The run waits for answers; `waits` are the questions. It can be resumed."""

    def __init__(self, run_id: str, waits: Sequence[Any], *, can_resume: bool = True) -> None:
        self.run_id = run_id
        self.waits = list(waits)
        asked = "; ".join(f"task '{wait.task}' asks {wait.prompt!r}" for wait in self.waits)
        what_next = (
            f"Answer with: handrail answer {run_id} VALUE, then: handrail resume {run_id}"
            if can_resume
            else "It was run in memory, where nobody can answer: run it with a journal."
        )
        super().__init__(f"Run {run_id} is waiting: {asked}. {what_next}")


class RunNotFound(RunError, LookupError):
    """No run of that id in this home."""

    def __init__(self, run_id: str, home: str) -> None:
        self.run_id = run_id
        super().__init__(f"No run '{run_id}' in {home}. List the runs with: handrail runs")


class RunBusy(RunError):
    """Another process holds the run."""

    def __init__(self, run_id: str, owner: str, expires_in_seconds: float) -> None:
        self.run_id = run_id
        self.owner = owner
        super().__init__(
            f"Run {run_id} is held by {owner}. If that process is gone, its lease ends "
            f"in {max(expires_in_seconds, 0):.0f} s; try again then."
        )


class RunChanged(RunError):
    """Code of tasks changed since the run was started, and the policy is to stop."""

    def __init__(self, run_id: str, tasks: Sequence[str]) -> None:
        self.run_id = run_id
        self.tasks = tuple(tasks)
        super().__init__(
            f"Run {run_id} was started with other code for: {', '.join(self.tasks)}. "
            f"Choose: handrail resume {run_id} --changed continue, or --changed rerun"
        )


class RunTimeout(RunError, TimeoutError):
    """The run took longer than `execute(timeout=...)` allows."""

    def __init__(self, run_id: str, timeout_seconds: float) -> None:
        self.run_id = run_id
        self.timeout_seconds = timeout_seconds
        super().__init__(
            f"Run {run_id} took longer than timeout={timeout_seconds:g} s; what ran was stopped. "
            f"What was finished is kept; go on with: handrail resume {run_id}"
        )


class CycleLimitExceeded(RunError):
    """A task went round its loop more often than allowed."""

    def __init__(self, task_id: str, cycle_count: int, max_cycles: int) -> None:
        self.task_id = task_id
        self.cycle_count = cycle_count
        self.max_cycles = max_cycles
        super().__init__(
            f"Task '{task_id}' exceeded max_cycles={max_cycles}. "
            f"End the loop from the task, or raise @task(max_cycles=...)."
        )


class StepLimitExceeded(RunError):
    """The run took more steps than `execute(max_steps=...)` allows."""

    def __init__(self, run_id: str, max_steps: int) -> None:
        self.run_id = run_id
        self.max_steps = max_steps
        super().__init__(
            f"Run {run_id} reached max_steps={max_steps} with work left. "
            f"Raise execute(max_steps=...) or leave it out."
        )


# Where bodies run


class HandlerError(HandrailError, RuntimeError):
    """Where a body runs could not do its part."""


class UnknownHandlerError(HandlerError, ValueError):
    """No handler of that name."""

    def __init__(self, handler_type: str, known: Sequence[str] = ()) -> None:
        self.handler_type = handler_type
        self.known = tuple(known)
        super().__init__(
            f"Unknown handler type: {handler_type}. Known: {', '.join(sorted(known)) or 'none'}. "
            f"Register it with engine.register_handler({handler_type!r}, ...) or "
            f"handrail.register_handler({handler_type!r}, ...)."
        )


class HandlerResultError(HandlerError):
    """The handler came back without a result, or hid an error."""


class NotSerializableError(HandlerError, TypeError):
    """A value that cannot leave this process."""


class RemoteError(HandlerError):
    """A body elsewhere raised an error whose class cannot be had here.

    Attributes: `type_name` (module and name of that class), `message`, and `traceback` (text).
    """

    def __init__(
        self, message: str, *, type_name: str, original: str, traceback: str, retryable: bool
    ) -> None:
        self.type_name = type_name
        self.message = original
        self.traceback = traceback
        self.retryable = retryable  # as the class over there says
        super().__init__(message)


class WorkerLost(HandlerError):
    """The far side died under the body."""

    retryable = True


# Surroundings


class RuntimeConfigError(HandrailError, ValueError):
    """A setting is missing or wrong."""


class NotInstalledError(RuntimeConfigError, ImportError):
    """An extra is missing."""

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(
            f"{what} is not installed. Install it with: pip install 'handrail[{extra}]'"
        )


class StoreError(HandrailError, RuntimeError):
    """Keeping or reading failed."""

    retryable = True


class StoreVersionError(StoreError):
    """The store was written by a newer Handrail."""

    retryable = False

    def __init__(self, path: str, found: int, known: int) -> None:
        self.found, self.known = found, known
        super().__init__(
            f"{path} has format {found}; this Handrail knows up to {known}. "
            f"Upgrade with: pip install --upgrade handrail"
        )


class StoreCorruptError(StoreError):
    """What was read is not what was written."""

    retryable = False


class StoreFullError(StoreError, OSError):
    """No space left where Handrail keeps its data."""


class StoreReadOnlyError(StoreError, OSError):
    """Handrail may not write where it keeps its data."""

    retryable = False


class UnknownRefError(StoreError, LookupError):
    """No commit, branch or file of that name."""

    retryable = False


class UnknownClassError(StoreError, LookupError):
    """The class of a stored value is not where it was."""

    retryable = False

    def __init__(self, reference: str, reason: str) -> None:
        self.reference = reference
        module, _, name = reference.partition(":")
        super().__init__(
            f"A stored value is a '{name}' of module '{module}', which is not found: {reason}. "
            f"Bring the class back under that name, or start a new run."
        )


class UnsupportedFileError(StoreError, ValueError):
    """A file that a workspace cannot hold: a socket, a device, a name others cannot read."""

    retryable = False


class LockTimeout(StoreError, TimeoutError):
    """Others held the lock of a channel's key for too long."""

    def __init__(self, key: str, timeout_seconds: float) -> None:
        self.key = key
        self.timeout_seconds = timeout_seconds
        super().__init__(
            f"The lock of channel key {key!r} was not free within {timeout_seconds:g} s. "
            f"Hold it for shorter, or wait longer: channel.lock({key!r}, timeout=...)."
        )


class LockLost(StoreError):
    """The lock of a channel's key was lost while it was held; another may have had it."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(
            f"The lock of channel key {key!r} was lost while it was held: this process was stopped "
            f"for longer than the lock's lease, or the store lost it. Another task may have worked "
            f"under it meanwhile."
        )


# Tracking


class WatcherError(HandrailError):
    """Tracking failed. The tracked work is never changed by it."""


class WatcherAPIError(WatcherError):
    """The tracking server refused a request."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        response_text: str = "",
        response_headers: Mapping[str, str] | None = None,
        error_code: str | None = None,
        error_details: Any = None,
    ) -> None:
        self.status_code = status_code
        self.response_text = response_text
        self.response_headers = dict(response_headers or {})
        self.error_code = error_code
        self.error_details = error_details
        super().__init__(message)


class WatcherNetworkError(WatcherError):
    """The tracking server could not be reached."""


class TrackedResultError(HandrailError, ValueError, TypeError):
    """A tracked function returned something else than `ETLResults`."""

    def __init__(self, function: str, returned: object, hint: str = "") -> None:
        self.function = function
        self.returned_type = type(returned).__name__
        super().__init__(
            f"Tracked function '{function}' must return ETLResults (or a subclass), "
            f"not {self.returned_type}.{' ' + hint if hint else ''}"
        )
