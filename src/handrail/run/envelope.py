"""What crosses the border to a far side and back.

envelope    an attempt on its way out: code, arguments, where its files are
reply       what came of it: a result or a failure
"""

from __future__ import annotations

import hashlib
import os
import pickle
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any

from handrail.contracts.attempt import Attempt
from handrail.contracts.task import TaskDefinition
from handrail.errors import HandrailError, NotSerializableError, RemoteError
from handrail.run.crossing import PROTOCOL, dumps, loads
from handrail.run.frames import Content

_INSTEAD = (
    "Make it inside the body, pass plain data in its place, or run the task with "
    "handler_type='direct'."
)
_HERE = os.path.dirname(__file__)


# Out


@dataclass(frozen=True, slots=True)
class Setup:
    """What a far side shares with the near side, as long as nothing of it changes."""

    #: `sys.path`.
    path: tuple[str, ...]
    #: The working directory; none if it was removed.
    folder: str | None
    #: Level of the root logger.
    log_level: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """One attempt as data."""

    attempt: Attempt
    #: Name of the code: equal digests, equal code.
    digest: bytes
    #: The task's definition, by `module:qualname` if it can be imported.
    code: Content
    arguments: Content
    #: Folder with the attempt's files, for tasks that have a workspace.
    workspace: str | None
    inject_context: bool

    def pack(self) -> list[Content]:
        """As parts of a frame, without the code: whoever does not know the digest asks for it."""
        rest = (self.attempt, self.digest, self.workspace, self.inject_context)
        return [pickle.dumps(rest, PROTOCOL), self.arguments]

    @classmethod
    def unpack(cls, parts: list[Content]) -> Envelope:
        """From the parts of a frame."""
        attempt, digest, workspace, inject_context = pickle.loads(parts[0])
        return cls(attempt, digest, b"", parts[1], workspace, inject_context)


