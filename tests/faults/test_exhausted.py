"""Space, quotas, rights and open files that run out along a run that publishes.

How many calls are refused: `FAULTS_REFUSALS`. Trials have numbers, as in `test_faults.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import require
from tests.faults import disk, exhausted
from tests.faults.publication import WAYS
from tests.faults.test_faults import count_of, numbers

#: Is everything to be tried?
IS_FULL = count_of("FAULTS_REFUSALS", 0) > 0


class Watched(NamedTuple):
    """Processes whose calls are counted, and how many they make when nobody disturbs."""

    processes: disk.WatchedProcesses
    counts: dict[tuple[str, int], int]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    reason = disk.why_not()
    require(reason is None, f"calls are not refused: {reason}")
    folder = tmp_path_factory.mktemp("watched")
    with disk.watched_processes(folder) as processes:
        yield Watched(processes, exhausted.call_counts(processes, folder))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", numbers("FAULTS_REFUSALS", 24))
def test_calls_that_are_refused_are_told_and_hurt_nothing(
    tmp_path: Path, watched: Watched, number: int
) -> None:
    print(exhausted.call_trial(watched.processes, tmp_path / "home", watched.counts, number))


@pytest.mark.parametrize("way", WAYS)
def test_files_that_may_not_be_opened_are_told_and_hurt_nothing(tmp_path: Path, way: str) -> None:
    told = [
        exhausted.file_trial(tmp_path / f"{spare_count}", tmp_path, way, spare_count)
        for spare_count in range(1, 30, 1 if IS_FULL else 7)
    ]
    print(told)
    assert told[0] != "nothing"
    assert told[-1] == "nothing"


@pytest.mark.parametrize("closed", [".", "objects", "objects/incoming", "attempts", "runs"])
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path, closed: str) -> None:
    told = exhausted.right_trial(tmp_path / "home", tmp_path, "copies", closed)
    assert (told == "nothing") is (closed == "runs"), told


# Disks

#: What a run needs at most, in KiB.
ENOUGH_KIB = 1_500


@pytest.fixture(params=["full", "quota"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder with little space: a small disk, or a part of a large one with a quota."""
    folder = tmp_path / "disk"
    folder.mkdir()
    require(os.geteuid() == 0, "mounting needs root")
    if request.param == "full":
        made = exhausted.run_quietly("mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder)
        require(made, "mounting needs CAP_SYS_ADMIN")
        part = folder
    else:
        part = _quota(tmp_path / "image", folder)
    yield part
    exhausted.run_quietly("umount", "--lazy", folder)


def _quota(image: Path, folder: Path) -> Path:
    if shutil.which("btrfs") is None:
        pytest.skip("a quota needs btrfs-progs")
    with image.open("wb") as file:
        file.truncate(400_000_000)
    part = folder / "part"
    commands: tuple[tuple[str | Path, ...], ...] = (
        ("mkfs.btrfs", "-q", image),
        ("mount", "-o", "loop", image, folder),
        ("btrfs", "quota", "enable", folder),
        ("btrfs", "subvolume", "create", part),
        ("btrfs", "quota", "rescan", "-w", folder),
        ("btrfs", "qgroup", "limit", "3M", part),
    )
    if not all(exhausted.run_quietly(*words) for words in commands):
        exhausted.run_quietly("umount", "--lazy", folder)
        pytest.skip("a btrfs with quotas is not possible here")
    return part


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS)
def test_space_that_is_used_up_is_told_and_hurts_nothing(
    tmp_path: Path, place: Path, way: str
) -> None:
    told = []
    for left_kib in range(0, ENOUGH_KIB + 1, 20 if IS_FULL else 500):
        folder = place / f"{left_kib}"
        folder.mkdir()
        fill = partial(exhausted.fill_up, place, left_kib)
        is_quota = place.name == "part"
        told.append(exhausted.space_trial(folder, tmp_path, way, fill, is_quota=is_quota))
        shutil.rmtree(folder)
    print(told)
    assert told[0] != "nothing"
    assert told[-1] == "nothing"
