"""A process whose dealings with the disk are written down, or refused: see `disk.c`.

It forks for each piece of work, so that one costs what it does. Needs Linux and a C compiler.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import which
from typing import Any

from tests.faults.publication import error_of, go_on

_SOURCE = Path(__file__).with_name("disk.c")
_ROOT = Path(__file__).parents[2]

#: Kinds of calls that may be refused.
CREATES, OPENS, WRITES, NAMES, REMOVALS, SYNCS = 1, 2, 4, 8, 16, 32
#: What takes space.
GROWS = CREATES | WRITES | NAMES | SYNCS


@dataclass(frozen=True, slots=True)
class Work:
    """A run that publishes, in a process of its own; see `publication.go_on`."""

    folder: str
    publish: str
    way: str
    #: Where all that it does on the disk is written.
    log: str | None = None
    #: From that call of those kinds on, all fail with `error`; 0: none does.
    fail_from: int = 0
    error: int = 0
    kinds: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """What came of it."""

    #: The classes of its error, the nearest first; empty if there was none.
    error: list[str]
    number: int | None
    text: str
    #: How many calls of the kinds there were.
    call_count: int


def why_not() -> str | None:
    """What is missing here; none if nothing is."""
    if sys.platform != "linux":
        return "libraries are put before others on Linux only"
    return None if which("cc") else "no C compiler here"


class WatchedProcesses:
    """Starts processes that are watched, one at a time."""

    def __init__(self, folder: Path) -> None:
        library = folder / "disk.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.disk", library],
            cwd=_ROOT,
            env={**os.environ, "LD_PRELOAD": str(library)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, work: Work) -> Done:
        """Does it, and waits for its end."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(asdict(work)) + "\n")
        stdin.flush()
        return Done(**json.loads(stdout.readline()))

    def close(self) -> None:
        """Ends what it started."""
        self._process.communicate()


@contextmanager
def watched_processes(folder: Path) -> Iterator[WatchedProcesses]:
    processes = WatchedProcesses(folder)
    try:
        yield processes
    finally:
        processes.close()


def _serve(library: ctypes.CDLL) -> None:
    for line in sys.stdin:
        told, tell = os.pipe()
        child = os.fork()
        if not child:
            os.write(tell, json.dumps(_outcome(library, Work(**json.loads(line)))).encode())
            os._exit(0)
        os.close(tell)
        with os.fdopen(told) as answer:
            print(answer.read(), flush=True)
        os.waitpid(child, 0)


def _outcome(library: ctypes.CDLL, work: Work) -> dict[str, Any]:
    library.disk_watch(
        work.folder.encode(),
        work.log.encode() if work.log else None,
        ctypes.c_long(work.fail_from),
        work.error,
        work.kinds,
    )

    def mark(place: str) -> None:
        library.disk_mark(place.encode())

    text = ""
    try:
        error = error_of(lambda: go_on(Path(work.folder), work.publish, work.way, mark))
        mark("ended" if error is None else "failed")
    except BaseException as unexpected:
        error = unexpected
    if error is not None:
        text = "".join(traceback.format_exception(error))
    names = [each.__name__ for each in type(error).__mro__] if error is not None else []
    number = getattr(error, "errno", None)
    return asdict(Done(names, number, text, library.disk_count()))


if __name__ == "__main__":
    _serve(ctypes.CDLL(sys.argv[1]))
