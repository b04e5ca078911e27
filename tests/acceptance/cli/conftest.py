"""The command line as a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Process = subprocess.Popen[str]
Completed = subprocess.CompletedProcess[str]
Call = Callable[..., Completed]
Start = Callable[..., Process]

SONGS = """
from pathlib import Path
import time

from handrail import task, workflow


def trace(name):
    with open("trace", "a") as file:
        file.write(name + "\\n")


with workflow("songs") as songs:

    @task
    def first(number: int = 1) -> int:
        print("[first] prints")
        trace("first")
        time.sleep(0.05)  # so long that it is in the journal before the next one starts
        return number

    @task
    def second(first: int) -> int:
        trace("second")
        while not Path("go").exists():
            time.sleep(0.01)
        if Path("go").read_text() == "fail":
            raise ValueError("no [more] songs\\nsecond line")
        return first + 1

    @task
    def third(second: int) -> dict:
        trace("third")
        return {"third": second + 1}

    first >> second >> third
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `songs.py`, whose second task waits for a file `go` and may fail by it."""
    (tmp_path / "songs.py").write_text(SONGS)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts `handrail` with the given words and returns the process."""
    processes: list[Process] = []

    def start_process(*words: str, command: tuple[str, ...] = ("-m", "handrail")) -> Process:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HANDRAIL_")}
        process = subprocess.Popen(
            [sys.executable, "-W", "error", *command, *words],
            cwd=folder,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        processes.append(process)
        return process

    yield start_process
    for process in processes:
        with process:
            process.kill()


@pytest.fixture
def handrail(start: Start) -> Call:
    """Runs `handrail` with the given words to its end."""

    def call(
        *words: str, stdin: str = "", command: tuple[str, ...] = ("-m", "handrail")
    ) -> Completed:
        process = start(*words, command=command)
        stdout, stderr = process.communicate(stdin, timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)

    return call


@pytest.fixture
def go(folder: Path) -> Callable[[str], None]:
    """Lets the second task go on: `go("")`, or fail: `go("fail")`."""

    def let_go(how: str = "") -> None:
        part = folder / "go.part"
        part.write_text(how)
        part.rename(folder / "go")

    return let_go


@pytest.fixture
def trace(folder: Path) -> Callable[[], list[str]]:
    """The bodies that have run so far."""

    def read() -> list[str]:
        file = folder / "trace"
        return file.read_text().split() if file.exists() else []

    return read
