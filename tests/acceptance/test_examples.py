"""Each example is a whole program: it runs in a fresh folder and prints what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Lines that a program prints, in this order, others between them.
PRINTS: dict[str, list[str]] = {
    "basics": [
        "Oslo: 18.0 C, that is 64.4 F",
        "Bergen: 21.0 C, that is 69.8 F",
        "finished: read, to_fahrenheit, report",
        "read: [17.0, 18.0, 19.0, 20.0, 21.0]",
    ],
    "composition": [
        "operators: stored: valid raw sensor, enriched raw sensor",
        "functions: stored: valid raw sensor, enriched raw sensor",
        "edges: stored: valid raw sensor, enriched raw sensor",
        "instances: 50",
        "nested: checks, ten",
        "factory: valid raw web",
        "from the middle: stored: checked, enriched old",
    ],
    "groups": [
        "strict: refused. cache: ConnectionError: cache is down",
        "fail fast: refused. cache: ConnectionError: cache is down",
        "best effort: deployed with database, search",
        "at least two: deployed with database, search",
        "at least three: refused. cache: ConnectionError: cache is down",
        "critical database: deployed with database, search",
        "critical cache: refused. cache: ConnectionError: cache is down",
        "majority: deployed with database, search",
    ],
    "dynamic": [
        "saved a model with loss 0.0625",
        "archived: 20 approved at once",
        "archived: 2000 inspected by hand",
        "published a whole file after 1 repair",
        "taken in: 2 files -> A B",
        "nothing to do",
        "cancelled: an unsafe file",
        "Task 'again' exceeded max_cycles=10. "
        "End the loop from the task, or raise @task(max_cycles=...).",
    ],
    "maps": [
        "4 books, 44 letters, the first has 11",
        "[3, 4]",
        "[1, 4, 9, 16] [1, 8, 27, 64]",
        "999000 in two thousand halves",
    ],
    "resume": [
        "-- first try",
        "pressing 2 tons",
        "filling 1200 litres",
        "labelling as bottling#harvest 2026/label",
        "-- the process ended with -9",
        "-- the run is crashed",
        "labelling as bottling#harvest 2026/label",
        "-- resumed: 100 crates",
        "-- started again: 100 crates",
    ],
    "reuse": [
        "  asking for the price of rye",
        "  45 crowns; reused: nothing",
        "  baking 2 loaves",
        "  45 crowns; reused: price, bill",
        "  45 crowns; reused: price, bake, bill",
        "  baking 3 loaves",
        "  67 crowns; reused: price",
    ],
    "workspace": [
        "Alba is in: 300 herrings",
        "Brisa is in: 320 herrings",
        "files: catches/Alba, catches/Brisa, total",
        "since Alba came: added catches/Brisa",
        "since Alba came: changed total",
        "by the tag: 320",
        "Brisa found: Alba",
    ],
    "custom_handler": [
        "refused before anything ran: UnknownHandlerError",
        "on an engine: 40 and 21",
        "everywhere: 40 and 21",
        "refused: Task 'fetch': handler 'queue' has no option 'queue_nme'. "
        "Did you mean 'queue_name'?",
    ],
}


def run(name: str, folder: Path, *arguments: str) -> list[str]:
    """The lines that an example prints in `folder`, where it must end with exit code 0."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HANDRAIL_")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
        cwd=folder,
        env={**inherited, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def test_every_example_is_tested() -> None:
    programs = {path.stem for path in EXAMPLES.glob("*.py")} - {"__init__"}
    assert programs == {*PRINTS, "waits"}


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_prints_what_it_should(name: str, tmp_path: Path) -> None:
    printed = run(name, tmp_path)
    left = iter(printed)
    # Which members of a group were stopped in time, and are named behind it, is chance.
    missing = [line for line in PRINTS[name] if not any(p.startswith(line) for p in left)]
    assert not missing, "\n".join(printed)


def test_the_resumed_example_does_nothing_twice(tmp_path: Path) -> None:
    printed = run("resume", tmp_path)
    assert printed.count("pressing 2 tons") == printed.count("filling 1200 litres") == 1
    assert printed.count("labelling as bottling#harvest 2026/label") == 2


def test_the_asking_example_goes_on_with_each_answer(tmp_path: Path) -> None:
    assert run("waits", tmp_path) == [
        "building, which takes long and is done once",
        "waiting: Publish handsaw-2.0.tar.gz? (yes or no)",
    ]
    assert run("waits", tmp_path, "yes") == [
        "Publish handsaw-2.0.tar.gz? yes",
        "waiting: Announce where? (list, blog, nowhere)",
    ]
    end = "handsaw-2.0.tar.gz published, announced: blog"
    assert run("waits", tmp_path, "blog") == ["Announce where? blog", end]
    assert run("waits", tmp_path) == [end]


def test_the_asking_example_takes_a_no(tmp_path: Path) -> None:
    run("waits", tmp_path)
    assert run("waits", tmp_path, "no")[-1] == "handsaw-2.0.tar.gz stays here"
