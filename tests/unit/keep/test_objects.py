from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handrail.errors import StoreCorruptError, StoreError, StoreReadOnlyError, UnsupportedFileError
from handrail.keep.objects import PIECE_BYTES, FileObjects
from handrail.testing.stores import ObjectStoreContract


class TestFileObjects(ObjectStoreContract):
    def make(self, folder: Path) -> FileObjects:
        return FileObjects(folder / "objects")


@pytest.fixture
def objects(tmp_path: Path) -> FileObjects:
    return FileObjects(tmp_path / "objects")


def _file(objects: FileObjects, digest: str) -> Path:
    return objects.folder / digest[:2] / digest[2:]


def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_an_object_is_a_read_only_file_named_by_its_digest(objects: FileObjects) -> None:
    digest = objects.put_bytes(b"hello").digest
    objects.flush()
    path = _file(objects, digest)
    assert path.read_bytes() == b"hello"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list((objects.folder / "incoming").iterdir()) == []


@pytest.mark.parametrize("size_bytes", [5, PIECE_BYTES + 5])
def test_putting_again_keeps_the_file_and_makes_it_young(
    objects: FileObjects, tmp_path: Path, size_bytes: int
) -> None:
    (tmp_path / "file").write_bytes(b"x" * size_bytes)
    digest = objects.put_file(tmp_path / "file").digest
    before = _file(objects, digest).stat().st_ino
    _age(_file(objects, digest), 1000)
    objects.put_file(tmp_path / "file")
    after = _file(objects, digest).stat()
    assert after.st_ino == before
    assert after.st_mtime > time.time() - 100
    assert list((objects.folder / "incoming").iterdir()) == []


@pytest.mark.parametrize("size_bytes", [5, PIECE_BYTES + 5])
def test_what_a_power_cut_left_empty_is_written_again(
    objects: FileObjects, tmp_path: Path, size_bytes: int
) -> None:
    (tmp_path / "file").write_bytes(b"x" * size_bytes)
    digest = objects.put_file(tmp_path / "file").digest
    os.chmod(_file(objects, digest), 0o600)
    os.truncate(_file(objects, digest), 0)
    objects.put_file(tmp_path / "file")
    assert objects.read_bytes(digest) == b"x" * size_bytes


@pytest.mark.parametrize("size_bytes", [5, PIECE_BYTES + 5])
def test_what_a_power_cut_tore_is_written_again(
    objects: FileObjects, tmp_path: Path, size_bytes: int
) -> None:
    (tmp_path / "file").write_bytes(b"x" * size_bytes)
    digest = objects.put_file(tmp_path / "file").digest
    path = _file(objects, digest)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400, "its content is not on the disk yet"
    with open(path, "rb+") as file:
        file.write(bytes(3))
    FileObjects(objects.folder).put_file(tmp_path / "file")
    assert objects.read_bytes(digest) == b"x" * size_bytes


@pytest.mark.parametrize("size_bytes", [5, PIECE_BYTES + 5])
def test_a_damaged_object_is_never_copied_out(
    objects: FileObjects, tmp_path: Path, size_bytes: int
) -> None:
    digest = objects.put_bytes(b"x" * size_bytes).digest
    os.chmod(_file(objects, digest), 0o600)
    _file(objects, digest).write_bytes(b"y" * size_bytes)
    with pytest.raises(StoreCorruptError, match=digest):
        objects.copy_to(digest, tmp_path / "copy", 0o600)
    assert not (tmp_path / "copy").exists()


def test_a_file_that_grows_while_it_is_read_is_refused(
    objects: FileObjects, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * (4 * PIECE_BYTES))
    stop = threading.Event()

    def write() -> None:
        with path.open("ab") as file:
            while not stop.is_set():
                file.write(b"y")
                file.flush()

    def put_often() -> None:
        for _ in range(1000):
            objects.put_file(path)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(StoreError, match="changed while it was being read"):
            put_often()
    finally:
        stop.set()
        writer.join()
    for digest in objects.digests():
        assert hashlib.sha256(objects.read_bytes(digest)).hexdigest() == digest


def test_a_link_or_a_missing_file_is_not_read(objects: FileObjects, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("link", "missing"):
        with pytest.raises(StoreError, match=name):
            objects.put_file(tmp_path / name)


def test_a_file_that_may_not_be_read_is_named(guarded: Path) -> None:
    objects = FileObjects(guarded / "objects")
    (guarded / "secret").write_bytes(b"x")
    (guarded / "secret").chmod(0)
    with pytest.raises(UnsupportedFileError, match="secret may not be read"):
        objects.put_file(guarded / "secret")


def test_a_read_only_store_is_told(guarded: Path) -> None:
    objects = FileObjects(guarded / "objects")
    digest = objects.put_bytes(b"hello").digest
    for folder in (objects.folder / "incoming", objects.folder):
        folder.chmod(0o500)
    try:
        with pytest.raises(StoreReadOnlyError, match="objects"):
            objects.put_bytes(b"other")
        assert objects.read_bytes(digest) == b"hello"
    finally:
        for folder in (objects.folder, objects.folder / "incoming"):
            folder.chmod(0o700)


def test_a_failed_flush_is_done_again(objects: FileObjects) -> None:
    digest = objects.put_bytes(b"hello").digest
    away = objects.folder / "away"
    _file(objects, digest).rename(away)
    with pytest.raises(StoreError):
        objects.flush()
    away.rename(_file(objects, digest))
    objects.flush()
    _file(objects, digest).unlink()
    objects.flush()  # nothing is left to do


def test_a_flush_waits_for_another_that_has_taken_its_objects(
    objects: FileObjects, tmp_path: Path
) -> None:
    path = _file(objects, objects.put_bytes(b"hello").digest)
    path.rename(tmp_path / "hello")
    os.mkfifo(path)  # opening it waits for a writer
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(objects.flush)
        while objects._unflushed:
            time.sleep(0.001)
        second = pool.submit(objects.flush)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.2)
        path.rename(tmp_path / "pipe")
        (tmp_path / "hello").rename(path)
        (tmp_path / "pipe").open("wb").close()
        with pytest.raises(StoreError):  # a pipe cannot be flushed
            first.result(timeout=30)
        second.result(timeout=30)
    assert not objects._unflushed


def test_what_an_interrupted_put_left_is_removed_when_it_is_old(objects: FileObjects) -> None:
    objects.put_bytes(b"hello")
    left = objects.folder / "incoming" / "1-1-1"
    left.touch()
    assert objects.delete_abandoned(stored_before=1) == 0
    assert objects.delete_abandoned(stored_before=1 << 50) == 1
    assert not left.exists()


def test_other_files_in_the_folder_are_no_objects(objects: FileObjects) -> None:
    digest = objects.put_bytes(b"hello").digest
    (objects.folder / "ab").mkdir(exist_ok=True)
    (objects.folder / "ab" / "note.txt").touch()
    (objects.folder / "README").touch()
    assert list(objects.digests()) == [digest]
