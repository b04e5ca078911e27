"""Stored folders kept as files, for mounts to show.

A tree is written once, to `<digest>/files/`, and never changed: bodies see it only through an
overlay, whose kernel copies a file before it is written. Two that are much alike share what
they have in common: the later one holds the difference, in the form of an upper layer
(overlayfs.rst: whiteouts, opaque folders), and names those `below` it.

    <digest>/files/         the tree, or what differs from the trees below it
    <digest>/tree.json      see `_Description`
    .making-…, .removing-…  on their way in and out
    .lock                   held while trees come and go
    .build-<digest>         held by whoever writes that tree

Nothing is flushed to the disk. What a power cut may have spoilt is told by the boot it was
written in, and written again. A tree in use is locked (flock(2) on its folder), which ends with
its process. The least recently used ones are removed when all together grow too large.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from handrail.errors import StoreError, StoreFullError
from handrail.keep.copies import TreeWriter
from handrail.keep.faults import storage_faults
from handrail.keep.owner import Owner
from handrail.keep.removal import remove_folder
from handrail.keep.scan import WORKERS
from handrail.keep.tree_difference import TreeDifference, is_alike
from handrail.keep.trees import Trees

#: Trees upon each other; a search for a name looks into each.
MAX_LAYERS = 8
#: More trees than this are not kept, however small they are.
MAX_TREES = 100
#: At most this, and at most a tenth of the disk.
LIMIT_BYTES = 10_000_000_000

#: Trees that are compared with one that is to be written.
_CANDIDATES = 3

_MAKING, _REMOVING = ".making-", ".removing-"


@dataclass(frozen=True, slots=True)
class _Description:
    """What is known of a cached tree without looking into it."""

    boot: str
    #: Digests of the trees it lies upon, nearest first.
    below: list[str]
    #: Files of the whole tree, and what this layer takes on the disk.
    file_count: int
    size_bytes: int
    #: Targets of all links of the whole tree, those that are hidden as well.
    links: dict[str, str]


class CachedTree:
    """A tree that is there, and stays until it is closed."""

    def __init__(self, root: Path, digest: str, description: _Description, lock: int) -> None:
        self.digest = digest
        #: What a mount stacks up, the top first.
        self.layers = tuple(root / name / "files" for name in (digest, *description.below))
        self.links: Mapping[str, str] = description.links
        self.file_count = description.file_count
        self.below = tuple(description.below)
        self._lock: int | None = lock

    def close(self) -> None:
        """Lets it be removed."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


