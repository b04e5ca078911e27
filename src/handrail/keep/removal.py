"""Removing a folder that a body had to itself."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handrail.keep.faults import storage_faults
from handrail.keep.mounts import mounts_below, unmount
from handrail.keep.owner import Owner

#: Name of the file that says whose a folder is; see `handrail.keep.sweep`.
MARK = "owner.json"
_TRIES = 5
_TRIAL_MILLISECONDS = 30_000


@contextmanager
def trial_folder(parent: Path) -> Iterator[Path]:
    """A folder to try something out in, removed afterwards; a sweep would find it, too.

    Raises:
        StoreError: it cannot be made or removed.
    """
    with storage_faults(parent):
        path = Path(tempfile.mkdtemp(dir=parent, prefix=".try-"))
        try:
            until = time.time_ns() // 1_000_000 + _TRIAL_MILLISECONDS
            mark = {"attempt_id": "", "run_id": "", "owner": str(Owner.current())}
            (path / MARK).write_text(json.dumps({**mark, "expires_at": until}))
            yield path
        finally:
            remove_folder(path)


def remove_folder(path: Path) -> None:
    """Removes a folder and all it holds, whatever permissions were taken away in it.

    Links are removed, not followed. What is mounted there is unmounted first, so that
    files of somebody else are never reached. A missing folder is fine.

    Raises:
        StoreError: something there cannot be unmounted or removed, or still writes.
    """
    with storage_faults(path):
        for mount in mounts_below(path):
            unmount(mount)
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
