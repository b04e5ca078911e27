"""Which process holds something, told so that another one can see whether it still lives."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_TEXT = re.compile(
    r"process (?P<pid>\d+) on (?P<host>\S+) "
    r"\[started (?P<started>\d+), boot (?P<boot_id>\S*), namespace (?P<pid_namespace>\S*)\]"
)


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told apart from any other that had or will have its number.

    Its text form is for people and for `parse`: `process 4711 on host [started …]`.
    """

    pid: int
    host: str
    #: Clock ticks between boot and the start of the process, field 22 of proc(5) `stat`.
    started: int
    #: /proc/sys/kernel/random/boot_id: another machine, or another boot, has another one.
    boot_id: str
    #: Numbers of processes mean something only within it; see pid_namespaces(7).
    pid_namespace: str

    @classmethod
    def current(cls) -> Owner:
        """This process."""
        return _owner(os.getpid())  # another one after a fork

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """Reads the text form; none for any other text."""
        found = _TEXT.fullmatch(text)
        if found is None:
            return None
        return cls(
            pid=int(found["pid"]),
            host=found["host"],
            started=int(found["started"]),
            boot_id=found["boot_id"],
            pid_namespace=found["pid_namespace"],
        )

    def __str__(self) -> str:
        return (
            f"process {self.pid} on {self.host} [started {self.started}, "
            f"boot {self.boot_id}, namespace {self.pid_namespace}]"
        )


@lru_cache(maxsize=1)
def _owner(pid: int) -> Owner:
    found = _stat(pid)
    return Owner(
        pid=pid,
        host=os.uname().nodename or "localhost",
        started=found[1] if found else 0,
        boot_id=_boot_id(),
        pid_namespace=_pid_namespace(),
    )


def process_is_gone(owner: Owner | None) -> bool | None:
    """Has that process ended? None: that cannot be told from here.

    It can be told only within one boot of one machine and one namespace of process numbers;
    so not after a reboot, which looks like another machine. Leases end all the same.
    """
    if owner is None or not owner.boot_id or not owner.pid_namespace:
        return None
    if (owner.boot_id, owner.pid_namespace) != (_boot_id(), _pid_namespace()):
        return None
    try:
        os.kill(owner.pid, 0)  # signal 0 is not sent, only asked for
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    found = _stat(owner.pid)
    if found is None:  # hidden from us by the mount options of /proc, or just gone
        return None
    state, started, threads = found
    # A dead process whose parent has not asked for its end; with other threads left it runs on.
    ended = state in "ZX" and threads <= 1
    return ended or started != owner.started


def _stat(pid: int) -> tuple[str, int, int] | None:
    """State, start and number of threads of a process; see proc(5), `stat`."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold anything
    return fields[0], int(fields[19]), int(fields[17])


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").removeprefix("pid:[").removesuffix("]")
    except OSError:
        return ""
