"""A channel in Redis, for runs whose tasks are on several machines.

    handrail:channel:<run>:value:<key>    a value as JSON text, or a list of such texts
    handrail:channel:<run>:keys           sorted set of keys
    handrail:channel:<run>:begun          inputs were put there
    handrail:channel:<run>:done           hash of the last change of each caller
    handrail:channel:<run>:lock:<key>     ticket of the lock's holder; also `line:`, `seen:`
    handrail:channel:<run>:locks          set of keys whose lock was asked for

Everything goes when the run has succeeded, else after `keep_seconds` without a sign of life.
Values are data (`handrail.contracts.foreign`), so that who can write to Redis cannot run code
here. A change whose reply was lost is sent again and done once.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Mapping
from typing import Any

from handrail.contracts.foreign import decode_data, encode_data
from handrail.errors import StoreError
from handrail.keep import redis_scripts as scripts
from handrail.keep.channel import (
    Channel,
    checked_amount,
    checked_key,
    checked_ttl,
    is_number,
    not_a,
)
from handrail.keep.redis_keeper import Keeper
from handrail.keep.redis_server import Callers, RedisServer

log = logging.getLogger("handrail.keep.redis")

#: Values of a run that did not succeed are kept for so long: seven days.
KEEP_SECONDS = 7 * 24 * 3600.0

_CHUNK_COUNT = 10_000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05
#: Who waits for a lock and has not asked for so long is taken for dead (milliseconds).
_PATIENCE = 2_000
#: Longer times to live are cut to this (milliseconds, some 280,000 years).
_LONGEST = 1 << 53


class RedisChannel(Channel):
    """A run's channel in a Redis server (>= 6). Needs the extra `redis`.

    Any number of objects, in any process, may be open on one run. Values are plain data, tuples,
    sets, dates, pydantic models, dataclasses and the like; what only a pickle could keep is
    refused.

    Args:
        server: or its URL; see `RedisServer`.
        namespace: id of the run.
        keep_seconds: how long values stay when the run does not succeed.
        lock_lease_seconds: how long a lock stays with a process that died.

    Raises:
        NotInstalledError: the extra is missing.
        RuntimeConfigError: the URL cannot be.
    """

    def __init__(
        self,
        server: RedisServer | str,
        namespace: str,
        *,
        keep_seconds: float = KEEP_SECONDS,
        lock_lease_seconds: float = 10.0,
    ) -> None:
        super().__init__()
        self._server = RedisServer(server) if isinstance(server, str) else server
        self._callers = Callers()
        self.namespace = namespace
        self._prefix = f"handrail:channel:{namespace}:"
        self._values = f"{self._prefix}value:"
        self._index = f"{self._prefix}keys"
        self._done = f"{self._prefix}done"
        self._locks = f"{self._prefix}locks"
        self._begun = f"{self._prefix}begun"
        self._own = [self._index, self._begun, self._done, self._locks]
        self._keep = _milliseconds(keep_seconds)
        self._lease = _milliseconds(lock_lease_seconds)
        self._keeper = Keeper(self._renew, self._refresh, lock_lease_seconds / 3, keep_seconds / 3)

    # Values

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default`.

        Raises:
            StoreCorruptError: what is there is no value of a channel, or is pickled.
        """
        found = self._server.run(scripts.GET, [self._value(key)])
        if found is None:
            return default
        if isinstance(found, list):
            return [self._decode(key, item) for item in found]
        return self._decode(key, found)

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        """Sets `key`, for `ttl` seconds if given.

        Raises:
            NotSerializableError: only a pickle could keep the value.
        """
        ends_in = _ends_in(ttl)
        if type(value) is list and value:
            self._set_list(key, [self._encode(key, item) for item in value], ends_in)
            return
        args = [self._encode(key, value), key, ends_in, self._keep]
        self._server.run(scripts.SET, [self._value(key), self._index], args)

    def delete(self, key: str) -> bool:
        """Removes `key`. False: there was none."""
        args = [key, self._keep, *self._callers.next()]
        return bool(self._server.run(scripts.DELETE, self._at(key), args) == b"1")

    def exists(self, key: str) -> bool:
        """Is there such a key?"""
        return bool(self._server.call(lambda redis: redis.exists(self._value(key))))

    def keys(self) -> list[str]:
        """All keys."""
        found = self._server.run(scripts.LIST, [self._index], [self._values])
        return [key.decode("utf-8", "surrogatepass") for key in found]

    def clear(self) -> None:
        """Removes every key."""
        self._server.run(scripts.CLEAR, [self._index], [self._values])

    def append(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Adds to the end of a list, made if need be; returns its length."""
        return self._extend("RPUSH", key, value, ttl)

    def prepend(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Adds to the front of a list, made if need be; returns its length."""
        return self._extend("LPUSH", key, value, ttl)

    def atomic_add(self, key: str, amount: float = 1) -> Any:
        """Adds to a number, 0 at first; returns the sum."""
        amount = checked_amount(amount)
        while True:
            args = [repr(amount), key, self._keep, *self._callers.next()]
            how, text = self._server.run(scripts.ADD, self._at(key), args)
            if how == b"=":
                return int(text)
            # No text: a list, or what has taken its place since.
            before = self.get(key, 0) if text is None else self._decode(key, text or b"0")
            if not is_number(before):
                raise TypeError(not_a(key, before, "number"))
            after = before + amount
            args = [text or b"", self._encode(key, after), key, self._keep, *self._callers.next()]
            if self._server.run(scripts.REPLACE, self._at(key), args):
                return after
            time.sleep(random.uniform(0, _FIRST_PAUSE))

    # Locks

    def take_lock(self, key: str, ticket: str, wait_seconds: float) -> bool:
        """Stands in line for a lock. Held, it is renewed until it is dropped."""
        ends_at = time.monotonic() + wait_seconds
        pause = _FIRST_PAUSE
        args = [ticket, self._lease, _PATIENCE, key, self._keep]
        while not self._server.run(scripts.TAKE, self._lock_keys(key), args):
            left = ends_at - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, pause))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        self._keeper.hold(key, ticket)
        return True

    def drop_lock(self, key: str, ticket: str) -> bool:
        """Gives a lock back or leaves the line."""
        self._keeper.let_go(key, ticket)
        args = [ticket, key, self._keep, *self._callers.next()]
        keys = [*self._lock_keys(key), self._done]
        return bool(self._server.run(scripts.DROP, keys, args) == b"1")

    # A run's life

    def begin(self, inputs: Mapping[str, Any], *, resumed: bool) -> None:
        """Puts the inputs there, once in a run's life, and keeps values alive from now on."""
        if not self._server.call(lambda redis: redis.exists(self._begun)):
            if resumed:
                raise StoreError(
                    f"The channel of run {self.namespace} is no longer in Redis at "
                    f"{self._server.address}: it was kept for {self._keep / 1000:g} s "
                    f"(HANDRAIL_CHANNEL_KEEP_SECONDS), flushed, or is in another database. Its "
                    f"finished tasks would not be run again, so start a new run."
                )
            for key, value in inputs.items():
                self.set(key, value)
            self._server.call(lambda redis: redis.set(self._begun, 1, px=self._keep))
        self._keeper.begin()

    def end(self, *, succeeded: bool) -> None:
        """Removes everything after success, else leaves it for `keep_seconds`.

        Trouble is logged: the run is over, and what is left behind ends by itself.
        """
        self._keeper.end()
        try:
            if succeeded:
                prefixes = [self._prefix + part for part in ("lock:", "line:", "seen:")]
                self._server.run(scripts.REMOVE, self._own, [self._values, *prefixes])
            else:
                self._refresh()
        except StoreError as error:
            log.warning("run %s: its channel was not tidied up: %s", self.namespace, error)

    # Parts

    def _value(self, key: str) -> str:
        return self._values + checked_key(key)

    def _at(self, key: str) -> list[str]:
        return [self._value(key), self._index, self._done]

    def _lock_keys(self, key: str) -> list[str]:
        return [
            f"{self._prefix}lock:{key}",
            f"{self._prefix}line:{key}",
            f"{self._prefix}seen:{key}",
            self._locks,
        ]

    def _encode(self, key: str, value: Any) -> str:
        return encode_data(value, f"channel key {key!r}")

    def _decode(self, key: str, text: bytes) -> Any:
        name = f"channel key {key!r} of run {self.namespace}"
        return decode_data(text.decode("utf-8", "replace"), name)

    def _set_list(self, key: str, items: list[str], ends_in: str) -> None:
        def put(redis: Any) -> None:
            with redis.pipeline(transaction=True) as step:
                step.unlink(self._value(key))
                for start in range(0, len(items), _CHUNK_COUNT):
                    step.rpush(self._value(key), *items[start : start + _CHUNK_COUNT])
                step.pexpire(self._value(key), ends_in or self._keep)
                step.zadd(self._index, {key: 1 if ends_in else 0})
                step.pexpire(self._index, self._keep)
                step.execute()

        self._server.call(put)

    def _extend(self, command: str, key: str, value: Any, ttl: float | None) -> int:
        item = self._encode(key, value)
        args = [command, item, key, _ends_in(ttl), self._keep, *self._callers.next()]
        length = self._server.run(scripts.EXTEND, self._at(key), args)
        if length == b"-":
            raise TypeError(not_a(key, self.get(key), "list"))
        return int(length)

    def _renew(self, key: str, ticket: str) -> bool:
        keys = [f"{self._prefix}lock:{key}"]
        return bool(self._server.run(scripts.RENEW, keys, [ticket, self._lease]))

    def _refresh(self) -> None:
        self._server.run(scripts.REFRESH, self._own, [self._values, self._keep])


def _milliseconds(seconds: float) -> int:
    return max(1, min(math.ceil(seconds * 1000), _LONGEST))


def _ends_in(ttl: float | None) -> str:
    ttl = checked_ttl(ttl)
    return "" if ttl is None else str(_milliseconds(ttl))
