"""Finding what changed in a folder, and reading only that.

A file is remembered by what it looked like to the file system (kind, mode, length, times,
inode) when it had a known content. Only files that look different are read.

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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from handrail.errors import StoreError, UnsupportedFileError
from handrail.keep.base import ObjectInfo, ObjectStore, TreeEntry
from handrail.keep.links import leads_outside

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


class Look(NamedTuple):
    """What the file system shows of a file, without reading it."""

    mode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, found: os.stat_result) -> Look:
        """The look of a file that `os.lstat` was asked for."""
        return cls(found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


class _Known(NamedTuple):
    """A file that was looked at, and the entry that holds its content."""

    look: Look
    entry: TreeEntry


class StatIndex:
    """Files with a known content, by path, and what they looked like then."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def entry(self, path: str, look: Look) -> TreeEntry | None:
        """The content of a file that still looks the same; none if it has to be read."""
        found = self._known.get(path)
        return found.entry if found is not None and found.look == look else None

    def add(self, path: str, look: Look, entry: TreeEntry) -> None:
        """Remembers a file that was just written; `settle` is called before a body sees it."""
        self._known[path] = _Known(look, entry)

    def settle(self) -> None:
        """Sees to it that a later change cannot bear the ctime that is remembered."""
        recent = self._recent()
        size_bytes = sum(self._known[path].look.size_bytes for path in recent)
        if size_bytes > _WORTH_WAITING_BYTES or len(recent) > _WORTH_WAITING_COUNT:
            _wait_past(max(self._known[path].look.ctime_ns for path in recent))
            recent = self._recent()
        for path in recent:
            del self._known[path]

    def add_read(self, path: str, look: Look, entry: TreeEntry, ticked_ns: int) -> None:
        """Remembers a file that was read after the clock had shown `ticked_ns`."""
        if look.ctime_ns < ticked_ns:
            self.add(path, look, entry)
        else:
            self._known.pop(path, None)

    def _recent(self) -> list[str]:
        now_ns = file_clock_ns()
        return [path for path, known in self._known.items() if known.look.ctime_ns >= now_ns]


@dataclass(slots=True)
class FoundFolder:
    """A folder as a scan finds it."""

    #: "" or a path that ends in "/".
    path: str
    name: str
    #: What it holds, without the folders that were looked into.
    entries: list[TreeEntry] = field(default_factory=list)
    folders: list[FoundFolder] = field(default_factory=list)


class UnknownFile(NamedTuple):
    """A file that has to be read."""

    folder: FoundFolder
    name: str
    look: Look

    @property
    def path(self) -> str:
        return self.folder.path + self.name


