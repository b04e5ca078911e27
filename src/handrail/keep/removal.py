"""Removing a folder that a body had to itself."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import time
from pathlib import Path

from handrail.errors import StoreError
from handrail.keep.faults import storage_faults

_TRIES = 5
#: umount2(2): the mount disappears at once, and is closed when its last user is gone.
_MNT_DETACH = 2


def remove_folder(path: Path) -> None:
    """Removes a folder and all it holds, whatever permissions were taken away in it.

    Links are removed, not followed. What a body mounted there is unmounted first, so that
    files of somebody else are never reached. A missing folder is fine.

    Raises:
        StoreError: something there cannot be unmounted or removed, or still writes.
    """
    with storage_faults(path):
        for mount in _mounts_below(path):
            _unmount(mount)
        for remaining in reversed(range(_TRIES)):
            try:
                shutil.rmtree(path)
                return
            except FileNotFoundError:
                if not os.path.lexists(path):
                    return
            except PermissionError:
                if not remaining:
                    raise
                _allow_all(path)
            except OSError:  # a name came while the folder was emptied
                if not remaining:
                    raise
                time.sleep(0.01)


def _allow_all(path: Path) -> None:
    """Gives the owner every right on the folders; parents first, to be able to look inside."""
    os.chmod(path, 0o700)
    for folder, names, _ in os.walk(path):
        for name in names:
            below = os.path.join(folder, name)
            if not os.path.islink(below):
                os.chmod(below, 0o700)


def _mounts_below(path: Path) -> list[str]:
    """Mount points in a folder, deepest first; see proc(5), `mountinfo`."""
    inside = os.path.realpath(path) + "/"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    points = [_unescape(line.split(" ")[4]) for line in lines.splitlines()]
    return sorted((point for point in points if point.startswith(inside)), reverse=True)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _unmount(point: str) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    if system.umount2(os.fsencode(point), _MNT_DETACH) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise StoreError(
            f"{point} is a mount inside of an attempt's folder and cannot be unmounted "
            f"({reason}). Unmount it with: sudo umount {point}"
        )
