"""Stores on a disk without space."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from handrail.contracts.event import Event
from handrail.errors import StoreError, StoreFullError
from handrail.keep.base import Lease, RunRecord
from handrail.keep.home import Home
from handrail.keep.objects import FileObjects
from handrail.keep.removal import remove_folder
from handrail.keep.sqlite import SqliteJournal


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root with CAP_SYS_ADMIN")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _fill(disk: Path) -> Path:
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        for size_bytes in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size_bytes)
            except OSError:
                continue
    return path


def _start(journal: SqliteJournal, run_id: str) -> None:
    record = RunRecord(run_id, "songs", None, None, "running", 1, 1)
    journal.create_run(record, Lease(run_id, 1, "test", 1), [Event("run.started", 1)])


def _start_many(journal: SqliteJournal) -> None:
    for number in range(100):
        _start(journal, f"more{number}")


def test_no_home_is_made_without_space(disk: Path) -> None:
    _fill(disk)
    with pytest.raises(StoreFullError, match=r"No space left for .*\.handrail"):
        Home.open(disk / ".handrail")


def test_a_journal_says_so_and_goes_on_when_there_is_space_again(disk: Path) -> None:
    journal = SqliteJournal(disk / "handrail.db")
    _start(journal, "r1")
    filler = _fill(disk)
    large = [Event("x", 1, data={"text": "y" * 100_000})]
    for _ in range(3):
        with pytest.raises(StoreFullError, match=r"handrail\.db"):
            journal.append("r1", 1, large)
    with pytest.raises(StoreFullError, match=r"handrail\.db"):
        _start_many(journal)
    filler.unlink()
    journal.append("r1", 1, large)
    assert [stored.event.kind for stored in journal.events("r1")] == ["run.started", "x"]
    journal.close()


def test_objects_say_so_and_leave_nothing_half_written(disk: Path) -> None:
    objects = FileObjects(disk / "objects")
    kept = objects.put_bytes(b"small").digest
    filler = _fill(disk)
    (filler.parent.parent / "large").write_bytes(b"z" * 1_500_000)
    with pytest.raises(StoreFullError, match="objects"):
        objects.put_bytes(b"y" * 100_000)
    with pytest.raises(StoreFullError, match="objects"):
        objects.put_file(filler.parent.parent / "large")
    assert list(objects.digests()) == [kept]
    assert list((disk / "objects" / "incoming").iterdir()) == []
    filler.unlink()
    objects.put_file(filler.parent.parent / "large")
    objects.flush()


def test_what_a_body_mounted_is_unmounted_and_not_emptied(disk: Path, tmp_path: Path) -> None:
    (disk / "mine").write_text("mine")
    inside = tmp_path / "attempt" / "work space"
    inside.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(disk), str(inside)], check=True)
    remove_folder(tmp_path / "attempt")
    assert not (tmp_path / "attempt").exists()
    assert (disk / "mine").read_text() == "mine"


def test_a_read_only_disk_is_told(disk: Path) -> None:
    home = Home.open(disk / ".handrail")
    journal = SqliteJournal(home.database)
    _start(journal, "r1")
    journal.close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert Home.open(disk / ".handrail") == home
    reader = SqliteJournal(home.database)
    assert reader.run("r1").run_id == "r1"
    with pytest.raises(StoreError, match="may not write"):
        _start(reader, "r2")
    reader.close()
