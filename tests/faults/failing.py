"""Stores whose calls fail on purpose."""

from __future__ import annotations

from typing import Any

from handrail import StoreError


class Failing:
    """Lets one call of another object's methods fail, before or after it is done.

    Args:
        countdown: shared with others; the call that brings it to 0 fails.
        is_reply_lost: the call is done, and then fails.
    """

    def __init__(self, inner: Any, countdown: list[int], is_reply_lost: bool) -> None:
        self.inner = inner
        self._countdown = countdown
        self._is_reply_lost = is_reply_lost

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            self._countdown[0] -= 1
            if self._countdown[0] == 0 and not self._is_reply_lost:
                raise StoreError(f"{name} fails")
            reply = attribute(*args, **kwargs)
            if self._countdown[0] == 0:
                raise StoreError(f"the reply of {name} is lost")
            return reply

        return call

    def __contains__(self, digest: str) -> bool:
        return digest in self.inner
