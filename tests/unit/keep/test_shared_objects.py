"""Objects that several machines share, over a storage in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore

from handrail.errors import StoreCorruptError, StoreError, UnknownRefError
from handrail.keep.base import ObjectStore
from handrail.keep.bucket import SHORT_BYTES, Bucket
from handrail.keep.deletions import Deletions
from handrail.keep.object_cache import ObjectCache
from handrail.keep.shared_objects import SharedObjects
from handrail.testing.stores import ObjectStoreContract

_LATER = 1 << 50
_DAY_SECONDS = 86_400


class CountingBucket(Bucket):
    """Remembers what was asked for; a test may come between."""

    def __init__(self, store: Any) -> None:
        super().__init__(store, "memory")
        self.calls: list[tuple[str, str]] = []
        self.before_delete: Callable[[], None] = lambda: None

    def get(self, key: str) -> Iterator[bytes]:
        self.calls.append(("get", key))
        return super().get(key)

    def put(self, key: str, content: bytes, *, replace: bool = False) -> bool:
        self.calls.append(("replace" if replace else "put", key))
        return super().put(key, content, replace=replace)

    def put_pieces(self, key: str, size_bytes: int, pieces: Any) -> None:
        self.calls.append(("pieces", key))
        super().put_pieces(key, size_bytes, pieces)

    def stored_at(self, key: str) -> int | None:
        self.calls.append(("look", key))
        return super().stored_at(key)

    def delete(self, key: str) -> None:
        self.calls.append(("delete", key))
        self.before_delete()
        super().delete(key)

    def count(self, kind: str) -> int:
        return sum(call == kind for call, _ in self.calls)


class Machine(SharedObjects):
    """One of several machines, with its own cache, and a clock that a test sets."""

    def __init__(self, folder: Path, store: Any, **options: Any) -> None:
        self.counting = CountingBucket(store)
        self.ahead_seconds = 0.0
        cache = ObjectCache(folder, 1 << 30)
        super().__init__(self.counting, cache, now=self._time, **options)

    def _time(self) -> int:
        return int((time.time() + self.ahead_seconds) * 1000)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def machines(tmp_path: Path, store: MemoryStore) -> Iterator[Callable[[], Machine]]:
    made: list[Machine] = []

    def make() -> Machine:
        made.append(Machine(tmp_path / f"cache{len(made)}", store))
        return made[-1]

    yield make
    for machine in made:
        machine.close()


class TestSharedObjects(ObjectStoreContract):
    @pytest.fixture(autouse=True)
    def close(self) -> Iterator[None]:
        self.made: list[Machine] = []
        yield
        for machine in self.made:
            machine.close()

    def make(self, folder: Path) -> ObjectStore:
        self.made.append(Machine(folder, MemoryStore(), grace_seconds=0))
        return self.made[-1]


def key(digest: str) -> str:
    return f"objects/{digest[:2]}/{digest[2:]}"


def damage(objects: SharedObjects, digest: str) -> None:
    """Changes a byte of what is cached; the length stays."""
    path = objects.cache.folder / digest[:2] / digest[2:]
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


# Caching


def test_a_machine_receives_each_object_once(
    machines: Callable[[], Machine], tmp_path: Path
) -> None:
    one, other = machines(), machines()
    info = one.put_bytes(b"hello")

    def copy(number: int) -> None:
        other.copy_to(info.digest, tmp_path / f"copy{number}", 0o600)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(copy, range(32)))
    assert other.read_bytes(info.digest) == b"hello"
    assert other.counting.count("get") == 1
    assert one.read_bytes(info.digest) == b"hello"
    assert one.counting.count("get") == 0


def test_a_damaged_cache_is_filled_again(machines: Callable[[], Machine], tmp_path: Path) -> None:
    objects = machines()
    info = objects.put_bytes(b"hello")
    damage(objects, info.digest)
    assert objects.read_bytes(info.digest) == b"hello"
    damage(objects, info.digest)
    objects.copy_to(info.digest, tmp_path / "copy", 0o600)
    assert (tmp_path / "copy").read_bytes() == b"hello"
    assert objects.counting.count("get") == 2


@pytest.mark.parametrize("size_bytes", [100, SHORT_BYTES + 1])
def test_what_is_damaged_in_the_cache_is_not_sent(
    machines: Callable[[], Machine], tmp_path: Path, store: MemoryStore, size_bytes: int
) -> None:
    content = b"h" * size_bytes
    (tmp_path / "file").write_bytes(content)
    objects = machines()
    objects.cache.put_bytes(content)  # by an attempt that did not get further
    damage(objects, sha256(content).hexdigest())
    info = objects.put_file(tmp_path / "file")
    assert bytes(obstore.get(store, key(info.digest)).bytes()) == content
    assert objects.read_bytes(info.digest) == content


def test_what_is_damaged_in_the_storage_is_told_and_not_kept(
    machines: Callable[[], Machine], tmp_path: Path, store: MemoryStore
) -> None:
    info = machines().put_bytes(b"hello")
    obstore.put(store, key(info.digest), b"hollo")
    objects = machines()
    with pytest.raises(StoreCorruptError, match=f"{info.digest} in memory does not have"):
        objects.read_bytes(info.digest)
    with pytest.raises(StoreCorruptError):
        objects.copy_to(info.digest, tmp_path / "copy", 0o600)
    assert not (tmp_path / "copy").exists()
    assert list(objects.cache.digests()) == []


# What is stored, and how often


def test_a_content_that_is_there_is_not_sent_again(
    machines: Callable[[], Machine], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"0" * (SHORT_BYTES + 1))
    one, other = machines(), machines()
    for objects in (one, other):
        objects.put_file(tmp_path / "file")
        objects.put_file(tmp_path / "file")
    assert one.counting.count("pieces") == 1
    assert other.counting.count("pieces") == 0
    other.counting.calls.clear()
    other.put_file(tmp_path / "file")
    assert other.counting.calls == []  # known to be there


@pytest.mark.parametrize(("age_days", "replaced"), [(0.4, 0), (0.6, 1), (40, 1)])
def test_an_object_older_than_half_of_its_grace_is_stored_again(
    machines: Callable[[], Machine], age_days: float, replaced: int
) -> None:
    one, other = machines(), machines()
    one.put_bytes(b"hello")
    for objects in (one, other):
        objects.ahead_seconds = age_days * _DAY_SECONDS
        objects.put_bytes(b"hello")
        assert objects.counting.count("replace") == replaced


@pytest.mark.parametrize(("age_days", "is_deleted"), [(0.9, False), (1.1, True)])
def test_only_what_has_outlived_its_grace_is_deleted(
    machines: Callable[[], Machine], age_days: float, is_deleted: bool
) -> None:
    objects = machines()
    info = objects.put_bytes(b"hello")
    objects.ahead_seconds = age_days * _DAY_SECONDS
    assert objects.delete(info.digest, _LATER) is is_deleted
    assert (info.digest in machines()) is not is_deleted


def test_an_object_is_missing_where_only_the_cache_has_it(
    machines: Callable[[], Machine],
) -> None:
    """Whoever refers to it would publish what others cannot read."""
    objects = machines()
    digest = objects.cache.put_bytes(b"hello").digest
    assert digest not in objects


# Deleting while others put


def test_nobody_looks_again_if_nobody_has_deleted(machines: Callable[[], Machine]) -> None:
    objects = machines()
    objects.put_bytes(b"hello")
    objects.counting.calls.clear()
    objects.flush()
    assert objects.counting.calls == []


def test_what_a_sweep_was_about_to_delete_is_there_after_a_flush(
    machines: Callable[[], Machine], store: MemoryStore
) -> None:
    sweeper, writer = machines(), machines()
    digest = sweeper.put_bytes(b"hello").digest
    sweeper.ahead_seconds = 2 * _DAY_SECONDS  # long forgotten
    has_decided, may_delete = threading.Event(), threading.Event()

    def wait() -> None:
        has_decided.set()
        assert may_delete.wait(30)

    sweeper.counting.before_delete = wait
    with ThreadPoolExecutor(2) as pool:
        deleted = pool.submit(sweeper.delete, digest, _LATER)
        assert has_decided.wait(30)
        writer.put_bytes(b"hello")  # stored again, and about to be deleted
        flushed = pool.submit(writer.flush)
        with pytest.raises(TimeoutError):
            flushed.result(timeout=0.3)  # it waits for the sweep
        may_delete.set()
        assert deleted.result(timeout=30)
        flushed.result(timeout=30)
    assert bytes(obstore.get(store, key(digest)).bytes()) == b"hello"
    assert writer.counting.count("replace") == 1  # by the flush
    assert digest in writer


def test_what_was_deleted_and_cannot_be_stored_again_is_told(
    machines: Callable[[], Machine], store: MemoryStore
) -> None:
    sweeper, writer = machines(), machines()
    old = sweeper.put_bytes(b"old").digest
    sweeper.ahead_seconds = 2 * _DAY_SECONDS
    assert sweeper.delete(old, _LATER)
    digest = writer.put_bytes(b"hello").digest
    obstore.delete(store, key(digest))
    writer.cache.drop(digest)
    for _ in range(2):  # until it is put again
        with pytest.raises(StoreError, match="a sweep has deleted"):
            writer.flush()
    writer.put_bytes(b"hello")
    writer.flush()
    assert digest in writer


def test_a_sweep_that_was_killed_is_not_waited_for_forever(store: MemoryStore) -> None:
    bucket = Bucket(store, "memory")
    bucket.put("deleting/killed", b"7")
    waiting = Deletions(bucket, lambda: int(time.time() * 1000), longest_seconds=0.3)
    began = time.monotonic()
    assert waiting.await_those_since(0)
    assert time.monotonic() - began >= 0.3
    began = time.monotonic()
    assert waiting.await_those_since(0)
    assert time.monotonic() - began < 0.3  # once is enough


def test_a_round_ends_by_itself_and_old_marks_are_cleared_away(
    machines: Callable[[], Machine], store: MemoryStore
) -> None:
    first = machines()
    digest = first.put_bytes(b"hello").digest
    first.ahead_seconds = 2 * _DAY_SECONDS
    assert first.delete(digest, _LATER)
    (mark,) = [one["path"] for page in obstore.list(store, "deleting") for one in page]
    assert bytes(obstore.get(store, mark).bytes()) == b"1"
    until = time.monotonic() + 30
    while bytes(obstore.get(store, mark).bytes()) != b"closed":
        assert time.monotonic() < until
        time.sleep(0.02)
    second = machines()
    digest = second.put_bytes(b"again").digest
    second.ahead_seconds = 2 * _DAY_SECONDS
    assert second.delete(digest, _LATER)
    (other,) = [one["path"] for page in obstore.list(store, "deleting") for one in page]
    assert other != mark


def test_a_digest_that_is_none_is_refused_everywhere(machines: Callable[[], Machine]) -> None:
    objects = machines()
    with pytest.raises(UnknownRefError):
        objects.delete("../format", _LATER)
    assert objects.counting.calls == []
