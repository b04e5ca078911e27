"""Identifiers of runs, attempts and events, and the tokens that order attempts.

Ids sort by time and are handed in by tests through `Ids`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, as in the ULID specification


class Token(NamedTuple):
    """Monotonic number of an attempt: tuples compare, the later attempt is the larger.

    Source of the idea: fencing tokens, M. Kleppmann, "How to do distributed locking" (2016).
    """

    #: Opening of the run: 1 for the first, one more for each resume.
    epoch: int
    #: Attempts begun within that epoch.
    sequence: int


def _base32(number: int, length: int) -> str:
    chars = []
    for _ in range(length):
        chars.append(_ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(chars))


class Ids:
    """Makes ids from a clock and a source of randomness, both replaceable.

    `now` returns milliseconds since 1970 (UTC), `random_bytes(n)` returns `n` bytes.
    """

    def __init__(
        self,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._now = now
        self._random_bytes = random_bytes

    def new(self) -> str:
        """A 16 character id: 9 of time in milliseconds, 7 of chance."""
        chance = int.from_bytes(self._random_bytes(5), "big")
        return _base32(self._now(), 9) + _base32(chance, 7)
