"""Objects of LakeFS that others made, and what is sent and received."""

from __future__ import annotations

import errno
import io
import logging
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

pytest.importorskip("urllib3")

from handrail.contracts.workspace import BranchName
from handrail.errors import (
    RuntimeConfigError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    UnknownRefError,
    UnsupportedFileError,
)
from handrail.keep.lakefs.files import LakeFSFiles
from handrail.keep.lakefs.server import LakeFSServer
from handrail.keep.lakefs.tree import fetch
from handrail.testing.files import content, head, picture, stage
from tests.services import lakefs
from tests.services.lakefs_proxy import LakeFSProxy, Request

Make = Callable[..., LakeFSFiles]


@pytest.fixture
def proxy(lakefs_address: lakefs.LakeFSAddress) -> Iterator[LakeFSProxy]:
    proxy = LakeFSProxy(int(lakefs_address.endpoint.rpartition(":")[2]))
    yield proxy
    proxy.close()


@pytest.fixture
def make(lakefs_address: lakefs.LakeFSAddress, lakefs_repository: str, proxy: LakeFSProxy) -> Make:
    def make(**options: Any) -> LakeFSFiles:
        server = LakeFSServer(
            options.pop("endpoint", proxy.endpoint),
            lakefs_address.access_key,
            SecretStr(options.pop("secret", lakefs_address.secret_key)),
            options.pop("repository", lakefs_repository),
            page=options.pop("page", 1000),
            pause=lambda seconds: None,
        )
        return LakeFSFiles(server, **options)

    return make


@pytest.fixture
def files(make: Make) -> LakeFSFiles:
    return make()


@pytest.fixture
def branch(files: LakeFSFiles) -> BranchName:
    branch = BranchName(files.repository)
    files.create(branch)
    return branch


@pytest.fixture
def by_hand(
    lakefs_address: lakefs.LakeFSAddress, lakefs_repository: str
) -> Callable[[dict[str, bytes]], str]:
    port = int(lakefs_address.endpoint.rpartition(":")[2])
    return lambda objects: lakefs.commit(port, lakefs_repository, "main", objects)


ByHand = Callable[[dict[str, bytes]], str]

POISON = ["p//x", "p/../x", "p/./x", "p/n\0l", "p/" + "long" * 64, "/p", "p//"]


@pytest.mark.parametrize("name", POISON)
def test_an_odd_name_is_told_where_it_matters_and_ignored_elsewhere(
    files: LakeFSFiles, by_hand: ByHand, tmp_path: Path, name: str
) -> None:
    ref = by_hand({name: b"x", "good/a.txt": b"a"})
    with pytest.raises(UnsupportedFileError) as caught:
        files.checkout(ref, "/", tmp_path / "a")
    assert repr(name) in str(caught.value)
    assert os.listdir(tmp_path) == []

    opened = files.checkout(ref, "good", tmp_path / "b")
    (opened.path / "b.txt").write_text("b")
    assert content(files, stage(files, opened)).keys() >= {name, "good/a.txt", "good/b.txt"} - {
        "p//"
    }


def test_a_file_and_a_folder_of_one_name_are_told(
    files: LakeFSFiles, by_hand: ByHand, tmp_path: Path
) -> None:
    ref = by_hand({"a": b"file", "a/b": b"below", "c/": b"", "c": b"too"})
    with pytest.raises(UnsupportedFileError, match="'a', 'c'"):
        files.checkout(ref, "/", tmp_path / "a")


def test_names_that_differ_in_capitals_or_accents_are_two_files_where_the_disk_can(
    files: LakeFSFiles, by_hand: ByHand, tmp_path: Path
) -> None:
    ref = by_hand({"A": b"1", "a": b"2", "e\u0301": b"3", "\u00e9": b"4"})
    opened = files.checkout(ref, "/", tmp_path / "a")
    assert len(picture(opened.path)) == 4
    assert stage(files, opened) == ref


def test_objects_that_stand_for_folders_are_folders(
    files: LakeFSFiles, by_hand: ByHand, tmp_path: Path
) -> None:
    ref = by_hand({"w/": b"", "w/a/": b"", "w/a/x": b"1", "w/b/": b"note", "v/x": b""})
    opened = files.checkout(ref, "w", tmp_path / "a")
    assert picture(opened.path) == {"a": None, "a/x": (0o644, b"1"), "b": None}
    assert stage(files, opened) == ref
    assert [path for path, _ in files.entries(ref, "w")] == ["w/a/x", "w/b"]

    (opened.path / "a" / "x").unlink()
    (opened.path / "a").rmdir()
    after = stage(files, opened)
    assert [path for path, _ in files.entries(after)] == ["v/x", "w/b"]


