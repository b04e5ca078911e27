"""A place in an object storage that speaks S3, as its callers want it.

Away for a moment is only slow. Repeating any call is safe, because an object's name says what
it holds, so lost replies are answered by asking again. The storage must be strongly consistent:
what was written is read, and listed, from then on. Amazon's is; see
https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

from handrail.errors import NotInstalledError, RuntimeConfigError, StoreVersionError

try:
    import obstore
    from obstore import exceptions
    from obstore.store import from_url
except ImportError as exc:
    raise NotInstalledError("The client library of object storages", "s3") from exc

from handrail.keep.bucket_faults import FAILURES, broke_off, bucket_faults, is_missing

#: Layout of the objects that this release writes.
FORMAT = 1
_LAYOUT = f"{FORMAT}\n".encode()

#: Longer contents are sent in parts.
SHORT_BYTES = 4 << 20
#: S3 takes parts from 5 MiB, and 10,000 of them.
_PART_BYTES = 6 << 20
_MOST_PARTS = 9_000
#: Parts of one content that are on their way at the same time. Only one content is sent in
#: parts at a time, so `_PARTS * _PART_BYTES` bounds the memory, up to contents of 50 GB.
_PARTS = 4
_PIECE_BYTES = 1 << 20
_TRIES = 3

#: How long the first call waits: a wrong address should be told at once.
_FIRST_SECONDS = 1.0
_STALLED_SECONDS = 60
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


_Answer = TypeVar("_Answer")


class Stored(NamedTuple):
    """An object as lists show it."""

    key: str
    #: Milliseconds since 1970, UTC, by the storage's clock; some cut it to whole seconds.
    stored_at: int


class Bucket:
    """Objects by key, below one prefix of one bucket. Any thread may call.

    The first call looks whether the place can be used, and marks it with its layout.

    Args:
        store: a store of the library `obstore`.
        place: how messages call it.
        first: the same store, for the first call.

    Calls raise what `bucket_faults` says.
    """

    def __init__(self, store: Any, place: str, *, first: Any = None) -> None:
        self.place = place
        self._store = store
        self._first = store if first is None else first
        self._is_ready = False
        self._getting_ready = threading.Lock()
        self._sending_parts = threading.Lock()
        self._can_create = True

    @classmethod
    def at(
        cls,
        url: str,
        *,
        patience_seconds: float = 15.0,
        environment: Mapping[str, str] | None = None,
    ) -> Bucket:
        """The place that a URL names: `s3://bucket/prefix`.

        What stands behind `?` are options of the library, such as `endpoint` and `region`; what
        is not said there it takes from the environment (`AWS_ENDPOINT_URL`, `AWS_REGION`, ...).

        Args:
            patience_seconds: how long a call waits for a storage that was there and is away.
            environment: where an endpoint without TLS may be named; the process's by default.

        Raises:
            RuntimeConfigError: the URL cannot be; its text is not shown.
        """
        parts = urlsplit(url)
        place = shown(url)
        if parts.username or parts.password:
            raise RuntimeConfigError(
                f"{place}: credentials stand before the bucket. Set AWS_ACCESS_KEY_ID and "
                f"AWS_SECRET_ACCESS_KEY instead."
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        environment = os.environ if environment is None else environment
        endpoints = (options.get("endpoint"), *(environment.get(name) for name in _ENDPOINTS))
        is_plain = next((text for text in endpoints if text), "").startswith("http://")

        def store(seconds: float) -> Any:
            client: Any = {
                "allow_http": is_plain,
                "connect_timeout": "5s",
                "read_timeout": f"{_STALLED_SECONDS}s",
                "timeout": "1h",  # of whole transfers; a stalled one is noticed much earlier
            }
            return from_url(
                place, config=options or None, client_options=client, retry_config=_retry(seconds)
            )

        try:
            return cls(store(patience_seconds), place, first=store(_FIRST_SECONDS))
        except exceptions.UnknownConfigurationKeyError:
            known = ", ".join(sorted(options))
            raise RuntimeConfigError(
                f"{place}: an option is unknown to the library, one of: {known}."
            ) from None
        except (exceptions.BaseError, ValueError, TypeError):
            raise RuntimeConfigError(
                f"{place} is no place in an object storage, or an option behind '?' cannot be. "
                f"Expected s3://bucket/prefix?option=value&..."
            ) from None

    def check(self, *, create: bool = True) -> bool:
        """Looks, once, whether the place can be used. False: nothing was ever stored there.

        Args:
            create: marks a place that was never used.

        Raises:
            StoreVersionError: a newer Handrail stored things there.
            RuntimeConfigError, StoreError: it cannot be used; the message says what to do.
        """
        if self._is_ready:
            return True
        with self._getting_ready:
            if not self._is_ready:
                with bucket_faults(self.place):
                    found = _asked(self._read_format)
                    if found is None and create:
                        _asked(lambda: self._write(self._first, "format", _LAYOUT))
                self._is_ready = found is not None or create
        return self._is_ready

    def put(self, key: str, content: bytes, *, replace: bool = False) -> bool:
        """Stores an object of a few MB at most. False: there was one, and it stays as it is.

        Args:
            replace: stores it in any case, which renews its time.
        """
        self.check()
        with bucket_faults(self.place, key):
            if replace:
                _asked(lambda: obstore.put(self._store, key, content, use_multipart=False))
                return True
            return _asked(lambda: self._write(self._store, key, content))

    def put_pieces(
        self, key: str, size_bytes: int, pieces: Callable[[], Iterator[bytes | memoryview]]
    ) -> None:
        """Stores an object of any length, in place of what was there, in constant memory.

        Args:
            pieces: gives the content from its beginning; called again for another try. What
                it raises is raised here, and nothing is stored then.
        """
        self.check()
        before = self.stored_at(key)
        part_bytes = max(_PART_BYTES, -(-size_bytes // _MOST_PARTS))
        with self._sending_parts, bucket_faults(self.place, key):
            for tries_left in reversed(range(_TRIES)):
                try:
                    obstore.put(
                        self._store,
                        key,
                        pieces(),
                        chunk_size=part_bytes,
                        max_concurrency=_PARTS,
                    )
                    return
                except FAILURES:
                    # When the reply to the last request is lost and it is sent again, the
                    # upload is unknown by then; but the object is there.
                    if self.stored_at(key) not in (None, before):
                        return
                    if not tries_left:
                        raise

    def get(self, key: str) -> Iterator[bytes]:
        """The content of an object, in pieces.

        Raises:
            UnknownRefError: there is no such object.
        """
        self.check()
        with bucket_faults(self.place, key):
            answer = _asked(lambda: obstore.get(self._store, key))
            for piece in answer.stream(min_chunk_size=_PIECE_BYTES):
                yield bytes(piece)

    def stored_at(self, key: str) -> int | None:
        """When an object was last stored; none if there is no such object."""
        self.check()
        with bucket_faults(self.place, key):
            try:
                return _stored(_asked(lambda: obstore.head(self._store, key))).stored_at
            except FileNotFoundError as error:
                if is_missing(error):
                    return None
                raise

    def below(self, folder: str) -> Iterator[Stored]:
        """The objects whose keys begin with `folder` and a slash."""
        self.check()
        last = None
        tries_left = _TRIES
        with bucket_faults(self.place, folder):
            while True:
                try:
                    for page in obstore.list(self._store, folder, offset=last, chunk_size=1000):
                        for found in page:
                            last = found["path"]
                            yield _stored(found)
                    return
                except exceptions.BaseError as error:
                    tries_left -= 1
                    if not tries_left or not broke_off(error):
                        raise

    def delete(self, key: str) -> None:
        """Removes an object; a missing one is fine."""
        self.check()
        with bucket_faults(self.place, key):
            try:
                _asked(lambda: obstore.delete(self._store, key))
            except FileNotFoundError as error:
                if not is_missing(error):
                    raise

    def _read_format(self) -> int | None:
        try:
            text = bytes(obstore.get(self._first, "format").bytes())[:20].strip()
        except FileNotFoundError as error:
            if is_missing(error):
                return None
            raise
        if not text.isdigit():
            raise RuntimeConfigError(
                f"{self.place} holds other things: its 'format' is no number. "
                f"Name an empty prefix in HANDRAIL_OBJECTS_URL."
            )
        if int(text) > FORMAT:
            raise StoreVersionError(self.place, int(text), FORMAT)
        return int(text)

    def _write(self, store: Any, key: str, content: bytes) -> bool:
        """Stores an object if there is none."""
        if self._can_create:
            try:
                obstore.put(store, key, content, mode="create")
                return True
            except exceptions.AlreadyExistsError:
                return False
            except (exceptions.NotSupportedError, NotImplementedError):
                self._can_create = False
        try:
            obstore.head(store, key)
            return False
        except FileNotFoundError as error:
            if not is_missing(error):
                raise
        obstore.put(store, key, content, use_multipart=False)
        return True


def shown(url: str) -> str:
    """A URL without user, password and options."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}"


def _asked(act: Callable[[], _Answer]) -> _Answer:
    """The answer to a request that may be repeated; one that broke off is asked for again."""
    for tries_left in reversed(range(_TRIES)):
        try:
            return act()
        except exceptions.BaseError as error:
            if not tries_left or not broke_off(error):
                raise
    raise AssertionError


def _retry(seconds: float) -> Any:
    backoff = {
        "init_backoff": timedelta(milliseconds=20),
        "max_backoff": timedelta(seconds=1),
        "base": 2,
    }
    return {
        "backoff": backoff,
        "max_retries": 1_000,  # the time is the limit
        "retry_timeout": timedelta(seconds=seconds),
    }


def _stored(found: Any) -> Stored:
    return Stored(found["path"], int(found["last_modified"].timestamp() * 1000))
