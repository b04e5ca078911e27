"""HTTP requests to a LakeFS server, sent until they are answered.

Plain HTTP, since the client that LakeFS publishes (lakefs-sdk) reads whole objects into memory.

**Lost replies.** A request whose answer is lost may have taken effect, now or later. Each is
sent again until it is answered, which is safe for one of these reasons:

| request | sent again it |
|---|---|
| read, delete, upload, set metadata | has the same effect |
| create a branch or repository | is refused (409), and the caller looks whose it is |
| commit | is refused as empty, or repeats; the caller looks for its own mark on the branch |
| merge a published commit | finds nothing left to merge |
"""

from __future__ import annotations

import json
import random
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3
from pydantic import SecretStr

from handrail.errors import (
    RuntimeConfigError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    UnknownRefError,
)

#: Bytes handed over at once when a file is sent or received.
PIECE_BYTES = 1 << 20

_PAUSES_SECONDS = (0.05, 0.2, 0.8, 2.0)
_BUSY = frozenset({423, 429, 502, 503, 504})
#: What it says, with status 500, when two requests for one branch met in its database.
_MET = (b"predicate failed", b"currently locked")

Body = Callable[[], Iterable[bytes]]


class LakeFSRefusal(StoreError):
    """The server answered that it will not do something."""

    retryable = False

    def __init__(self, text: str, status: int, said: str) -> None:
        self.status = status
        self.said = said
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered."""

    status: int
    content: bytes

    @property
    def is_busy(self) -> bool:
        """Is the same request likely to be answered a little later?"""
        met = self.status == 500 and any(text in self.content for text in _MET)
        return met or self.status in _BUSY

    @property
    def has_no_repository(self) -> bool:
        """Is what was asked for missing because the whole repository is?"""
        return self.status == 404 and b"repository not found" in self.content

    def json(self) -> Any:
        return json.loads(self.content)


class LakeFSConnection:
    """Connections to one server, as one user; safe for threads.

    Args:
        endpoint: where the server is, such as `https://lakefs.example.com`.
        access_key: names the user.
        secret_key: never shown in a message, log or representation.
        timeout_seconds: how long the server may stay silent.
        connections: how many at the same time.

    Raises:
        RuntimeConfigError: `endpoint` is no address, or holds a password.
    """

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: SecretStr,
        *,
        timeout_seconds: float,
        connections: int,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = _checked(endpoint)
        self._login = SecretStr(
            b64encode(f"{access_key}:{secret_key.get_secret_value()}".encode()).decode()
        )
        self._pause = pause
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            block=True,
            retries=False,
            timeout=urllib3.Timeout(connect=10.0, read=timeout_seconds),
        )

    def __repr__(self) -> str:
        return f"LakeFSConnection({self.endpoint!r})"

    @property
    def name(self) -> str:
        """For messages."""
        return f"LakeFS at {self.endpoint}"

    def close(self) -> None:
        """Closes them."""
        self._pool.clear()

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        value: Any = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        also: tuple[int, ...] = (),
        start: Callable[[], Callable[[bytes], object]] | None = None,
    ) -> Answer:
        """Sends a request, again while it is not answered; see the top of this module."""
        url = f"{self.endpoint}/api/v1{path}" + (f"?{urlencode(query)}" if query else "")
        sent = {"Authorization": f"Basic {self._login.get_secret_value()}", **(headers or {})}
        if value is not None:
            sent["Content-Type"] = "application/json"
            encoded = json.dumps(value).encode()
        for seconds in (*_PAUSES_SECONDS, None):
            content: Any = encoded if value is not None else body() if body else None
            try:
                answer = self._answer(method, url, content, sent, start)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                ours = _ours(error)
                if ours is not None:
                    raise ours from ours.__cause__
                if seconds is None:
                    raise self._silent(error) from error
            else:
                if not answer.is_busy or seconds is None:
                    break
            self._pause(seconds * random.uniform(0.5, 1.0))
        if answer.status < 300:
            return answer
        if answer.status in also:
            return answer
        if answer.has_no_repository:
            raise UnknownRefError(f"No repository '{path.split('/')[2]}' in {self.name}.")
        raise self._refusal(answer)

    def _answer(
        self,
        method: str,
        url: str,
        content: Any,
        headers: Mapping[str, str],
        start: Callable[[], Callable[[bytes], object]] | None,
    ) -> Answer:
        reply = self._pool.request(
            method,
            url,
            body=content,
            headers=headers,
            redirect=False,
            preload_content=start is None,
        )
        if start is None:
            return Answer(reply.status, reply.data)
        with _released(reply):
            if reply.status >= 300:
                return Answer(reply.status, reply.read())
            take = start()
            for piece in reply.stream(PIECE_BYTES, decode_content=False):
                take(piece)
        return Answer(reply.status, b"")

    def _silent(self, error: Exception) -> StoreError:
        return StoreError(
            f"{self.name} does not answer ({type(error).__name__}). Check that the server runs "
            f"and that its address is right, then try again."
        )

    def _refusal(self, answer: Answer) -> StoreError:
        said = _said(answer)
        if answer.status == 401:
            return LakeFSRefusal(
                f"{self.name} does not know this user ({said}). Check access key and secret.",
                401,
                said,
            )
        if answer.status == 403 and "read-only" not in said:
            return StoreReadOnlyError(
                f"{self.name} does not allow this to the user ({said}). Ask its administrator "
                f"for read and write access to the repository."
            )
        if "no space left" in said or answer.status == 507:
            return StoreFullError(f"No space left for {self.name} ({said}). Free some there.")
        text = f"{self.name} refused ({answer.status}): {said}."
        if answer.status >= 500 or answer.status in _BUSY:
            return StoreError(f"{text} Look into the server's log, then try again.")
        return LakeFSRefusal(text, answer.status, said)


@contextmanager
def _released(reply: urllib3.BaseHTTPResponse) -> Iterator[None]:
    """Gives a connection back if its answer was read to the end, and closes it if not."""
    try:
        yield
    except BaseException:
        reply.close()
        raise
    reply.release_conn()


def _ours(error: BaseException | None) -> StoreError | None:
    """What went wrong on this side while a content was read or written, if it did.

    Some of our errors are OSErrors too, which urllib3 takes for a broken connection.
    """
    while error is not None and not isinstance(error, StoreError):
        error = error.__context__
    return error


def _checked(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RuntimeConfigError("The address of LakeFS must be like https://lakefs.example.com")
    if parts.username or parts.password:
        raise RuntimeConfigError("The address of LakeFS must hold no user and no password.")
    return endpoint.rstrip("/").removesuffix("/api/v1")


def _said(answer: Answer) -> str:
    try:
        text = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = answer.content[:200].decode(errors="replace") or "no reason given"
    return " ".join(text.split()).rstrip(".")
