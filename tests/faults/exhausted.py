"""A run that publishes where something is used up or forbidden: space, a quota, rights, files.

Whatever it lacks and wherever that begins, what it raises says so, what is stored is sound, and
when there is enough again the run goes on and ends as if nothing had been.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Set
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from handrail import RunBusy
from tests.faults.disk import (
    CREATES,
    GROWS,
    NAMES,
    OPENS,
    REMOVALS,
    SYNCS,
    WRITES,
    WatchedProcesses,
    Work,
)
from tests.faults.publication import (
    PATIENCE_SECONDS,
    SCOPES,
    WAYS,
    await_end,
    check_ended,
    check_on_the_way,
    error_of,
    go_on,
    runtime_in,
    started,
)


class Refusal(NamedTuple):
    """An error of the system, which calls may answer with it, and what it is told as."""

    number: int
    kinds: int
    #: A class of Handrail's; a body that meets it itself raises an `OSError` of that number.
    told: str


REFUSALS = (
    Refusal(errno.ENOSPC, GROWS, "StoreFullError"),
    Refusal(errno.EDQUOT, GROWS, "StoreFullError"),
    Refusal(errno.EMFILE, CREATES | OPENS, "StoreError"),
    Refusal(errno.EACCES, CREATES | NAMES | REMOVALS, "StoreError"),
    Refusal(errno.EROFS, CREATES | NAMES | REMOVALS, "StoreError"),
    Refusal(errno.EIO, OPENS | WRITES | SYNCS, "StoreError"),
)


#: After that a folder is abandoned whose process could not read who it was.
_LEASE_SECONDS = 3.0


def prepare(folder: Path) -> None:
    """A home with an empty repository."""
    folder.mkdir(parents=True, exist_ok=True)
    runtime = runtime_in(folder)
    runtime.repository("songs").create()
    runtime.close()


# Calls that are refused


def call_counts(processes: WatchedProcesses, folder: Path) -> dict[tuple[str, int], int]:
    """By way and kinds, how many calls a run makes that nobody disturbs."""
    found = {}
    for way in WAYS:
        for kinds in {refusal.kinds for refusal in REFUSALS}:
            place = folder / f"{way} {kinds}"
            prepare(place)
            done = processes.do(Work(str(place), "task", way, kinds=kinds))
            assert done.error == [], done.text
            found[way, kinds] = done.call_count
    return found


def call_trial(
    processes: WatchedProcesses, folder: Path, counts: dict[tuple[str, int], int], number: int
) -> str:
    """From some call on, all are refused; returns in words which, and what was told.

    Raises:
        AssertionError: the error says something else, or the run does not go on well.
    """
    refusal = REFUSALS[number % len(REFUSALS)]
    chance = random.Random(f"exhausted {number}")
    publish, way = chance.choice(SCOPES), chance.choice(WAYS)
    prepare(folder)
    call = chance.randint(1, counts[way, refusal.kinds])
    work = Work(
        str(folder),
        publish,
        way,
        fail_from=call,
        error=refusal.number,
        kinds=refusal.kinds,
    )
    done = processes.do(work)
    said = f"{errno.errorcode[refusal.number]} from call {call} on, {way}, publish={publish}"
    _check_told(done.error, done.number, refusal, f"{said}: {done.text}")
    check_on_the_way(folder, publish)
    _mended(folder, publish, way)
    check_ended(folder, publish, _LEASE_SECONDS)
    return f"{said}: {done.error[0] if done.error else 'nothing'}"


def _mended(folder: Path, publish: str, way: str) -> None:
    """Goes on with the run, once its lease is over.

    That is at once, since its process has ended; unless it could not even read who it was.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            go_on(folder, publish, way)
            return
        except RunBusy:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _check_told(names: list[str], number: int | None, refusal: Refusal, said: str) -> None:
    """No error is fine: what it could not do was nothing that the run needed."""
    is_ours = refusal.told in names
    is_the_bodys = "OSError" in names and number == refusal.number and _BODY.search(said)
    assert not names or is_ours or is_the_bodys, said


#: A line of a traceback within a body.
_BODY = re.compile(r'publication\.py", line \d+, in (write|looking)\b')


# What is really used up


def file_trial(folder: Path, reports: Path, way: str, spare_count: int) -> str:
    """A process that may open few files more than it has; returns what it told.

    Raises:
        AssertionError: as above.
    """
    prepare(folder)
    refusal = Refusal(errno.EMFILE, 0, "StoreError")
    return _real_trial(folder, reports, way, refusal, partial(_allow_files, spare_count))


