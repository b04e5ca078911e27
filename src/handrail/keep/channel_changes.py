"""Changes of a run's channel, as a journal keeps them and gives them back."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from handrail.contracts.values import InMemoryOnly, decode, encode

log = logging.getLogger("handrail.keep.channel")

#: What was done to a key; append and prepend added one item to a list.
Verb: TypeAlias = Literal["set", "append", "prepend", "delete"]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a channel."""

    key: str
    verb: Verb
    #: What the key was set to, or the item that was added.
    value: Any = None
    #: When the key ends, in seconds since 1970; none: with the run.
    expires_at: float | None = None

    def data(self) -> dict[str, Any]:
        """As JSON values: `{"key", "value"?, "verb"?, "expires_at"?: milliseconds}`.

        No value stands for a deletion, no verb for "set".
        """
        if self.verb == "delete":
            return {"key": self.key}
        data: dict[str, Any] = {"key": self.key, "value": encode(self.value)}
        if self.verb != "set":
            data["verb"] = self.verb
        if self.expires_at is not None:
            data["expires_at"] = math.ceil(self.expires_at * 1000)
        return data

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Change:
        """From JSON values.

        Raises:
            InMemoryOnly: the value was kept in memory only.
        """
        if "value" not in data:
            return cls(data["key"], "delete")
        expires_at = data["expires_at"] / 1000 if "expires_at" in data else None
        return cls(data["key"], data.get("verb", "set"), decode(data["value"]), expires_at)


def read_changes(data: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    """Changes from JSON values. What was kept in memory only is missing, and a warning says so."""
    for one in data:
        try:
            yield Change.read(one)
        except InMemoryOnly as exc:
            log.warning("channel key %r is not as it was: %s", one["key"], exc)
            if one.get("verb", "set") == "set":
                yield Change(one["key"], "delete")


#: Told of every change.
OnChange: TypeAlias = Callable[[Change], None]
