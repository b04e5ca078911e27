"""Kills a run that publishes at random instants, and resumes it until it ends.

Even trials publish each task, odd ones the run as a whole; every second pair makes the files of
attempts through a mount, the others copies them.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from tests.faults.publication import (
    SCOPES,
    WAYS,
    await_end,
    check_ended,
    check_on_the_way,
    go_on,
    kill,
    seconds_of,
    started,
)


def undisturbed_seconds(folder: Path) -> float:
    """How long a run takes that nobody kills, in a process that is there already."""
    for number in range(2):  # the first one also starts the process that others come from
        place = folder / str(number)
        seconds = seconds_of(lambda: await_end(place, started(place, go_on, place, "task", None)))  # noqa: B023
        check_ended(place, "task")
    return seconds


def trial(folder: Path, number: int, longest_seconds: float) -> str:
    """One run, killed once or more; returns what was done to it in words.

    Raises:
        AssertionError: a publication was lost, is there twice or in part, or something is left.
    """
    chance = random.Random(f"publications {number}")
    publish, way = SCOPES[number % 2], WAYS[number // 2 % 2]
    killed_at: list[float] = []
    while not killed_at:  # a run that was faster than the first kill is no trial
        shutil.rmtree(folder, ignore_errors=True)
        for _ in range(chance.choice((1, 2, 2, 3, 4))):
            after_seconds = chance.uniform(0, longest_seconds)
            if not kill(started(folder, go_on, folder, publish, way), after_seconds):
                break
            killed_at.append(after_seconds)
            check_on_the_way(folder, publish)
    await_end(folder, started(folder, go_on, folder, publish, way))
    check_ended(folder, publish)
    return f"publish={publish}, {way}, killed at " + ", ".join(f"{at:.3f} s" for at in killed_at)