class TreeCache:
    """Trees as files in one folder, shared by the processes of this machine.

    Args:
        root: private to its user; made if missing.
        limit_bytes: what all of them may take; those in use stay all the same.
        boot: what tells this boot of the machine from others.
    """

    def __init__(
        self,
        root: Path,
        *,
        limit_bytes: int | None = None,
        boot: str | None = None,
        workers: int = WORKERS,
    ) -> None:
        self.root = root
        self._limit_bytes = limit_bytes
        self._boot = boot or Owner.current().boot_id
        self._workers = workers
        self._numbers = count()

    def open(self, trees: Trees, tree: str) -> CachedTree:
        """The files of a tree, written if they are not there.

        Raises:
            UnknownRefError: the tree or one of its contents is not stored.
            StoreCorruptError: a content is not what its digest says.
            StoreFullError, StoreReadOnlyError, StoreError: the files cannot be written.
        """
        with storage_faults(self.root):
            found = self._take(tree)
            if found is not None:
                return found
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked(f".build-{tree}", passing=True):
                return self._take(tree) or self._built(trees, tree)

    def trim(self, limit_bytes: int | None = None) -> int:
        """Removes trees that nobody uses until the rest takes no more; returns how many."""
        with storage_faults(self.root):
            if not self.root.exists():
                return 0
            limit_bytes = self._limit() if limit_bytes is None else limit_bytes
            with self._locked(".lock"):
                removed = self._abandoned() + self._unneeded(limit_bytes)
            for folder, lock in removed:
                remove_folder(folder)
                os.close(lock)
        return len(removed)

    # Using

    def _take(self, tree: str) -> CachedTree | None:
        folder = self.root / tree
        lock = _lock_folder(folder, fcntl.LOCK_SH)
        if lock is None:
            return None
        description = self._describe(folder)
        if description is None or description.boot != self._boot:
            os.close(lock)
            return None
        with suppress(OSError):  # only told less precisely when it was used
            os.utime(folder)
        return CachedTree(self.root, tree, description, lock)

    def _describe(self, folder: Path) -> _Description | None:
        try:
            return _Description(**json.loads((folder / "tree.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    # Writing

    def _built(self, trees: Trees, tree: str) -> CachedTree:
        self.trim()
        try:
            return self._build(trees, tree)
        except StoreFullError:
            if not self.trim(0):
                raise
            return self._build(trees, tree)

    def _build(self, trees: Trees, tree: str) -> CachedTree:
        base = self._base(trees, tree)
        making, lock = self._make_folder()
        try:
            files = making / "files"
            description = self._write(trees, tree, files, base)
            content = json.dumps(asdict(description))
            (making / "tree.json").write_text(content, encoding="utf-8")
            with self._locked(".lock"):
                os.rename(making, self.root / tree)
            return CachedTree(self.root, tree, description, lock)
        except BaseException:
            with suppress(StoreError):  # removed by a later build
                remove_folder(making)
            os.close(lock)
            raise
        finally:
            if base is not None:
                base.close()

    def _write(self, trees: Trees, tree: str, files: Path, base: CachedTree | None) -> _Description:
        if base is not None:
            files.mkdir(mode=0o700)
            layer = TreeDifference(TreeWriter(trees, files, self._workers), base)
            if layer.write(tree):
                below = [base.digest, *base.below]
                return self._description(layer.writer, below, layer.file_count, layer.links)
            shutil.rmtree(files)
        files.mkdir(mode=0o700)
        writer = TreeWriter(trees, files, self._workers)
        writer.folder("", tree, 0)
        writer.finish(writer.hidden())
        return self._description(writer, [], writer.file_count, writer.links)

    def _description(
        self, writer: TreeWriter, below: list[str], file_count: int, links: dict[str, str]
    ) -> _Description:
        return _Description(self._boot, below, file_count, writer.size_bytes, links)

    def _base(self, trees: Trees, tree: str) -> CachedTree | None:
        """A tree that is much like `tree`, or none."""
        for digest in self._candidates():
            base = self._take(digest)
            if base is None:
                continue
            if len(base.layers) < MAX_LAYERS and is_alike(trees, base, tree):
                return base
            base.close()
        return None

    def _candidates(self) -> list[str]:
        recent = sorted(self._all(), key=lambda one: one.used_at, reverse=True)[:_CANDIDATES]
        digests = [one.digest for one in recent]
        below = [digest for one in recent for digest in one.description.below]
        return list(dict.fromkeys([*digests, *below]))

    def _make_folder(self) -> tuple[Path, int]:
        name = f"{_MAKING}{os.getpid()}-{time.time_ns():x}-{next(self._numbers)}"
        making = self.root / name
        with self._locked(".lock"):  # so that it is never seen without its lock
            making.mkdir(mode=0o700)
            lock = _lock_folder(making, fcntl.LOCK_SH)
        assert lock is not None
        return making, lock

    # Removing

    def _all(self) -> list[_Kept]:
        found = []
        for name in os.listdir(self.root):
            folder = self.root / name
            description = None if name.startswith(".") else self._describe(folder)
            if description is not None:
                with suppress(FileNotFoundError):  # removed meanwhile
                    found.append(_Kept(name, description, folder.stat().st_mtime_ns))
        return found

    def _abandoned(self) -> list[tuple[Path, int]]:
        """Takes aside what was never finished, and what was written before this boot."""
        known = {one.digest for one in self._all() if one.description.boot == self._boot}
        unknown = set(os.listdir(self.root)) - known
        folders = [name for name in unknown if (self.root / name).is_dir()]
        return [taken for name in folders if (taken := self._aside(name))]

    def _unneeded(self, limit_bytes: int) -> list[tuple[Path, int]]:
        """Takes trees aside, the least recently used first, and none that another lies upon."""
        kept = sorted(self._all(), key=lambda one: one.used_at)
        total = sum(one.description.size_bytes for one in kept)
        removed: list[tuple[Path, int]] = []
        tried: set[str] = set()
        while total > limit_bytes or len(kept) >= MAX_TREES:
            needed = {digest for one in kept for digest in one.description.below}
            one = next((one for one in kept if one.digest not in needed | tried), None)
            if one is None:
                break
            tried.add(one.digest)
            taken = self._aside(one.digest)
            if taken is not None:
                removed.append(taken)
                kept.remove(one)
                total -= one.description.size_bytes
        return removed

    def _aside(self, name: str) -> tuple[Path, int] | None:
        """Takes a folder out of sight, unless somebody uses it."""
        folder = self.root / name
        lock = _lock_folder(folder, fcntl.LOCK_EX)
        if lock is None:
            return None
        if name.startswith(_REMOVING):
            return folder, lock
        aside = self.root / f"{_REMOVING}{os.getpid()}-{time.time_ns():x}-{next(self._numbers)}"
        os.rename(folder, aside)
        return aside, lock

    def _limit(self) -> int:
        if self._limit_bytes is not None:
            return self._limit_bytes
        return min(LIMIT_BYTES, shutil.disk_usage(self.root).total // 10)

    @contextmanager
    def _locked(self, name: str, *, passing: bool = False) -> Iterator[None]:
        """Holds a lock file. A `passing` one is removed; who waits for it meets nobody then."""
        path = self.root / name
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield
            if passing:
                path.unlink(missing_ok=True)
        finally:
            os.close(number)


@dataclass(frozen=True, slots=True)
class _Kept:
    digest: str
    description: _Description
    used_at: int


def _lock_folder(folder: Path, how: int) -> int | None:
    """A number that holds the lock; none if the folder is missing or somebody else's."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(number, how | fcntl.LOCK_NB)
        found: Any = os.stat(folder)
        if os.path.samestat(found, os.fstat(number)):
            return number
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(number)
        raise
    os.close(number)
    return None
