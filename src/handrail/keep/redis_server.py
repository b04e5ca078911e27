"""A Redis server as its callers want it: away for a while is only slow."""

from __future__ import annotations

import logging
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from handrail.errors import NotInstalledError, RuntimeConfigError, StoreError, StoreFullError

log = logging.getLogger("handrail.keep.redis")

_Answer = TypeVar("_Answer")

#: Pauses between tries while the server is away, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5
_CONNECT_SECONDS = 5.0


class RedisServer:
    """Calls a Redis server, again and again until a deadline if it is away. Any thread may call.

    Args:
        url: `redis://[[user]:password@]host[:port][/database]`, `rediss://` with TLS, or
            `unix:///path`.
        deadline_seconds: how long a call waits for a server that is away.

    Raises:
        NotInstalledError: the client library is missing.
        RuntimeConfigError: the URL cannot be.
    """

    def __init__(self, url: str, *, deadline_seconds: float = 30.0) -> None:
        try:
            import redis
        except ImportError as exc:
            raise NotInstalledError("The client library of Redis", "redis") from exc
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self.address = shown_url(url)
        self.deadline_seconds = deadline_seconds
        self._errors = redis.exceptions
        self._scripts: dict[str, Any] = {}
        try:
            self.client = redis.Redis.from_url(
                url,
                encoding_errors="surrogatepass",
                socket_connect_timeout=min(_CONNECT_SECONDS, deadline_seconds),
                socket_timeout=deadline_seconds,
                socket_keepalive=True,
                # Tries are counted here, where the deadline is known.
                retry=Retry(NoBackoff(), 0),
            )
        except (ValueError, TypeError):
            raise RuntimeConfigError(
                f"{self.address!r} is no address of a Redis server. "
                f"Expected redis://host:port/database, rediss:// or unix:///path."
            ) from None

    def call(self, act: Callable[[Any], _Answer]) -> _Answer:
        """Result of `act(client)`. It may be called several times.

        Raises:
            StoreError: the server is away for too long, or refuses.
        """
        ends_at = time.monotonic() + self.deadline_seconds
        pause = _FIRST_PAUSE
        while True:
            try:
                return act(self.client)
            except self._errors.RedisError as exc:
                if not self._is_away(exc):
                    raise self._refused(exc) from exc
                if time.monotonic() + pause > ends_at:
                    raise StoreError(
                        f"Redis at {self.address} did not answer within "
                        f"{self.deadline_seconds:g} s: {exc}"
                    ) from exc
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def run(self, script: str, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """Runs a Lua script on the server."""
        found = self._scripts.get(script)
        if found is None:
            found = self._scripts[script] = self.client.register_script(script)
        return self.call(lambda _: found(keys=keys, args=args))

    def close(self) -> None:
        """Closes the connections; a later call opens others."""
        self.client.close()

    def _is_away(self, exc: Exception) -> bool:
        errors = self._errors
        if isinstance(exc, errors.AuthenticationError):
            return False
        # A read-only server is a former master: its successor has the address in a moment.
        kinds = (errors.ConnectionError, errors.TimeoutError, errors.ReadOnlyError)
        return isinstance(exc, kinds)

    def _refused(self, exc: Exception) -> StoreError:
        if str(exc).startswith("OOM"):
            return StoreFullError(f"Redis at {self.address} has no memory left: {exc}")
        return StoreError(f"Redis at {self.address} refused: {exc}")


class Callers:
    """Numbers the calls of each thread of each process, so that the server knows a repetition."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def next(self) -> tuple[str, str]:
        """`(caller, number)` of a call."""
        mine = self._of_thread
        # A fork goes on with its parent's memory, but is another caller.
        if getattr(mine, "process", None) != os.getpid():
            mine.process, mine.name, mine.number = os.getpid(), secrets.token_hex(6), 0
        mine.number += 1
        return mine.name, str(mine.number)


def shown_url(url: str) -> str:
    """A URL without its user, password and options."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}" if parts.scheme else "the Redis address given"
