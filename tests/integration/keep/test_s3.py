"""Objects in a real S3 storage, with a cache on the local disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from handrail.errors import RuntimeConfigError, StoreError
from handrail.keep.base import ObjectStore
from handrail.keep.bucket import Bucket
from handrail.keep.object_cache import ObjectCache
from handrail.keep.shared_objects import SharedObjects
from handrail.testing.stores import ObjectStoreContract
from tests.services.s3 import S3Place, S3Server, make_bucket
from tests.services.s3_proxy import BREAKS, S3Proxy

_LATER = 1 << 50
#: Two parts.
_LONG_BYTES = 7 << 20
#: Requests of one round of `use_everything`, less a few that depend on the order of threads.
_REQUESTS = 23


class TestObjectsInS3(ObjectStoreContract):
    """Without grace, so that what was just put can be deleted."""

    @pytest.fixture(autouse=True)
    def place(self, s3_place: S3Place) -> Iterator[None]:
        self.url = self.url_of(s3_place)
        self.opened: list[SharedObjects] = []
        yield
        for objects in self.opened:
            objects.close()

    def url_of(self, place: S3Place) -> str:
        return place.url

    def make(self, folder: Path) -> ObjectStore:
        objects = SharedObjects(Bucket.at(self.url), self.cache(folder), grace_seconds=0)
        self.opened.append(objects)
        return objects

    def cache(self, folder: Path) -> ObjectCache:
        return ObjectCache(folder, 1 << 30)


class TestObjectsInS3WithoutConditions(TestObjectsInS3):
    """As on a server that cannot put an object only if there is none."""

    def url_of(self, place: S3Place) -> str:
        return place.with_options(conditional_put="disabled")


class TestObjectsInS3WithoutACache(TestObjectsInS3):
    """As when everything that was put is removed from the cache at once."""

    def cache(self, folder: Path) -> ObjectCache:
        return ObjectCache(folder, 1, chance=lambda: 0.0)


@pytest.fixture
def proxy(s3_place: S3Place) -> Iterator[S3Proxy]:
    proxy = S3Proxy(int(s3_place.endpoint.rpartition(":")[2]))
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def long_file(session_folder: Path) -> Path:
    path = session_folder / f"long-{os.getpid()}"
    path.write_bytes(os.urandom(_LONG_BYTES))
    return path


def objects_at(url: str, folder: Path, *, patience_seconds: float = 15) -> SharedObjects:
    bucket = Bucket.at(url, patience_seconds=patience_seconds)
    return SharedObjects(bucket, ObjectCache(folder, 1 << 30), grace_seconds=0)


def use_everything(url: str, folder: Path, long_file: Path) -> None:
    """Every call of two machines on one place, with what must come of it."""
    one, other = objects_at(url, folder / "one"), objects_at(url, folder / "other")
    short = one.put_bytes(b"hello")
    long = one.put_file(long_file)
    assert one.put_bytes(b"hello") == short
    one.flush()
    assert other.read_bytes(short.digest) == b"hello"
    other.copy_to(long.digest, folder / "copy", 0o600)
    assert sha256((folder / "copy").read_bytes()).hexdigest() == long.digest
    assert short.digest in other
    assert sorted(other.digests()) == sorted([short.digest, long.digest])
    assert one.delete(short.digest, _LATER)
    assert short.digest not in one
    for objects in (one, other):
        objects.close()


@pytest.mark.parametrize("kind", BREAKS)
def test_what_is_lost_at_any_call_is_asked_for_again(
    s3_place: S3Place, proxy: S3Proxy, tmp_path: Path, long_file: Path, kind: str
) -> None:
    number = 0
    while proxy.broken_count == number:
        number += 1
        place = make_bucket(int(s3_place.endpoint.rpartition(":")[2])).through(proxy.port)
        (tmp_path / str(number)).mkdir()
        proxy.break_at(kind, number)
        use_everything(place.url, tmp_path / str(number), long_file)
        proxy.break_at("", 0)
    assert proxy.broken_count >= _REQUESTS


def test_many_threads_get_through_a_connection_that_breaks_all_the_time(
    s3_place: S3Place, proxy: S3Proxy, tmp_path: Path
) -> None:
    objects = objects_at(s3_place.through(proxy.port).url, tmp_path / "cache")
    proxy.break_at("reply", 1, every=5)
    contents = [b"%d" % number for number in range(100)]
    with ThreadPoolExecutor(4) as pool:
        put = list(pool.map(objects.put_bytes, contents))
    proxy.break_at("", 0)
    assert proxy.broken_count > 20
    other = objects_at(s3_place.url, tmp_path / "other")
    assert [other.read_bytes(info.digest) for info in put] == contents


def test_a_server_that_falls_while_a_file_is_sent_and_comes_back_has_it_whole(
    s3_server: S3Server, tmp_path: Path, long_file: Path
) -> None:
    place = make_bucket(s3_server.port)
    proxy = S3Proxy(s3_server.port)
    objects = objects_at(place.through(proxy.port).url, tmp_path / "cache")
    objects.put_bytes(b"before")

    def fall() -> None:
        seen = len(proxy.requests)
        while len(proxy.requests) < seen + 3:  # in the middle of its parts
            threading.Event().wait(0.001)
        s3_server.kill()
        threading.Event().wait(0.5)

    falling = threading.Thread(target=fall)
    with ThreadPoolExecutor(1) as pool:
        falling.start()
        putting = pool.submit(objects.put_file, long_file)
        falling.join(timeout=30)
        s3_server.start_again()
        info = putting.result(timeout=60)
        objects.flush()
    other = objects_at(place.url, tmp_path / "other")
    assert other.read_bytes(info.digest) == long_file.read_bytes()
    proxy.close()


def test_a_server_that_stays_away_is_told_and_nothing_is_corrupt(
    s3_server: S3Server, tmp_path: Path, long_file: Path
) -> None:
    place = make_bucket(s3_server.port)
    objects = objects_at(place.url, tmp_path / "cache", patience_seconds=0.5)
    kept = objects.put_bytes(b"before")
    s3_server.kill()
    digest = sha256(long_file.read_bytes()).hexdigest()
    for act in (
        lambda: objects.put_file(long_file),
        lambda: objects.put_bytes(b"after"),
        lambda: objects.flush(),
        lambda: digest in objects,
    ):
        with pytest.raises(StoreError, match="does not answer: Connection refused"):
            act()
    assert objects.read_bytes(kept.digest) == b"before"  # from the cache
    s3_server.start_again()
    assert digest not in objects
    assert objects.put_file(long_file).digest == digest
    objects.flush()
    other = objects_at(place.url, tmp_path / "other")
    assert other.read_bytes(digest) == long_file.read_bytes()
    assert other.read_bytes(kept.digest) == b"before"


def test_a_file_that_is_sent_in_parts_leaves_nothing_when_it_is_not_what_it_was(
    s3_place: S3Place, tmp_path: Path, long_file: Path
) -> None:
    objects = objects_at(s3_place.url, tmp_path / "cache")
    info = objects.cache.put_file(long_file)
    path = objects.cache.folder / info.digest[:2] / info.digest[2:]
    path.chmod(0o600)
    with path.open("r+b") as file:  # at the very end, which is looked at last
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    assert objects.put_file(long_file) == info
    other = objects_at(s3_place.url, tmp_path / "other")
    assert other.read_bytes(info.digest) == long_file.read_bytes()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"secret_access_key": "hidden"}, "refused the credentials .403 SignatureDoesNotMatch"),
        ({"access_key_id": "nobody"}, "refused the credentials"),
        ({"region": "nowhere"}, "another region|refused the credentials"),
    ],
)
def test_wrong_credentials_are_told_at_once(
    s3_place: S3Place, options: dict[str, str], match: str
) -> None:
    check_refusal(s3_place.with_options(**options), match)


def test_a_missing_bucket_is_told_at_once(s3_place: S3Place) -> None:
    check_refusal(s3_place._replace(bucket="no-such-bucket").url, "there is no such bucket. Make")


def test_a_server_that_was_never_there_is_told_at_once(s3_place: S3Place) -> None:
    with pytest.raises(StoreError, match="Connection refused"):
        Bucket.at(s3_place.through(1).url).check()


def check_refusal(url: str, match: str) -> None:
    with pytest.raises(RuntimeConfigError, match=match) as caught:
        Bucket.at(url).check()
    assert "\n" not in str(caught.value)
    assert "hidden" not in str(caught.value)


_MEASURE = r"""
import re, sys
from pathlib import Path
from handrail.keep.bucket import Bucket
from handrail.keep.object_cache import ObjectCache
from handrail.keep.shared_objects import SharedObjects

