"""Publications under faults. A short form of each here; `make faults` runs more.

How many: `FAULTS_PUBLICATIONS` kills, `FAULTS_CUTS` power cuts, `FAULTS_STOPS` zombies,
`FAULTS_PUBLISHERS` races. Trials have numbers, as in `test_faults.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from handrail.keep.lakefs.files import LakeFSFiles
from handrail.keep.lakefs.server import LakeFSServer
from tests.conftest import require
from tests.faults import (
    cut_publications,
    disk,
    killed_publications,
    power_cuts,
    publishers,
    stopped_publications,
)
from tests.faults.test_faults import count_of, numbers
from tests.services import lakefs


@pytest.fixture(scope="module")
def undisturbed_seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    return killed_publications.undisturbed_seconds(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", numbers("FAULTS_PUBLICATIONS", 8))
def test_a_killed_run_publishes_each_of_its_works_once_and_leaves_nothing(
    tmp_path: Path, undisturbed_seconds: float, number: int
) -> None:
    print(killed_publications.trial(tmp_path / "home", number, undisturbed_seconds))


# Power cuts


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, power_cuts.Disk]]:
    reason = disk.why_not()
    require(reason is None, f"power cuts are not simulated: {reason}")
    folder = tmp_path_factory.mktemp("recorded")
    with disk.watched_processes(folder) as processes:
        yield cut_publications.recorded(processes, folder)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", numbers("FAULTS_CUTS", 24))
def test_after_a_power_cut_a_commit_is_whole_or_absent(
    tmp_path: Path, recorded: dict[str, power_cuts.Disk], number: int
) -> None:
    print(cut_publications.trial(tmp_path / "home", recorded, number))


# Zombies


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", numbers("FAULTS_STOPS", 3))
def test_a_zombie_is_refused_and_changes_nothing(tmp_path: Path, number: int) -> None:
    print(stopped_publications.trial(tmp_path / "home", number))


# Races

#: Races that two go through without a pause.
BATCH = 200


def batches(short: int) -> list[range]:
    count, first = count_of("FAULTS_PUBLISHERS", short), count_of("FAULTS_FIRST", 0)
    return [range(at, min(at + BATCH, count)) for at in range(first, count, BATCH)]


def place(tmp_path: Path, database: str | None = None) -> publishers.Place:
    objects = tmp_path / "objects"
    objects.mkdir()
    return publishers.Place(database or tmp_path / "handrail.db", objects)


def show(won: Counter[str]) -> None:
    print("\n".join(f"{count:6} {what}" for what, count in sorted(won.items())))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("races", batches(120), ids=str)
def test_of_two_publishers_in_threads_one_wins(tmp_path: Path, races: range) -> None:
    show(publishers.thread_races(place(tmp_path), races))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("races", batches(80), ids=str)
def test_of_two_publishers_in_processes_one_wins(tmp_path: Path, races: range) -> None:
    show(publishers.process_races(place(tmp_path), races))


@pytest.mark.timeout(600)
def test_of_two_publishers_on_postgres_one_wins(tmp_path: Path, postgres_url: str) -> None:
    races = range(max(count_of("FAULTS_PUBLISHERS", 80) // 10, 40))
    show(publishers.thread_races(place(tmp_path, postgres_url), races))


@pytest.mark.timeout(600)
def test_of_two_publishers_on_lakefs_one_wins(
    tmp_path: Path, lakefs_address: lakefs.LakeFSAddress, lakefs_repository: str
) -> None:
    endpoint, access_key, secret = lakefs_address

    def open_files() -> LakeFSFiles:
        server = LakeFSServer(endpoint, access_key, SecretStr(secret), lakefs_repository)
        return LakeFSFiles(server)

    races = range(max(count_of("FAULTS_PUBLISHERS", 100) // 100, 4))
    show(publishers.file_races(open_files, tmp_path, races))
