"""Cuts the power of a run that publishes, at each sync, and looks at what the disk holds then.

Each trial takes one instant, one way of the disk with what was not synced, and one draw of what
it kept; see `power_cuts`. What was acknowledged must be there, everything that is referred to
must be sound, and the run goes on to its end as if nothing had been.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from tests.faults.disk import WatchedProcesses, Work
from tests.faults.power_cuts import MERCIES, Disk, picture_of, read_log, state_after
from tests.faults.publication import (
    SCOPES,
    check_ended,
    check_on_the_way,
    go_on,
    messages,
    runtime_in,
)

#: How many publications the run has been told to be on the disk when it is at a place.
_ACKNOWLEDGED = {"before two": 1, "before three": 2, "in the last": 3, "ended": 3}


def recorded(processes: WatchedProcesses, folder: Path) -> dict[str, Disk]:
    """By scope of publication, what a run does on the disk that nobody disturbs."""
    found = {}
    for publish in SCOPES:
        place, log = folder / publish, folder / f"{publish}.log"
        place.mkdir()
        done = processes.do(Work(str(place), publish, "copies", log=str(log)))
        assert done.error == [], done.text
        disk = found[publish] = Disk(place, read_log(log))
        # Nothing escaped what wrote it down.
        assert disk.at(len(disk.records), lambda change: True, None).picture() == picture_of(place)
    return found


def trial(folder: Path, disks: dict[str, Disk], number: int) -> str:
    """One cut; returns in words which one it was.

    Raises:
        AssertionError: what was acknowledged is lost, or something is there in part.
    """
    publish, mercy = SCOPES[number % 2], MERCIES[number // 2 % len(MERCIES)]
    disk = disks[publish]
    cut = random.Random(f"cuts {number}").choice(disk.cuts)
    said = f"publish={publish}, cut after {cut} of {len(disk.records)} records, {mercy} survives"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    state_after(disk, cut, mercy, number).write(folder)
    try:
        assert _published_count(folder, publish) >= _acknowledged_count(disk, publish, cut)
        go_on(folder, publish, "copies")
        check_ended(folder, publish)
    except BaseException as error:
        error.add_note(said)
        raise
    return said


def _published_count(folder: Path, publish: str) -> int:
    check_on_the_way(folder, publish)
    if not (folder / ".handrail" / "format").exists():
        return 0
    runtime = runtime_in(folder)
    try:
        return max(len(messages(runtime)) - 1, 0)
    finally:
        runtime.close()


def _acknowledged_count(disk: Disk, publish: str, cut: int) -> int:
    told = [mark.name for mark in disk.marks if mark.at < cut]
    counts = [_ACKNOWLEDGED.get(name, 0) for name in told if publish == "task" or name == "ended"]
    return max(counts, default=0)
