"""Objects in an object storage, for several machines, with a cache on each.

An object `abcdef…` has the key `objects/ab/cdef…`. Every content passes through the cache: what
is put is hashed into it and sent from there, what is read is brought there first. Both ways it
is hashed again, so neither a damaged cache nor a damaged transfer gets any further.

**Why a sweep never takes what somebody needs.** Three rules, for a grace period G (a day):

1. A sweep deletes only what was stored more than G ago.
2. A put that finds its object younger than G/2 leaves it; an older one is stored again, which
   makes it young.
3. If anybody has deleted anything meanwhile, `flush` waits for the deletions that are on their
   way, looks whether what was put is still there, and stores what is not again; see
   `handrail.keep.deletions`.

A put relies on an object that is younger than G/2 when it looks. If it was never a candidate of
a sweep that is under way, rule 1 leaves G/2 until it is one: enough to publish the commit that
refers to it, after which every sweep reaches it. If a sweep had already decided to delete it,
that happens before `flush` returns. So it is safe as long as an attempt publishes within G/2 of
staging, less the difference of the clocks, and as no sweep is stopped for minutes between looking
and deleting. One place belongs to one journal: a sweep knows the commits of one.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from handrail.errors import StoreCorruptError, StoreError, UnknownRefError
from handrail.keep.base import ObjectInfo, ObjectStore
from handrail.keep.bucket import SHORT_BYTES, Bucket
from handrail.keep.deletions import LONGEST_SECONDS, Deletions
from handrail.keep.faults import storage_faults
from handrail.keep.object_cache import ObjectCache
from handrail.keep.objects import PIECE_BYTES, is_digest

#: The least time that an object stays after it was last stored.
GRACE_SECONDS = 86_400.0

_FOLDER = "objects"
_TRIES = 3
_LOOKERS = 8
#: How many objects are remembered as stored.
_MOST_KNOWN = 200_000
#: Storages tell times in whole seconds.
_SECOND_MS = 1_000


class _Damaged(StoreError):
    """A cached content is not what its name says, so it was not sent."""


class SharedObjects(ObjectStore):
    """Objects at a place that several machines share. Any thread may call.

    Args:
        bucket: where they are.
        cache: what this machine has of them.
        grace_seconds: the least time that an object stays after it was last stored.
        now: milliseconds since 1970, UTC.

    Raises (every call): what `handrail.keep.bucket_faults` says.
    """

    def __init__(
        self,
        bucket: Bucket,
        cache: ObjectCache,
        *,
        grace_seconds: float = GRACE_SECONDS,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.bucket = bucket
        self.cache = cache
        self._grace_ms = int(grace_seconds * 1000)
        self._now = now
        self._deletions = Deletions(bucket, now)
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        #: When objects were stored, of those that are known to be.
        self._known: dict[str, int] = {}
        self._unflushed: set[str] = set()
        self._unflushed_since = 0

    def put_bytes(self, content: bytes) -> ObjectInfo:
        info = self.cache.put_bytes(content)
        self._send(info, io.BytesIO(content))
        return info

    def put_file(self, path: Path) -> ObjectInfo:
        for _ in range(_TRIES):
            info = self.cache.put_file(path)
            try:
                with self.cache.open(info.digest) as file:
                    self._send(info, file)
                return info
            except UnknownRefError:
                continue  # another process has made room meanwhile
            except _Damaged:
                self.cache.drop(info.digest)
        raise StoreError(
            f"{path} could not be kept in {self.cache.folder} until it was sent. "
            f"Raise HANDRAIL_OBJECTS_CACHE_BYTES, and check the disk."
        )

    def flush(self) -> None:
        # One at a time: what another thread is looking after may be ours.
        with self._flushing:
            with self._lock:
                digests, self._unflushed = self._unflushed, set()
                since = self._unflushed_since
            try:
                if digests:
                    self._look_after(digests, since)
            except BaseException:
                with self._lock:
                    self._unflushed |= digests
                    self._unflushed_since = since
                raise

    def open(self, digest: str) -> BinaryIO:
        _check_digest(digest)
        return self.cache.sound(digest) or self._fetched(digest)

    def copy_to(self, digest: str, path: Path, mode: int) -> None:
        _check_digest(digest)
        try:
            self.cache.copy_to(digest, path, mode)
            return
        except UnknownRefError:
            pass
        except StoreCorruptError:
            self.cache.drop(digest)
        with self._fetched(digest) as file:
            self.cache.copy_open(file, path, mode)

    def __contains__(self, digest: str) -> bool:
        if not is_digest(digest):
            return False
        if self._is_young(self._known.get(digest)):
            return True
        stored_at = self.bucket.stored_at(_key(digest))
        if stored_at is not None:
            self._know(digest, stored_at)
        return stored_at is not None

    def digests(self) -> Iterator[str]:
        for stored in self.bucket.below(_FOLDER):
            digest = "".join(stored.key.split("/")[-2:])
            if is_digest(digest):
                yield digest

    def delete(self, digest: str, stored_before: int) -> bool:
        _check_digest(digest)
        key = _key(digest)
        if not self._is_over(self.bucket.stored_at(key), stored_before):
            return False
        with self._deletions.decision():
            looked_at = time.monotonic()
            if not self._is_over(self.bucket.stored_at(key), stored_before):
                return False
            if time.monotonic() - looked_at > LONGEST_SECONDS / 2:
                return False  # this process was stopped; others have given up waiting for it
            with self._lock:
                self._known.pop(digest, None)
            self.bucket.delete(key)
        self.cache.drop(digest)
        return True

    def close(self) -> None:
        self._deletions.close()

    # Sending

    def _send(self, info: ObjectInfo, file: BinaryIO) -> None:
        digest, key = info.digest, _key(info.digest)
        if self._is_young(self._known.get(digest)):
            return
        self._begin(digest)
        content = _read_short(info, file)
        if content is not None and self.bucket.put(key, content):
            stored_at = None
        else:
            stored_at = self.bucket.stored_at(key)
            if not self._is_young(stored_at):
                self._replace(key, info, file, content)
                stored_at = None
        self._know(digest, self._now() if stored_at is None else stored_at)

    def _replace(self, key: str, info: ObjectInfo, file: BinaryIO, content: bytes | None) -> None:
        if content is not None:
            self.bucket.put(key, content, replace=True)
            return
        self.bucket.put_pieces(key, info.size_bytes, lambda: _checked_pieces(info, file))

    def _begin(self, digest: str) -> None:
        with self._lock:
            if not self._unflushed:
                self._unflushed_since = self._now()
            self._unflushed.add(digest)

    def _look_after(self, digests: set[str], since: int) -> None:
        while self._deletions.await_those_since(since):
            missing = self._missing(sorted(digests))
            if not missing:
                return
            for digest in missing:
                self._send_again(digest)

    def _missing(self, digests: list[str]) -> list[str]:
        with ThreadPoolExecutor(_LOOKERS, thread_name_prefix="handrail-look") as pool:
            stored = list(pool.map(lambda digest: self.bucket.stored_at(_key(digest)), digests))
        return [digest for digest, at in zip(digests, stored, strict=True) if at is None]

    def _send_again(self, digest: str) -> None:
        file = self.cache.sound(digest)
        if file is None:
            raise StoreError(
                f"{self.bucket.place}: a sweep has deleted object {digest} while it was being "
                f"stored again. Nothing was published; run the task again."
            )
        with file:
            info = ObjectInfo(digest, os.fstat(file.fileno()).st_size)
            self._replace(_key(digest), info, file, _read_short(info, file))
        self._know(digest, self._now())

    # Reading

    def _fetched(self, digest: str) -> BinaryIO:
        with self.cache.alone(digest):
            cached = self.cache.sound(digest)  # another was faster
            if cached is not None:
                return cached
            pieces = self.bucket.get(_key(digest))
            return self.cache.receive(digest, pieces, self.bucket.place)

    # Times

    def _know(self, digest: str, stored_at: int) -> None:
        with self._lock:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[digest] = stored_at

    def _is_young(self, stored_at: int | None) -> bool:
        return stored_at is not None and stored_at > self._now() - self._grace_ms // 2

    def _is_over(self, stored_at: int | None, stored_before: int) -> bool:
        if stored_at is None:
            return False
        is_old = stored_at <= self._now() - self._grace_ms
        return is_old and stored_at + _SECOND_MS <= stored_before


def _key(digest: str) -> str:
    return f"{_FOLDER}/{digest[:2]}/{digest[2:]}"


def _check_digest(digest: str) -> None:
    if not is_digest(digest):
        raise UnknownRefError(f"No object {digest!r} in this store.")


def _read_short(info: ObjectInfo, file: BinaryIO) -> bytes | None:
    """A whole short content, checked; none if it is long."""
    if info.size_bytes > SHORT_BYTES:
        return None
    with storage_faults(getattr(file, "name", "memory")):
        content = file.read()
    if hashlib.sha256(content).hexdigest() != info.digest:
        raise _Damaged(f"Cached object {info.digest} is damaged.")
    return content


def _checked_pieces(info: ObjectInfo, file: BinaryIO) -> Iterator[bytes]:
    """The content in pieces; it ends with an error if it was not what it should be."""
    hashing = hashlib.sha256()
    with storage_faults(getattr(file, "name", "memory")):
        file.seek(0)
        while piece := file.read(PIECE_BYTES):
            hashing.update(piece)
            yield piece
    if hashing.hexdigest() != info.digest:
        raise _Damaged(f"Cached object {info.digest} is damaged.")