def test_only_what_changed_is_sent(
    files: LakeFSFiles, branch: BranchName, by_hand: ByHand, proxy: LakeFSProxy, tmp_path: Path
) -> None:
    ref = by_hand({f"{number}.txt": b"%d" % number for number in range(30)})
    opened = files.checkout(ref, "/", tmp_path / "a")
    (opened.path / "3.txt").write_text("other")
    (opened.path / "4.txt").touch()
    (opened.path / "5.txt").write_text("5")
    (opened.path / "6.txt").chmod(0o755)
    (opened.path / "7.txt").unlink()
    (opened.path / "8.txt").unlink()
    proxy.requests.clear()
    stage(files, opened)

    assert sorted(_acts(proxy)) == [
        "POST branches",
        "POST commits",
        "POST delete",
        "POST objects 3.txt",
        "PUT user_metadata 6.txt",
    ]


def _acts(proxy: LakeFSProxy) -> list[str]:
    found = []
    for request in proxy.requests:
        parts = urlsplit(request.path)
        path = parse_qs(parts.query).get("path", [""])[0]
        found.append(f"{request.method} {parts.path.rpartition('/')[2]} {path}".strip())
    return found


def test_equal_contents_are_received_once(
    files: LakeFSFiles, by_hand: ByHand, proxy: LakeFSProxy, tmp_path: Path
) -> None:
    ref = by_hand({f"{number}.txt": b"same" for number in range(5)} | {"other": b"other"})
    opened = files.checkout(ref, "/", tmp_path / "a")
    assert len(picture(opened.path)) == 6
    assert len([act for act in _acts(proxy) if act.startswith("GET objects")]) == 2
    assert len({path.stat().st_ino for path in opened.path.iterdir()}) == 6


def test_what_others_said_of_an_object_is_kept(
    files: LakeFSFiles,
    lakefs_address: lakefs.LakeFSAddress,
    lakefs_repository: str,
    tmp_path: Path,
) -> None:
    server = LakeFSServer(
        lakefs_address.endpoint,
        lakefs_address.access_key,
        SecretStr(lakefs_address.secret_key),
        lakefs_repository,
    )
    port = int(lakefs_address.endpoint.rpartition(":")[2])
    lakefs.commit(port, lakefs_repository, "main", {"a.csv": b"1", "b.csv": b"2"})
    for path in ("a.csv", "b.csv"):
        server.set_metadata("main", path, {"owner": "them"})
    commit = server.make_commit("main", "said", {})
    assert commit is not None
    opened = files.checkout(commit.id, "/", tmp_path / "a")
    (opened.path / "a.csv").write_text("changed")
    (opened.path / "b.csv").chmod(0o600)
    ref = stage(files, opened)

    for path, mode in (("a.csv", "644"), ("b.csv", "600")):
        found = server.stat(ref, path)
        assert found is not None
        assert found.metadata == {"owner": "them", "handrail-mode": mode}
    server.close()


def test_lists_and_deletes_go_page_by_page(
    make: Make, by_hand: ByHand, proxy: LakeFSProxy, tmp_path: Path
) -> None:
    ref = by_hand({f"{number}.txt": b"%d" % number for number in range(7)})
    files = make(page=3)
    opened = files.checkout(ref, "/", tmp_path / "a")
    assert len(picture(opened.path)) == 7
    for path in opened.path.iterdir():
        path.unlink()
    after = stage(files, opened)

    assert _acts(proxy).count("GET ls") == 3
    assert _acts(proxy).count("POST delete") == 3
    assert content(files, after) == {}
    assert len(list(files.diff(ref, after))) == 7


def test_a_damaged_object_is_told(
    files: LakeFSFiles,
    branch: BranchName,
    lakefs_address: lakefs.LakeFSAddress,
    by_hand: ByHand,
    tmp_path: Path,
) -> None:
    ref = by_hand({"a.txt": b"good", "b.txt": b"fine"})
    port = int(lakefs_address.endpoint.rpartition(":")[2])
    found = lakefs.ask(
        port, "GET", f"/repositories/{files.repository}/refs/{ref}/objects/stat?path=a.txt"
    )
    Path(found["physical_address"].removeprefix("local://")).write_bytes(b"evil")
    with pytest.raises(StoreCorruptError, match=r"a\.txt"):
        files.checkout(ref, "/", tmp_path / "a")
    with pytest.raises(StoreCorruptError, match=r"a\.txt"):
        files.open(ref, "a.txt")
    assert os.listdir(tmp_path) == []
    with files.open(ref, "b.txt") as file:
        assert file.read() == b"fine"