def peak():  # not ru_maxrss, which begins with that of the process that forked
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

url, folder, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
objects = SharedObjects(Bucket.at(url), ObjectCache(folder / what, 1 << 40))
objects.bucket.check()
before = peak()
if what == "put":
    print(objects.put_file(folder / "file").digest)
else:
    objects.copy_to(sys.argv[4], folder / "copy", 0o600)
print((peak() - before) // 1024)
"""


def test_memory_does_not_grow_with_the_file(s3_place: S3Place, tmp_path: Path) -> None:
    size_bytes = int(os.environ.get("S3_FILE_MB", "128")) << 20
    piece = os.urandom(1 << 20)
    with (tmp_path / "file").open("wb") as file:
        for _ in range(size_bytes >> 20):
            file.write(piece)

    def measure(*words: str) -> list[str]:
        command = [sys.executable, "-c", _MEASURE, s3_place.url, str(tmp_path), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=110)
        return done.stdout.split()

    digest, put_mb = measure("put")
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    (get_mb,) = measure("get", digest)
    assert (tmp_path / "copy").stat().st_size == size_bytes
    assert 0 < int(put_mb) <= 64
    assert 0 < int(get_mb) <= 64
    print(f"peak over the interpreter: put {put_mb} MiB, get {get_mb} MiB")