def working_folder() -> str | None:
    """The working directory; none if it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def seal(
    definition: TaskDefinition,
    attempt: Attempt,
    arguments: Mapping[str, Any],
    workspace: Path | None,
) -> Envelope:
    """The envelope of an attempt.

    Raises:
        NotSerializableError: says which argument or variable cannot leave this process.
    """
    task = f"task '{attempt.task_id}'"
    code = dumps(definition, f"{task}: its function", _INSTEAD)
    return Envelope(
        attempt=attempt,
        digest=hashlib.blake2b(code, digest_size=16).digest(),
        code=code,
        arguments=_seal_arguments(task, dict(arguments)),
        workspace=None if workspace is None else str(workspace),
        inject_context=definition.inject_context,
    )


def _seal_arguments(task: str, arguments: dict[str, Any]) -> bytes:
    try:
        return dumps(arguments, f"{task}: its arguments", _INSTEAD)
    except NotSerializableError:
        for name, value in arguments.items():
            dumps(value, f"{task}: argument '{name or 'params'}'", _INSTEAD)
        raise


def open_code(envelope: Envelope, code: Content) -> TaskDefinition:
    """The definition that an envelope's `code` holds.

    Raises:
        NotSerializableError: it cannot be read here; says why.
    """
    definition: TaskDefinition = _open(envelope, code, "its code")
    return definition


def open_arguments(envelope: Envelope) -> dict[str, Any]:
    """The arguments in an envelope.

    Raises:
        NotSerializableError: they cannot be read here; says why.
    """
    arguments: dict[str, Any] = _open(envelope, envelope.arguments, "its arguments")
    return arguments


def _open(envelope: Envelope, content: Content, what: str) -> Any:
    try:
        return loads(content)
    except Exception as exc:
        raise NotSerializableError(
            f"Task '{envelope.attempt.task_id}': {what} cannot be read in the worker process: "
            f"{type(exc).__name__}: {exc}. Put the module where the worker can import it, on "
            f"sys.path or PYTHONPATH."
        ) from exc


# Back


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as data."""

    #: The error itself; none if its type cannot be pickled.
    error: bytes | None
    #: `module.qualname` of its class.
    type_name: str
    message: str
    #: As printed on the far side.
    traceback: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of an attempt or a call: a result, or a failure."""

    result: Content = b""
    failure: Failure | None = None

    def pack(self) -> list[Content]:
        """As parts of a frame."""
        return [pickle.dumps(self.failure, PROTOCOL), self.result]

    @classmethod
    def unpack(cls, parts: list[Content]) -> Reply:
        """From the parts of a frame."""
        return cls(parts[1], pickle.loads(parts[0]))


def reply_with(value: Any, name: str) -> Reply:
    """A reply with a result; with a failure, if `value` cannot be pickled.

    Args:
        name: what the value is, for the error.
    """
    try:
        return Reply(dumps(value, name, "Return plain data."))
    except NotSerializableError as exc:
        return refuse(exc)


def refuse(error: BaseException) -> Reply:
    """A reply with a failure."""
    kind = type(error)
    retryable = isinstance(error, Exception)
    if isinstance(error, HandrailError):
        retryable = error.retryable
    failure = Failure(
        error=_pickled(error),
        type_name=f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."),
        message=_message(error),
        traceback=_traceback(error),
        retryable=retryable,
    )
    return Reply(failure=failure)


def open_reply(reply: Reply, name: str) -> Any:
    """The result in a reply.

    Args:
        name: what was done, for messages: "task 'load'".

    Raises:
        BaseException: what was raised on the far side, with its traceback as a note.
        RemoteError: the same, if its type cannot be had here; has the attributes `type_name`,
            `message`, `traceback` and `retryable`.
        NotSerializableError: the result cannot be read here.
    """
    if reply.failure is not None:
        raise _error(reply.failure, name)
    try:
        return loads(reply.result)
    except Exception as exc:
        raise NotSerializableError(
            f"{name[:1].upper()}{name[1:]}: its result cannot be read in this process: "
            f"{type(exc).__name__}: {exc}. Return plain data, or import its class here."
        ) from exc


def _error(failure: Failure, name: str) -> BaseException:
    error: BaseException | None = None
    if failure.error is not None:
        try:
            error = loads(failure.error)
        except Exception as exc:
            failure = replace(failure, message=f"{failure.message} (its type is unknown: {exc})")
    if not isinstance(error, BaseException):
        error = RemoteError(
            f"{name}: {failure.type_name}: {failure.message}",
            type_name=failure.type_name,
            original=failure.message,
            traceback=failure.traceback,
            retryable=failure.retryable,
        )
    error.add_note(f"Traceback on the other side:\n{failure.traceback}")
    return error


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as exc:  # a broken __str__ must not hide the error
        return f"<its message cannot be read: {type(exc).__name__}: {exc}>"


def _traceback(error: BaseException) -> str:
    found = error.__traceback__
    while found is not None and found.tb_next is not None and _is_ours(found.tb_frame.f_code):
        found = found.tb_next
    return "".join(traceback.format_exception(type(error), error, found))


def _is_ours(code: CodeType) -> bool:
    return os.path.dirname(code.co_filename) == _HERE


def _pickled(error: BaseException) -> bytes | None:
    # Unpickling calls the class with `args`, which fails or tells another message where
    # __init__ makes its own sentence. Such errors are put together without __init__.
    return _proven(error, error) or _proven(_Rebuilt(error), error)


def _proven(candidate: Any, error: BaseException) -> bytes | None:
    """The pickled candidate, if it is read as an error of the same class and message."""
    try:
        content = dumps(candidate, "error")
        again = loads(content)
        same = type(again) is type(error) and str(again) == str(error)
    except Exception:  # any code may run in there; the failure then travels as text
        return None
    return content if same else None


class _Rebuilt:
    """Pickles as an error of the same class, arguments and attributes."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> Any:
        state = {key: value for key, value in vars(self._error).items() if _crosses(value)}
        return rebuild_error, (type(self._error), self._error.args, state)


def rebuild_error(kind: type[BaseException], args: Any, state: dict[str, Any]) -> BaseException:
    """An error made without calling its `__init__`."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _crosses(value: Any) -> bool:
    try:
        dumps(value, "attribute")
    except NotSerializableError:
        return False
    return True