class FullFile(io.BytesIO):
    """A file on a disk that is full."""

    def write(self, piece: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_as_such(
    files: LakeFSFiles, by_hand: ByHand, proxy: LakeFSProxy
) -> None:
    ref = by_hand({"a.txt": b"1"})
    stored = files._server.stat(ref, "a.txt")
    assert stored is not None
    with pytest.raises(StoreFullError):
        fetch(files._server, ref, stored, FullFile())
    assert len([act for act in _acts(proxy) if act.startswith("GET objects")]) == 1


def test_a_file_that_disappears_while_it_is_sent_is_told_as_such(
    files: LakeFSFiles, branch: BranchName, proxy: LakeFSProxy, tmp_path: Path
) -> None:
    opened = files.checkout(head(files, branch), "/", tmp_path / "a")
    victim = opened.path / "a.txt"
    victim.write_text("before")

    def decide(request: Request) -> str:
        victim.unlink(missing_ok=True)
        return ""

    proxy.decide = decide
    with pytest.raises(StoreError, match=r"a\.txt could not be used"):
        stage(files, opened)
    assert files.sweep(older_than_seconds=-60) == []


def test_a_file_that_changes_while_it_is_sent_is_told_and_nothing_is_left(
    files: LakeFSFiles, branch: BranchName, proxy: LakeFSProxy, tmp_path: Path
) -> None:
    opened = files.checkout(head(files, branch), "/", tmp_path / "a")
    victim = opened.path / "a.txt"
    victim.write_text("before")

    def decide(request: Request) -> str:
        if request.method == "POST" and request.path.endswith("/branches"):
            victim.write_text("beside")
        return ""

    proxy.decide = decide
    with pytest.raises(StoreError, match="changed while"):
        stage(files, opened)
    assert files.sweep(older_than_seconds=-60) == []


def test_a_path_that_lakefs_cannot_hold_is_told_and_nothing_is_left(
    files: LakeFSFiles, branch: BranchName, tmp_path: Path
) -> None:
    opened = files.checkout(head(files, branch), "/", tmp_path / "a")
    deep = opened.path.joinpath(*["d" * 200] * 6)
    deep.mkdir(parents=True)
    (deep / "x").write_text("x")
    with pytest.raises(UnsupportedFileError, match="1024 bytes"):
        stage(files, opened)
    assert files.sweep(older_than_seconds=-60) == []


def test_big_files_are_sent_and_received_in_pieces(
    make: Make, lakefs_address: lakefs.LakeFSAddress, branch: BranchName, tmp_path: Path
) -> None:
    files = make(endpoint=lakefs_address.endpoint)
    opened = files.checkout(head(files, branch), "/", tmp_path / "a")
    piece = os.urandom(1 << 20)
    with (opened.path / "big").open("wb") as file:
        for _ in range(48):
            file.write(piece)
    tracemalloc.start()
    try:
        ref = stage(files, opened)
        again = files.checkout(ref, "/", tmp_path / "b")
        with files.open(ref, "big") as read:
            assert read.read(1 << 20) == piece
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (again.path / "big").stat().st_size == 48 << 20
    assert peak_bytes < 20 << 20


# Repositories, users, servers


def test_a_missing_repository_is_told_or_made(make: Make, lakefs_repository: str) -> None:
    name = f"{lakefs_repository}-new"
    branch = BranchName(name, "dev")
    with pytest.raises(UnknownRefError, match=name):
        make(repository=name).create(branch)
    with pytest.raises(UnknownRefError, match=name):
        make(repository=name).branches()
    with pytest.raises(UnknownRefError, match=name):
        make(repository=name).head(branch)

    files = make(repository=name, storage_namespace=f"local://{name}")
    assert files.create(branch) == files.head(BranchName(name, "main"))


def test_a_branch_of_another_repository_is_refused(files: LakeFSFiles) -> None:
    with pytest.raises(UnknownRefError, match="elsewhere"):
        files.head(BranchName("elsewhere"))


def test_a_wrong_secret_is_told_and_never_shown(
    make: Make, branch: BranchName, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    files = make(secret="wr0ng-s3cret")
    with pytest.raises(StoreError, match="secret") as caught:
        files.head(branch)
    server = files._server
    shown = f"{caught.value!r} {vars(server)!r} {vars(server._connection)!r} {caplog.text}"
    assert "wr0ng-s3cret" not in shown
    assert "Basic" not in shown


def test_a_server_that_is_away_is_told(make: Make, branch: BranchName) -> None:
    files = make(endpoint="http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9 does not answer"):
        files.head(branch)


@pytest.mark.parametrize("endpoint", ["lakefs", "ftp://x", "http://me:pw@host", "https://"])
def test_an_address_that_is_none_is_refused(make: Make, endpoint: str) -> None:
    with pytest.raises(RuntimeConfigError) as caught:
        make(endpoint=endpoint)
    assert "pw" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("name", ["ab", "Songs", "a/b", "-ab", "x" * 64])
def test_a_repository_name_that_lakefs_does_not_allow_is_told(make: Make, name: str) -> None:
    with pytest.raises(StoreError, match="does not allow"):
        make(repository=name)