def _allow_files(spare_count: int) -> None:
    # The lowest number that is free is where counting goes on.
    lowest = os.dup(0)
    os.close(lowest)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + spare_count, most))


def right_trial(folder: Path, reports: Path, way: str, closed: str) -> str:
    """A process that may not write one of the folders; returns what it told.

    Raises:
        AssertionError: as above.
    """
    prepare(folder)
    forbidden = folder / ".handrail" / closed
    forbidden.mkdir(mode=0o700, exist_ok=True)
    before = forbidden.stat().st_mode
    refusal = Refusal(errno.EACCES, 0, "StoreReadOnlyError")
    forbidden.chmod(0o500)
    return _real_trial(
        folder, reports, way, refusal, give_up_rights, lambda: forbidden.chmod(before)
    )


def space_trial(
    folder: Path, reports: Path, way: str, fill: Callable[[], Path], *, is_quota: bool = False
) -> str:
    """A disk, or a quota, with little space left; returns what was told.

    Args:
        fill: uses up the rest; returns the file that does.
        is_quota: of btrfs, where a process may end with SIGBUS instead: SQLite maps the index
            of its log (https://www.sqlite.org/walformat.html#shm), and a file system that
            copies on write needs space for each page of it that is changed.

    Raises:
        AssertionError: as above.
    """
    prepare(folder)
    filler = fill()
    # What SQLite cannot write is not always known to be the quota's doing.
    refusal = Refusal(errno.ENOSPC, 0, "StoreFullError")
    if is_quota:
        refusal = Refusal(errno.EDQUOT, 0, "StoreError")
    deaths = {-signal.SIGBUS} if is_quota else set()
    return _real_trial(folder, reports, way, refusal, _as_it_is, filler.unlink, deaths)


def _as_it_is() -> None:
    """Nothing is arranged in the process."""


def _real_trial(
    folder: Path,
    reports: Path,
    way: str,
    refusal: Refusal,
    arrange: Callable[[], None],
    mend: Callable[[], object] = lambda: None,
    deaths: Set[int] = frozenset(),
) -> str:
    """Runs in a process that arranges something first; goes on when that is mended."""
    process = started(reports, _tell, reports, folder, way, arrange)
    process.join(PATIENCE_SECONDS)
    if process.exitcode in deaths:
        said = f"exit code {process.exitcode}"
    else:
        await_end(reports, process)
        told = json.loads((reports / "told").read_text())
        _check_told(told["names"], told["number"], refusal, told["text"])
        said = told["names"][0] if told["names"] else "nothing"
    mend()
    check_on_the_way(folder, "task")
    _mended(folder, "task", way)
    check_ended(folder, "task", _LEASE_SECONDS)
    return said


def _tell(reports: Path, folder: Path, way: str, arrange: Callable[[], None]) -> None:
    with (reports / "told").open("w") as file:
        arrange()
        error = error_of(lambda: go_on(folder, "task", way))
        names = [each.__name__ for each in type(error).__mro__] if error else []
        text = "".join(traceback.format_exception(error)) if error else ""
        told = {"names": names, "number": getattr(error, "errno", None), "text": text}
        json.dump(told, file)


# Rights

#: See capabilities(7): with them the owner root may write whatever the modes say.
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2
_VERSION_3 = 0x20080522


def give_up_rights() -> None:
    """From here on modes of files bind this process, even if it is root's."""
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    #: Effective, permitted and inheritable, the lower 32 of each first.
    rights = (ctypes.c_uint32 * 6)()
    if library.capget(header, rights):
        raise OSError(ctypes.get_errno(), "capget")
    for index in (0, 1):
        rights[index] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    if library.capset(header, rights):
        raise OSError(ctypes.get_errno(), "capset")


# Disks


def fill_up(folder: Path, left_kib: int) -> Path:
    """Uses up all space but so much."""
    spare, filler = folder / "spare", folder / "filler"
    spare.write_bytes(os.urandom(left_kib * 1024))
    with filler.open("wb", buffering=0) as file:
        for piece_bytes in (1 << 16, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(os.urandom(piece_bytes))
                    os.fsync(file.fileno())
    spare.unlink()
    number = os.open(folder, os.O_RDONLY)
    ctypes.CDLL(None).syncfs(number)  # what is removed is given back when that is on the disk
    os.close(number)
    return filler


def run_quietly(*words: str | Path) -> bool:
    """Does a command end well?"""
    return not subprocess.run(words, capture_output=True, check=False).returncode
