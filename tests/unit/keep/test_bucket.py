from __future__ import annotations

from collections.abc import Iterator

import obstore
import pytest
from obstore.store import MemoryStore

from handrail.errors import RuntimeConfigError, StoreError, StoreVersionError, UnknownRefError
from handrail.keep.bucket import Bucket, shown


@pytest.fixture
def bucket() -> Bucket:
    return Bucket(MemoryStore(), "memory")


def test_an_object_is_stored_once_unless_it_is_to_be_replaced(bucket: Bucket) -> None:
    assert bucket.put("a/b", b"1")
    assert not bucket.put("a/b", b"2")
    assert b"".join(bucket.get("a/b")) == b"1"
    assert bucket.put("a/b", b"2", replace=True)
    assert b"".join(bucket.get("a/b")) == b"2"


def test_a_missing_object_is_told(bucket: Bucket) -> None:
    assert bucket.stored_at("a/b") is None
    with pytest.raises(UnknownRefError, match="'a/b' in memory"):
        list(bucket.get("a/b"))
    bucket.delete("a/b")


def test_a_list_holds_what_is_below_and_nothing_beside(bucket: Bucket) -> None:
    for number in range(2500):
        bucket.put(f"a/{number}", b"")
    bucket.put("ab/1", b"")
    found = list(bucket.below("a"))
    assert sorted(one.key for one in found) == sorted(f"a/{number}" for number in range(2500))
    assert all(one.stored_at == bucket.stored_at(one.key) for one in found[:3])


def test_what_the_giver_of_pieces_raises_is_raised_and_nothing_is_stored(bucket: Bucket) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"1" * 100
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        bucket.put_pieces("a", 200, pieces)
    assert bucket.stored_at("a") is None


def test_a_place_is_marked_with_its_layout_at_the_first_use() -> None:
    store = MemoryStore()
    assert not Bucket(store, "memory").check(create=False)
    assert Bucket(store, "memory").check()
    assert bytes(obstore.get(store, "format").bytes()) == b"1\n"
    assert Bucket(store, "memory").check(create=False)


def test_a_place_of_a_newer_release_is_refused() -> None:
    store = MemoryStore()
    obstore.put(store, "format", b"2\n")
    with pytest.raises(StoreVersionError, match="memory has format 2"):
        Bucket(store, "memory").put("a", b"")


def test_a_place_that_holds_other_things_is_refused() -> None:
    store = MemoryStore()
    obstore.put(store, "format", b"parquet")
    with pytest.raises(RuntimeConfigError, match="holds other things"):
        Bucket(store, "memory").put("a", b"")


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("s3://KEY:hidden@songs/shared", "credentials stand before the bucket"),
        ("s3://songs/shared?secret_acces_key=hidden", "unknown to the library.*secret_acces_key"),
        ("s3://songs/shared?region=x&skip_signature=hidden", "cannot be"),
        ("s3://", "cannot be"),
        ("nonsense://hidden", "no place in an object storage"),
    ],
)
def test_an_address_that_cannot_be_is_told_without_its_secrets(url: str, match: str) -> None:
    with pytest.raises(RuntimeConfigError, match=match) as caught:
        Bucket.at(url)
    text = str(caught.value).replace("nonsense://hidden", "")
    assert "hidden" not in text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_only_the_place_is_shown() -> None:
    url = "s3://KEY:hidden@songs/shared/?secret_access_key=hidden#hidden"
    assert shown(url) == "s3://songs/shared"
    place = Bucket.at("s3://songs/shared?secret_access_key=hidden&access_key_id=a").place
    assert place == "s3://songs/shared"


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"])
def test_an_endpoint_without_tls_may_be_named_in_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    bucket = Bucket.at("s3://songs?skip_signature=true")
    with pytest.raises(StoreError, match="does not answer: Connection refused"):
        bucket.check()