class Scan:
    """One look over a folder, and the reading of what it cannot know.

    Args:
        root: the folder that is looked over.
        read_from: where its files are read; the same folder, or another view of it.
    """

    def __init__(self, root: Path, index: StatIndex, *, read_from: Path | None = None) -> None:
        self.unknown: list[UnknownFile] = []
        #: Targets of links that were read.
        self.targets: dict[str, str] = {}
        self._root = str(root)
        self._read_from = str(read_from or root)
        self._index = index
        self._ticked_ns = file_clock_ns()

    def walk(self) -> FoundFolder:
        """Looks at everything below; what is not known is put on `unknown`.

        Raises:
            UnsupportedFileError: a name that is not UTF-8, a folder that may not be read, or
                one too deep.
        """
        return self._walk("", "", 0)

    def _walk(self, path: str, name: str, depth: int) -> FoundFolder:
        check_depth(path, depth)
        folder = FoundFolder(path, name)
        known = self._index.entry
        with self.open_folder(path) as items:
            for item in items:
                below = path + item.name
                if not item.name.isascii():
                    check_name(path, item.name)
                if item.is_dir(follow_symlinks=False):
                    folder.folders.append(self._walk(below + "/", item.name, depth + 1))
                    continue
                look = Look.of(item.stat(follow_symlinks=False))
                entry = known(below, look)
                if entry is not None:
                    folder.entries.append(entry)
                else:
                    self.unknown.append(UnknownFile(folder, item.name, look))
        return folder

    def open_folder(self, path: str) -> os._ScandirIterator[str]:
        """Lists a folder; `path` is "" or ends in "/".

        Raises:
            UnsupportedFileError: it may not be read.
        """
        try:
            return os.scandir(f"{self._root}/{path}")
        except PermissionError as error:
            raise UnsupportedFileError(
                f"Folder {self._root}/{path.rstrip('/')} may not be read. Give its owner "
                f"permission to read and enter it before the task returns."
            ) from error

    # Reading

    def read_links(self) -> None:
        """Reads the targets of unknown links, and refuses what is no file, folder or link.

        Raises:
            UnsupportedFileError: a socket, FIFO or device; a target that is not UTF-8.
        """
        for item in self.unknown:
            if stat.S_ISLNK(item.look.mode):
                target = os.readlink(f"{self._read_from}/{item.path}")
                check_name(f"{item.path} -> ", target)
                self.targets[item.path] = target
            elif not stat.S_ISREG(item.look.mode):
                raise UnsupportedFileError(
                    f"'{item.path}' is a {_kind(item.look.mode)}. A workspace holds files, "
                    f"folders and links; remove it before the task returns."
                )

    def read(self, objects: ObjectStore, workers: int) -> None:
        """Stores every unknown file and adds it to its folder.

        Raises:
            StoreError: a file changed while it was read.
        """
        in_threads(workers, lambda item: self._read(objects, item), self.unknown)

    def _read(self, objects: ObjectStore, item: UnknownFile) -> None:
        info: ObjectInfo
        if item.path in self.targets:
            kind, mode = "link", 0
            info = objects.put_bytes(self.targets[item.path].encode("utf-8"))
        else:
            kind, mode = "file", stat.S_IMODE(item.look.mode) & 0o777
            info = objects.put_file(Path(f"{self._read_from}/{item.path}"))
        self._check_same(item)
        entry = TreeEntry(item.name, kind, mode, *info)
        item.folder.entries.append(entry)
        self._index.add_read(item.path, item.look, entry, self._ticked_ns)

    def _check_same(self, item: UnknownFile) -> None:
        try:
            if Look.of(os.lstat(f"{self._root}/{item.path}")) == item.look:
                return
        except FileNotFoundError:
            pass
        raise StoreError(
            f"'{item.path}' changed while it was being read. Let everything that writes to the "
            f"workspace end before the task returns."
        )


def check_links(suspects: Mapping[str, str], links: Mapping[str, str]) -> None:
    """Refuses links that leave the folder.

    Args:
        suspects: targets by path, in the order in which they are named.
        links: all links of the folder.

    Raises:
        UnsupportedFileError: one of the suspects is absolute or leads outside.
    """
    for path, target in suspects.items():
        if leads_outside(path, target, links):
            problem = "is absolute" if os.path.isabs(target) else "leads outside of the workspace"
            raise UnsupportedFileError(
                f"Link '{path}' -> '{shown(target)}' {problem}. Make it relative and let it stay "
                f"inside, or copy the file."
            )


def check_name(folder: str, name: str) -> None:
    """Refuses a name that is not UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsupportedFileError(
            f"'{shown(folder + name)}' has a name that is not UTF-8. Rename it."
        ) from None


def check_depth(path: str, depth: int) -> None:
    """Refuses folders beyond reason."""
    if depth > MAX_DEPTH:
        raise UnsupportedFileError(
            f"'{path[:80]}…' lies more than {MAX_DEPTH} folders deep. Put it nearer to the top."
        )


def shown(text: str) -> str:
    """A name as it can be printed, whatever bytes it holds."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def file_clock_ns() -> int:
    """What the clock that stamps files shows."""
    return time.clock_gettime_ns(_FILE_CLOCK)


def in_threads(workers: int, act: Callable[[_Item], None], items: Sequence[_Item]) -> None:
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


def _wait_past(instant_ns: int) -> None:
    """Waits for the file clock; not for long, in case somebody has set it back."""
    deadline = time.monotonic() + _LONGEST_TICK_SECONDS
    while file_clock_ns() <= instant_ns and time.monotonic() < deadline:
        time.sleep(0.0005)


def _kind(mode: int) -> str:
    if stat.S_ISSOCK(mode):
        return "socket"
    return "FIFO" if stat.S_ISFIFO(mode) else "device"
