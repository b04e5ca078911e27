"""Opens resources when bodies need them, once in each process, and closes them in the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from handrail.contracts.resource import ResourceHandle
from handrail.errors import ResourceError

log = logging.getLogger("handrail.run")


class Resources:
    """What is open in this process."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Any] = {}
        self._stacks: dict[str, ExitStack] = {}
        self._lock = threading.RLock()

    def opened(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments with resources in the places of their handles.

        Raises:
            ResourceError: one cannot be opened.
        """
        if not any(type(value) is ResourceHandle for value in arguments.values()):
            return arguments
        return {
            name: self.get(value) if type(value) is ResourceHandle else value
            for name, value in arguments.items()
        }

    def get(self, handle: ResourceHandle) -> Any:
        """The open resource; opened now if it is not."""
        key = (handle.run_id, handle.resource.name)
        with self._lock:
            if key not in self._open:
                self._open[key] = self._opened_now(handle)
            return self._open[key]

    def _opened_now(self, handle: ResourceHandle) -> Any:
        stack = self._stacks.setdefault(handle.run_id, ExitStack())
        try:
            made = handle.resource.factory()
            if isinstance(made, AbstractContextManager):
                return stack.enter_context(made)
        except Exception as exc:
            raise ResourceError(handle.resource.name, exc) from exc
        close = getattr(made, "close", None)
        if callable(close):
            stack.callback(close)
        return made

    def close(self, run_id: str | None = None) -> None:
        """Closes what was opened for a run, or everything, in reverse order.

        What a resource raises when it is closed is logged.
        """
        with self._lock:
            run_ids = [run_id] if run_id is not None else list(self._stacks)
            stacks = [self._stacks.pop(found) for found in run_ids if found in self._stacks]
            for key in [key for key in self._open if key[0] in run_ids]:
                del self._open[key]
        for stack in stacks:
            try:
                stack.close()
            except Exception:
                log.exception("a resource could not be closed")


#: Those of this process.
resources = Resources()
