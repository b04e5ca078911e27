"""Choosing how files of attempts are made: the best way that this machine permits.

| way | a body's files | needed |
|---|---|---|
| `overlay` | are a cached tree seen through a mount, which holds what is changed | root, Linux |
| `reflink` | share their blocks with the objects until they are written | btrfs, XFS, bcachefs |
| `copies` | are copies | nothing |

Hard links to objects are no way: the body runs as their owner, who may write through them.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from pathlib import Path
from typing import NamedTuple

from handrail.errors import StoreError
from handrail.keep import overlay
from handrail.keep.checkout import Checkout
from handrail.keep.faults import storage_faults
from handrail.keep.owner import Owner
from handrail.keep.removal import trial_folder
from handrail.keep.tree_cache import TreeCache
from handrail.keep.trees import Trees

_log = logging.getLogger(__name__)

#: ioctl of linux/fs.h: two files share their blocks until one is written.
_FICLONE = 0x40049409


class Way(NamedTuple):
    """One way, and what is against it."""

    #: "overlay", "reflink" or "copies".
    name: str
    #: Why it is not possible here; none if it is.
    problem: str | None


class Ways:
    """Makes the files of attempts below one folder; what is possible is tried out once.

    Args:
        root: of the attempts' folders; made if missing.
        cache: trees for overlay mounts, on the same file system; without it there are none.
        only: uses that way, if it is possible, or else copies.
    """

    def __init__(self, root: Path, cache: TreeCache | None, *, only: str | None = None) -> None:
        self.root = root
        self._cache = cache
        self._only = only
        self._lock = threading.Lock()
        self._report: tuple[Way, ...] | None = None

    @property
    def best(self) -> str:
        """The way that is used."""
        return next(way.name for way in self.report() if way.problem is None)

    def report(self) -> tuple[Way, ...]:
        """All ways, best first, with what is against them; the last one is always possible.

        Raises:
            StoreError: nothing can be written to the folder.
        """
        with self._lock:
            if self._report is None:
                with storage_faults(self.root):
                    self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._report = (
                    Way("overlay", self._against_overlay()),
                    Way("reflink", self._against_reflink()),
                    Way("copies", None),
                )
            return self._report

    def check_out(self, trees: Trees, tree: str, folder: Path) -> Checkout:
        """Makes the files of `tree` at `folder/workspace`, an empty folder.

        Raises:
            StoreError: or one below it; see `Checkout.create`.
        """
        best = self.best
        if best == "overlay" and self._cache is not None:
            try:
                return overlay.OverlayCheckout.mount(self._cache, trees, tree, folder)
            except OSError as error:
                if isinstance(error, StoreError):
                    raise
                _log.warning("%s is made of copies: no overlay mount: %s", folder, error)
                best = "copies"
        return Checkout.create(trees, tree, folder / "workspace", way=best)

    def _against_overlay(self) -> str | None:
        if self._only not in (None, "overlay"):
            return "not asked for"
        if self._cache is None or not Owner.current().boot_id:
            return "trees are not cached here"
        return overlay.why_not(self.root)

    def _against_reflink(self) -> str | None:
        if self._only not in (None, "reflink"):
            return "not asked for"
        with trial_folder(self.root) as place:
            return _why_no_clone(place)


def _why_no_clone(place: Path) -> str | None:
    (place / "one").write_bytes(bytes(1 << 16))
    with open(place / "one", "rb") as source, open(place / "two", "wb") as target:
        try:
            fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
        except OSError as error:
            return f"files cannot share blocks there: {os.strerror(error.errno or 0)}"
    return None
