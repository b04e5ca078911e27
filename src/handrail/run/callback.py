"""Calls from a body on the far side back to its run on the near side.

The far side has a channel and a view of the run that look like the near side's; each of their
methods is one call over the pipe. Only the methods listed here can be called.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from handrail.contracts.attempt import Attempt
from handrail.errors import HandlerError
from handrail.keep.channel import Channel
from handrail.run.control import Request
from handrail.run.crossing import dumps, loads
from handrail.run.envelope import (
    Reply,
    open_reply,
    refuse,
    reply_with,
)
from handrail.run.frames import Content, read_frame, write_frame
from handrail.run.remote_channel import Missing, RemoteChannel

#: First part of a frame from the far side.
READY, CODE, CALL, REPLY = b"ready", b"code", b"call", b"reply"

#: What a body may call on the near side, by object.
CALLABLE: Mapping[str, frozenset[str]] = {
    "channel": frozenset(
        {
            "append", "atomic_add", "clear", "delete", "drop_lock", "exists", "get", "keys",
            "prepend", "set", "take_lock",
        }
    ),
    "execution": frozenset({"get_result", "has_task", "request"}),
}  # fmt: skip


class Calls:
    """The far side's way back, for the length of one attempt. Any thread may call."""

    def __init__(self, commands: int, replies: int, task_id: str) -> None:
        self._commands = commands
        self._replies = replies
        self._task_id = task_id
        self._lock = threading.Lock()
        self._is_over = False

    def __call__(self, target: str, method: str, *args: Any) -> Any:
        """Result of `target.method(*args)` on the near side.

        Raises:
            NotSerializableError: an argument cannot be sent.
            HandlerError: the attempt has ended.
            BaseException: what the method raised.
        """
        name = f"task '{self._task_id}': {target}.{method}(...)"
        content = dumps(args, f"{name}: an argument")
        parts = self._ask(name, [CALL, f"{target}.{method}".encode(), content])
        return open_reply(Reply.unpack(parts), name)

    def code(self) -> Content:
        """The code of the attempt's task."""
        return self._ask(f"task '{self._task_id}': code", [CODE])[0]

    def _ask(self, name: str, parts: list[Content]) -> list[Content]:
        with self._lock:
            if self._is_over:
                raise HandlerError(f"{name} was called after the attempt had ended.")
            write_frame(self._replies, parts)
            found = read_frame(self._commands)
        if found is None:
            raise HandlerError(f"{name}: the near side has gone.")
        return found

    def end(self, reply: Reply) -> None:
        """Sends the attempt's reply. Later calls are refused."""
        with self._lock:
            self._is_over = True
            write_frame(self._replies, [REPLY, *reply.pack()])


class RemoteExecution:
    """What a body on the far side may ask of its run."""

    def __init__(self, attempt: Attempt, calls: Calls) -> None:
        self.run_id = attempt.run_id
        self._calls = calls
        self._channel = RemoteChannel(calls)

    def get_result(self, task_id: str, default: Any = None) -> Any:
        """The result of a task, or `default`."""
        found = self._calls("execution", "get_result", task_id, Missing.MISSING)
        return default if found is Missing.MISSING else found

    def get_channel(self) -> Channel:
        """The run's channel."""
        return self._channel

    def has_task(self, name: str) -> bool:
        """Has the workflow a task of that name?"""
        return bool(self._calls("execution", "has_task", name))

    def request(self, attempt_id: str, request: Request) -> None:
        """Notes what the body asks for; it is done when the attempt is accepted."""
        self._calls("execution", "request", attempt_id, request)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"'{name}' of the run cannot be reached from a worker process; "
            f"get_result() and get_channel() can"
        )


def answer(content: Content, method: str, objects: Mapping[str, Any]) -> Reply:
    """On the near side: what comes of a call.

    Args:
        content: the call's arguments.
        method: `"object.method"`.
        objects: what may be called, by name.
    """
    name, _, attribute = method.partition(".")
    try:
        if attribute not in CALLABLE.get(name, ()):
            raise HandlerError(f"{method} cannot be called from a worker process.")
        value = getattr(objects[name], attribute)(*loads(content))
    except Exception as error:
        return refuse(error)
    return reply_with(value, f"result of {method}(...)")
