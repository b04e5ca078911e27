from __future__ import annotations

import os
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from handrail.errors import StoreCorruptError
from handrail.keep.object_cache import ObjectCache


def path_of(cache: ObjectCache, digest: str) -> Path:
    return cache.folder / digest[:2] / digest[2:]


def damage(cache: ObjectCache, digest: str) -> None:
    """Changes a byte; the length stays."""
    path = path_of(cache, digest)
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def unused_for(cache: ObjectCache, digest: str, seconds: int) -> None:
    found = path_of(cache, digest).stat()
    os.utime(path_of(cache, digest), (found.st_atime - seconds, found.st_mtime - seconds))


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "cache", 3000, chance=lambda: 1.0)
    digests = [cache.put_bytes(bytes([number]) * 100).digest for number in range(30)]
    for number, digest in enumerate(digests):
        unused_for(cache, digest, 5000 - number)
    cache.copy_to(digests[0], tmp_path / "copy", 0o600)  # used just now
    cache.trim()
    assert cache.size_bytes() == 3000  # it is not more than the limit
    cache.put_bytes(b"x" * 100)
    cache.trim()
    kept = set(cache.digests())
    assert cache.size_bytes() <= 3000 * 14 / 16
    assert digests[0] in kept
    assert digests[1] not in kept
    assert kept >= set(digests[-20:])


def test_a_cache_is_looked_through_when_a_sixteenth_of_the_limit_was_added(tmp_path: Path) -> None:
    numbers = iter([0.99, 0.5, 0.99])
    cache = ObjectCache(tmp_path / "cache", 16_000, chance=lambda: next(numbers))
    old = cache.put_bytes(b"0" * 15_900).digest
    unused_for(cache, old, 1000)
    cache.put_bytes(b"1" * 200)  # 0.5 is more than 200 x 16 / 16,000
    assert old in cache
    cache.put_bytes(b"2" * 1000)
    assert old not in cache


def test_what_was_just_added_stays_even_if_it_is_more_than_the_limit(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "cache", 100)
    digest = cache.put_bytes(b"0" * 1000).digest
    assert list(cache.digests()) == [digest]
    cache.receive(sha256(b"1" * 500).hexdigest(), iter([b"1" * 500]), "there").close()
    assert list(cache.digests()) == [sha256(b"1" * 500).hexdigest()]


def test_a_damaged_content_is_as_good_as_none(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "cache", 1000)
    digest = cache.put_bytes(b"hello").digest
    with cache.sound(digest) or pytest.fail("it is sound") as file:
        assert file.read() == b"hello"
    damage(cache, digest)
    assert cache.sound(digest) is None
    assert digest not in cache
    assert cache.sound(digest) is None


def test_what_is_received_is_checked_and_leaves_nothing_if_it_is_wrong(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "cache", 1000)
    digest = sha256(b"hello").hexdigest()
    with pytest.raises(StoreCorruptError, match="there does not have the content"):
        cache.receive(digest, iter([b"hel", b"l"]), "there")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with cache.receive(digest, iter([b"hel", b"lo"]), "there") as file:
        cache.drop(digest)
        assert file.read() == b"hello"  # it is still open
        cache.copy_open(file, tmp_path / "copy", 0o640)
    assert (tmp_path / "copy").read_bytes() == b"hello"
    assert (tmp_path / "copy").stat().st_mode & 0o7777 == 0o640


def test_who_wants_a_content_that_another_is_receiving_waits_for_it(tmp_path: Path) -> None:
    caches = [ObjectCache(tmp_path / "cache", 1000) for _ in range(2)]
    digest = sha256(b"hello").hexdigest()
    is_there: list[bool] = []

    def wait() -> None:
        with caches[1].alone(digest):
            is_there.append(digest in caches[1])

    with caches[0].alone(digest), caches[0].alone("0" * 64):  # another content is no matter
        thread = threading.Thread(target=wait)
        thread.start()
        caches[0].receive(digest, iter([b"hello"]), "there").close()
        assert is_there == []
    thread.join(timeout=30)
    assert is_there == [True]
