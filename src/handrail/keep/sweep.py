"""Folders of attempts, and taking away those that nobody works in.

Each attempt has a folder with two things in it: `workspace/`, which is the body's, and
`owner.json`, which is ours and lies outside of what the body sees. Where `workspace/` is a
mount, what holds it up lies beside as well; see `handrail.keep.overlay`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from handrail.errors import StoreError
from handrail.keep.checkout import Checkout
from handrail.keep.faults import storage_faults
from handrail.keep.owner import Owner, process_is_gone
from handrail.keep.removal import MARK, remove_folder
from handrail.keep.trees import Trees
from handrail.keep.ways import Ways

_log = logging.getLogger(__name__)

_CREATING = ".creating-"
_REMOVING = ".removing-"


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose an attempt's folder is."""

    attempt_id: str
    run_id: str
    owner: Owner | None
    #: Milliseconds since 1970, UTC. From here on an owner that cannot be seen counts as gone.
    expires_at: int


class AttemptFolders:
    """The folders of attempts in progress on this machine.

    Args:
        root: the folder that holds them, made if missing.
        ways: how files of attempts are made there; by default never through a mount.
        lease_seconds: how long a folder is left alone whose owner cannot be seen from here.
        now: the clock, in milliseconds since 1970, UTC.
        owner: who works here; tests hand in another one.
        is_gone: has that process ended? None if it cannot be told.
    """

    def __init__(
        self,
        root: Path,
        *,
        ways: Ways | None = None,
        lease_seconds: float = 30.0,
        now: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        owner: Callable[[], Owner] = Owner.current,
        is_gone: Callable[[Owner | None], bool | None] = process_is_gone,
    ) -> None:
        self.root = root
        #: How files of attempts are made here.
        self.ways = ways or Ways(root, None)
        self._checkouts: dict[Path, Checkout] = {}
        self._lease_ms = int(lease_seconds * 1000)
        self._now = now
        self._owner = owner
        self._is_gone = is_gone
        self._numbers = count()

    def create(self, attempt_id: str, run_id: str) -> Path:
        """Makes the folder of an attempt, private, with its mark and an empty `workspace/`.

        Raises:
            StoreError: it exists, or cannot be made.
        """
        folder = self.root / attempt_id
        making = self._aside(_CREATING)
        with storage_faults(folder):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            making.mkdir(mode=0o700)
            try:
                (making / "workspace").mkdir(mode=0o700)
                self._write_mark(making, attempt_id, run_id)
                # A folder is never seen without its mark. (Onto a full folder this fails.)
                os.rename(making, folder)
            except BaseException:
                with suppress(StoreError):  # a sweep removes it later
                    remove_folder(making)
                raise
        return folder

    def check_out(self, trees: Trees, tree: str, folder: Path) -> Checkout:
        """Makes the files of `tree` in the `workspace/` of an attempt, the best way there is.

        Raises:
            StoreError: or one below it; see `Checkout.create`.
        """
        checkout = self.ways.check_out(trees, tree, folder)
        self._checkouts[folder] = checkout
        return checkout

    def renew(self, folder: Path) -> None:
        """Prolongs the mark by a lease, for processes that cannot see this one."""
        mark = self.mark(folder)
        if mark is not None:
            with storage_faults(folder):
                self._write_mark(folder, mark.attempt_id, mark.run_id)

    def remove(self, folder: Path) -> None:
        """Removes an attempt's folder, whatever the body did in it; a missing one is fine.

        Raises:
            StoreError: something in it cannot be removed.
        """
        try:
            with storage_faults(folder):
                # Out of sight in one step; what cannot be removed now, a later sweep removes.
                aside = self._aside(_REMOVING)
                try:
                    os.rename(folder, aside)
                except FileNotFoundError:
                    return
            remove_folder(aside)
        finally:
            checkout = self._checkouts.pop(folder, None)
            if checkout is not None:
                checkout.close()

    def mark(self, folder: Path) -> Mark | None:
        """The mark of a folder; none if there is none that can be read."""
        try:
            found = json.loads((folder / MARK).read_bytes())
            return Mark(
                attempt_id=str(found["attempt_id"]),
                run_id=str(found["run_id"]),
                owner=Owner.parse(found["owner"]),
                expires_at=int(found["expires_at"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def sweep(self, alive: Callable[[str], bool] = lambda run_id: False) -> list[Path]:
        """Removes the folders that nobody works in; returns them.

        A folder is abandoned when its owner has ended, or when its owner cannot be seen from
        here (another machine or container), the mark's lease is over and so is its run's. A
        folder whose mark cannot be read is abandoned when it is older than a lease. What
        cannot be removed is logged and left to the next sweep.

        Args:
            alive: is the lease of that run held at this time?
        """
        removed = []
        for folder in self._folders():
            try:
                if self._is_abandoned(folder, alive):
                    self.remove(folder)
                    removed.append(folder)
            except StoreError as error:
                _log.warning("Attempt folder %s was not removed: %s", folder, error)
        return removed

    def _is_abandoned(self, folder: Path, alive: Callable[[str], bool]) -> bool:
        mark = self.mark(folder)
        if mark is None:
            return folder.name.startswith(_REMOVING) or self._is_old(folder)
        gone = self._is_gone(mark.owner)
        if gone is None:
            return mark.expires_at <= self._now() and not alive(mark.run_id)
        return gone

    def _is_old(self, folder: Path) -> bool:
        try:
            return os.stat(folder).st_mtime_ns // 1_000_000 + self._lease_ms <= self._now()
        except FileNotFoundError:
            return False

    def _folders(self) -> list[Path]:
        with storage_faults(self.root):
            try:
                return sorted(Path(entry.path) for entry in os.scandir(self.root) if entry.is_dir())
            except FileNotFoundError:
                return []

    def _aside(self, prefix: str) -> Path:
        return self.root / f"{prefix}{os.getpid()}-{time.time_ns():x}-{next(self._numbers)}"

    def _write_mark(self, folder: Path, attempt_id: str, run_id: str) -> None:
        mark = {
            "attempt_id": attempt_id,
            "run_id": run_id,
            "owner": str(self._owner()),
            "expires_at": self._now() + self._lease_ms,
        }
        beside = folder / f"{MARK}.part"
        beside.write_text(json.dumps(mark), encoding="utf-8")
        os.rename(beside, folder / MARK)
