"""A stored folder as real files, and back.

A checkout remembers what each file looked like to the file system (kind, mode, length,
times, inode) when it had a known content. Staging reads only the files that look different.

**Why that is safe.** A change sets the file's ctime, which no program can set back. Two changes
within one tick of the clock that stamps files (1 to 10 ms) may bear the same ctime, though. So
a file counts as known only if that clock had gone on since its ctime when we looked; the
others are read again. The problem and the remedy are git's: Documentation/technical/racy-git.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from handrail.errors import StoreError, UnsupportedFileError
from handrail.keep.base import ObjectInfo, TreeEntry
from handrail.keep.faults import storage_faults
from handrail.keep.trees import Trees

#: Threads that copy or read files, if not said.
WORKERS = min(4, os.cpu_count() or 1)
#: Folders within folders; deeper ones are refused.
MAX_DEPTH = 200

#: The clock that stamps files: clock_gettime(2), CLOCK_REALTIME_COARSE.
_FILE_CLOCK = 5 if sys.platform == "linux" else time.CLOCK_REALTIME
#: Reading this much again takes about as long as waiting for the next tick.
_WORTH_WAITING_BYTES = 4 << 20
_WORTH_WAITING_COUNT = 200
_LONGEST_TICK_SECONDS = 0.05

_FEW = 16

_Item = TypeVar("_Item")


class _Look(NamedTuple):
    """What the file system shows of a file, without reading it."""

    mode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class _Known(NamedTuple):
    """A file that was looked at, and the entry that holds its content."""

    look: _Look
    entry: TreeEntry


class _KnownFolder(NamedTuple):
    digest: str
    size_bytes: int
    entries: tuple[TreeEntry, ...]


@dataclass(slots=True)
class _Folder:
    """A folder as a scan finds it."""

    #: "" or a path that ends in "/".
    path: str
    name: str
    entries: list[TreeEntry] = field(default_factory=list)
    folders: list[_Folder] = field(default_factory=list)


class _Unknown(NamedTuple):
    """A file that has to be read."""

    folder: _Folder
    name: str
    look: _Look

    @property
    def path(self) -> str:
        return self.folder.path + self.name


class Checkout:
    """Files of one tree in a folder of their own, for one body to change.

    Made with `Checkout.create`. Copies only: no file shares its bytes with a stored object.
    """

    def __init__(self, trees: Trees, tree: str, path: Path, *, workers: int = WORKERS) -> None:
        self.trees = trees
        #: What was checked out.
        self.tree = tree
        self.path = path
        self._workers = workers
        self._known: dict[str, _Known] = {}
        self._known_folders: dict[str, _KnownFolder] = {}
        #: Links that are not shown, by folder; see `_make_links`.
        self._hidden: dict[str, list[TreeEntry]] = {}

    @classmethod
    def create(cls, trees: Trees, tree: str, path: Path, *, workers: int = WORKERS) -> Checkout:
        """Writes `tree` to `path`, a folder that is missing or empty, and that only we may enter.

        Links that lead out of the tree (of a sub-folder checked out alone, say) are left
        out of the folder, and kept in what is staged.

        Args:
            workers: threads that copy files.

        Raises:
            UnknownRefError: the tree or one of its contents is not stored.
            StoreCorruptError: a content is not what its digest says.
            StoreFullError, StoreReadOnlyError, StoreError: the files cannot be written.
        """
        checkout = cls(trees, tree, path, workers=workers)
        with storage_faults(path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            if os.listdir(path):
                raise StoreError(f"{path} is not empty. Choose a folder that does not exist.")
            checkout._write()
        return checkout

    def stage(self) -> str:
        """Stores what the folder holds now; returns its digest, the same if nothing changed.

        Contents, names, permission bits, links and empty folders count. Nothing is flushed.

        Raises:
            UnsupportedFileError: a socket, FIFO or device; a name that is not UTF-8; a file
                that may not be read; a link that is absolute or leads outside.
            StoreError: a file changed while it was read.
        """
        unknown: list[_Unknown] = []
        ticked_ns = time.clock_gettime_ns(_FILE_CLOCK)
        with storage_faults(self.path):
            root = self._scan("", "", 0, unknown)
            if any(stat.S_ISLNK(item.look.mode) for item in unknown):
                self._check_links(root, unknown)
            _in_threads(self._workers, lambda item: self._read(item, ticked_ns), unknown)
        return self._put_folder(root).digest

    # From tree to files

    def _write(self) -> None:
        files: list[tuple[str, TreeEntry]] = []
        links: list[tuple[str, TreeEntry]] = []
        self._make_folder("", self.tree, files, links, 0)
        _in_threads(self._workers, lambda item: self._write_file(*item), files)
        self._make_links(links)
        self._forget_recent()

    def _make_folder(
        self,
        path: str,
        tree: str,
        files: list[tuple[str, TreeEntry]],
        links: list[tuple[str, TreeEntry]],
        depth: int,
    ) -> None:
        _check_depth(path, depth)
        entries = self.trees.entries(tree)
        size_bytes = sum(entry.size_bytes for entry in entries)
        self._known_folders[path] = _KnownFolder(tree, size_bytes, entries)
        for entry in entries:
            below = path + entry.name
            if entry.kind == "tree":
                os.mkdir(self._at(below))
                self._make_folder(below + "/", entry.digest, files, links, depth + 1)
            else:
                (links if entry.kind == "link" else files).append((below, entry))

    def _write_file(self, path: str, entry: TreeEntry) -> None:
        target = self._at(path)
        self.trees.objects.copy_to(entry.digest, Path(target), entry.mode)
        self._known[path] = _Known(_look(os.lstat(target)), entry)

    def _make_links(self, links: Sequence[tuple[str, TreeEntry]]) -> None:
        # After all files, so that none is written through a link.
        for path, entry in links:
            target = self.trees.objects.read_bytes(entry.digest).decode("utf-8")
            os.symlink(target, self._at(path))
        for path, entry in links:
            place = self._at(path)
            if _leads_outside(str(self.path), path, os.readlink(place)):
                os.unlink(place)
                self._hidden.setdefault(_parent(path), []).append(entry)
            else:
                self._known[path] = _Known(_look(os.lstat(place)), entry)

    def _forget_recent(self) -> None:
        """Sees to it that a change by the body cannot bear the ctime we remember."""
        recent = self._recent()
        size_bytes = sum(self._known[path].look.size_bytes for path in recent)
        if size_bytes > _WORTH_WAITING_BYTES or len(recent) > _WORTH_WAITING_COUNT:
            newest_ns = max(self._known[path].look.ctime_ns for path in recent)
            _wait_past(newest_ns)
            recent = self._recent()
        for path in recent:
            del self._known[path]

    def _recent(self) -> list[str]:
        now_ns = time.clock_gettime_ns(_FILE_CLOCK)
        return [path for path, known in self._known.items() if known.look.ctime_ns >= now_ns]

    # From files to tree

    def _scan(self, path: str, name: str, depth: int, unknown: list[_Unknown]) -> _Folder:
        _check_depth(path, depth)
        folder = _Folder(path, name)
        known = self._known
        with _open_folder(self._at(path)) as items:
            for item in items:
                if not item.name.isascii():
                    _check_name(path, item.name)
                below = path + item.name
                if item.is_dir(follow_symlinks=False):
                    folder.folders.append(self._scan(below + "/", item.name, depth + 1, unknown))
                    continue
                look = _look(item.stat(follow_symlinks=False))
                found = known.get(below)
                if found is not None and found.look == look:
                    folder.entries.append(found.entry)
                else:
                    unknown.append(_Unknown(folder, item.name, look))
        return folder

    def _read(self, item: _Unknown, ticked_ns: int) -> None:
        if stat.S_ISREG(item.look.mode):
            entry = self._read_file(item)
        elif stat.S_ISLNK(item.look.mode):
            entry = self._read_link(item)
        else:
            raise UnsupportedFileError(
                f"'{item.path}' is a {_kind(item.look.mode)}. A workspace holds files, folders "
                f"and links; remove it before the task returns."
            )
        item.folder.entries.append(entry)
        if item.look.ctime_ns < ticked_ns:
            self._known[item.path] = _Known(item.look, entry)
        else:
            self._known.pop(item.path, None)

    def _read_file(self, item: _Unknown) -> TreeEntry:
        place = self._at(item.path)
        info = self.trees.objects.put_file(Path(place))
        self._check_same(item)
        mode = stat.S_IMODE(item.look.mode) & 0o777
        return TreeEntry(item.name, "file", mode, *info)

    def _read_link(self, item: _Unknown) -> TreeEntry:
        target = os.readlink(self._at(item.path))
        info: ObjectInfo = self.trees.objects.put_bytes(target.encode("utf-8"))
        self._check_same(item)
        return TreeEntry(item.name, "link", 0, *info)

    def _check_same(self, item: _Unknown) -> None:
        try:
            if _look(os.lstat(self._at(item.path))) == item.look:
                return
        except FileNotFoundError:
            pass
        raise StoreError(
            f"'{item.path}' changed while it was being read. Let everything that writes to the "
            f"workspace end before the task returns."
        )

    def _check_links(self, root: _Folder, unknown: Iterable[_Unknown]) -> None:
        """Checks every link of the folder: one that was fine may lead elsewhere through another."""
        paths = [item.path for item in unknown if stat.S_ISLNK(item.look.mode)]
        for path in [*paths, *_link_paths(root)]:
            _check_link(str(self.path), path, os.readlink(self._at(path)))

    def _put_folder(self, folder: _Folder) -> _KnownFolder:
        entries = folder.entries
        for below in folder.folders:
            put = self._put_folder(below)
            entries.append(TreeEntry(below.name, "tree", 0, put.digest, put.size_bytes))
        if folder.path in self._hidden:
            taken = {entry.name for entry in entries}
            hidden = self._hidden[folder.path]
            entries.extend(entry for entry in hidden if entry.name not in taken)
        content = tuple(sorted(entries))
        known = self._known_folders.get(folder.path)
        if known is None or known.entries != content:
            size_bytes = sum(entry.size_bytes for entry in content)
            known = _KnownFolder(self.trees.put_tree(content), size_bytes, content)
            self._known_folders[folder.path] = known
        return known

    def _at(self, path: str) -> str:
        return f"{self.path}/{path}"


def _look(found: os.stat_result) -> _Look:
    return _Look(found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _wait_past(instant_ns: int) -> None:
    """Waits for the file clock; not for long, in case somebody has set it back."""
    deadline = time.monotonic() + _LONGEST_TICK_SECONDS
    while time.clock_gettime_ns(_FILE_CLOCK) <= instant_ns and time.monotonic() < deadline:
        time.sleep(0.0005)


def _open_folder(path: str) -> os._ScandirIterator[str]:
    try:
        return os.scandir(path)
    except PermissionError as error:
        raise UnsupportedFileError(
            f"Folder {path.rstrip('/')} may not be read. Give its owner permission to read "
            f"and enter it before the task returns."
        ) from error


def _check_name(folder: str, name: str) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsupportedFileError(
            f"'{_shown(folder + name)}' has a name that is not UTF-8. Rename it."
        ) from None


def _check_depth(path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise UnsupportedFileError(
            f"'{path[:80]}…' lies more than {MAX_DEPTH} folders deep. Put it nearer to the top."
        )


def _check_link(root: str, path: str, target: str) -> None:
    if os.path.isabs(target):
        problem = "is absolute"
    elif _leads_outside(root, path, target):
        problem = "leads outside of the workspace"
    else:
        _check_name(f"{path} -> ", target)
        return
    raise UnsupportedFileError(
        f"Link '{path}' -> '{_shown(target)}' {problem}. Make it relative and let it stay "
        f"inside, or copy the file."
    )


def _leads_outside(root: str, path: str, target: str) -> bool:
    """By its text or, since a link on the way may go up or down, by where it ends."""
    if os.path.isabs(target):
        return True
    by_text = os.path.normpath(os.path.join(os.path.dirname(path), target))
    if by_text == ".." or by_text.startswith("../"):
        return True
    inside = os.path.realpath(root)
    ends = os.path.realpath(os.path.join(root, os.path.dirname(path), target))
    return ends != inside and not ends.startswith(inside + "/")


def _link_paths(folder: _Folder) -> list[str]:
    own = [folder.path + entry.name for entry in folder.entries if entry.kind == "link"]
    return own + [path for below in folder.folders for path in _link_paths(below)]


def _parent(path: str) -> str:
    return path[: path.rfind("/") + 1]


def _shown(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _kind(mode: int) -> str:
    if stat.S_ISSOCK(mode):
        return "socket"
    return "FIFO" if stat.S_ISFIFO(mode) else "device"


def _in_threads(workers: int, act: Callable[[_Item], None], items: Sequence[_Item]) -> None:
    """Runs `act` on every item, in slices, since handing over single files costs more."""
    if workers < 2 or len(items) <= _FEW:
        for item in items:
            act(item)
        return
    step = max(1, min(256, len(items) // (workers * 4)))
    slices = [items[start : start + step] for start in range(0, len(items), step)]

    def run(part: Sequence[_Item]) -> None:
        for item in part:
            act(item)

    with ThreadPoolExecutor(workers, thread_name_prefix="handrail-files") as pool:
        for _ in pool.map(run, slices):
            pass
