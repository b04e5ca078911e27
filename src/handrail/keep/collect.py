"""Finding and removing the objects that no commit needs.

What an attempt, a commit or an import has stored and not yet published is younger than the
grace period, or its run is at work, or it holds the lock of `storing`: so it is left alone.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from handrail.errors import StoreError
from handrail.keep.base import Heads, Journal, ObjectStore
from handrail.keep.closure import closure_of
from handrail.keep.faults import storage_faults
from handrail.keep.objects import FileObjects
from handrail.keep.trees import Trees

_LOCK = "collect.lock"


class Collected(NamedTuple):
    """What a collection did, or would do."""

    kept_count: int
    removed_count: int
    #: Objects that nothing refers to, but put too recently to be judged.
    spared_count: int
    #: Length of what was removed; 0 where the store does not tell.
    removed_bytes: int = 0


def collect_garbage(
    trees: Trees,
    objects: ObjectStore,
    roots: Iterable[str],
    keep_newer_than: int,
    *,
    dry_run: bool = False,
    told: Callable[[int], None] = lambda count: None,
) -> Collected:
    """Removes every object that no commit in `roots`, or before one of them, refers to.

    Safe while others work: what an attempt has stored and not yet published is young.

    Args:
        roots: commits, as `commits_in_use` gives them.
        keep_newer_than: milliseconds since 1970, UTC. Objects put later are kept. Must lie
            before the start of the oldest attempt in progress.
        dry_run: removes nothing, and tells what would be removed. Where a store does not tell
            the times of its objects, none counts as young.
        told: called with 1 for each object that was looked at.

    Raises:
        UnknownRefError: a commit or tree in use is missing; nothing is removed then.
    """
    reachable = closure_of(trees, roots)
    removed = spared = removed_bytes = 0
    for digest in list(objects.digests()):
        told(1)
        if digest in reachable:
            continue
        size_bytes, stored_at = _look(objects, digest)
        is_young = stored_at is not None and stored_at >= keep_newer_than
        if not is_young and (dry_run or objects.delete(digest, keep_newer_than)):
            removed += 1
            removed_bytes += size_bytes
        else:
            spared += 1
    return Collected(len(reachable), removed, spared, removed_bytes)


def commits_in_use(heads: Heads, journal: Journal) -> set[str]:
    """The commits of every branch, and those that accepted attempts started from and made."""
    found = set(heads.heads().values())
    for run in journal.runs(limit=sys.maxsize):
        for acceptance in journal.accepted(run.run_id):
            found.update(ref for ref in (acceptance.input_ref, acceptance.output_ref) if ref)
    return found


@contextmanager
def storing(home: Path) -> Iterator[None]:
    """Keeps collections in that home from starting; waits for one that is at work."""
    with _locked(home, fcntl.LOCK_SH):
        yield


@contextmanager
def collecting(home: Path) -> Iterator[None]:
    """Keeps others from storing in that home without a run.

    Raises:
        StoreError: somebody is storing, or collecting, at this moment.
    """
    with _locked(home, fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield


@contextmanager
def _locked(home: Path, how: int) -> Iterator[None]:
    with storage_faults(home):
        number = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(number, how)
        except BlockingIOError:
            raise StoreError(
                f"A commit, an import or another collection is at work in {home}. "
                f"Try again when it has ended."
            ) from None
        yield
    finally:
        os.close(number)


def _look(objects: ObjectStore, digest: str) -> tuple[int, int | None]:
    """Length of an object, and when it was put, in milliseconds; 0 and none if not told."""
    if isinstance(objects, FileObjects):
        with suppress(OSError):
            found = os.stat(objects.folder / digest[:2] / digest[2:])
            return found.st_size, found.st_mtime_ns // 1_000_000
    return 0, None
