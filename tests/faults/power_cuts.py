"""Power cuts, simulated: what a disk may hold when all that was not synced is at its mercy.

All that a run does on the disk is written down (see `disk.c`). For a cut right before or after a
sync, the disk then holds what POSIX promises - the content of a file as of its last sync, the
names in a folder as of that folder's last sync - and of what came later anything: nothing, all,
the names without the contents, some of each with contents torn at sectors. That is the method of
ALICE (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014) and of CrashMonkey
(Mohan et al., "Finding Crash-Consistency Bugs with Bounded Black-Box Testing", OSDI 2018).
"""

from __future__ import annotations

import os
import random
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, TypeAlias

_HEADER = struct.Struct("=IIIIQqQ")
#: What a disk writes whole.
_SECTOR_BYTES = 512
#: Of a file whose mode did not survive.
_SOME_MODE = 0o600
#: Targets of links, modes and contents of files, and none for folders, by path.
Picture: TypeAlias = dict[str, str | tuple[int, bytes] | None]
#: Of SQLite; made anew by whoever opens the database first, and never synced.
_SHARED_MEMORY = "-shm"


class Kind(IntEnum):
    """What was done; numbers as in `disk.c`."""

    CREATE = 1
    MKDIR = 2
    WRITE = 3
    TRUNCATE = 4
    RENAME = 5
    LINK = 6
    UNLINK = 7
    RMDIR = 8
    SYMLINK = 9
    SYNC = 10
    MARK = 11
    MODE = 12


class Record(NamedTuple):
    """One thing that was done on the disk."""

    kind: Kind
    name: str
    other: str
    inode: int
    offset: int
    data: bytes


def read_log(path: Path) -> list[Record]:
    """All records of a log."""
    content = path.read_bytes()
    found, at = [], 0

    def taken(size_bytes: int) -> bytes:
        nonlocal at
        at += size_bytes
        return content[at - size_bytes : at]

    while at < len(content):
        kind, name_bytes, other_bytes, _, inode, offset, data_bytes = _HEADER.unpack(
            taken(_HEADER.size)
        )
        name, other = os.fsdecode(taken(name_bytes)), os.fsdecode(taken(other_bytes))
        found.append(Record(Kind(kind), name, other, inode, offset, taken(data_bytes)))
    return found


@dataclass(eq=False, slots=True)
class Thing:
    """A file or a folder. Numbers of inodes are given again, so they are no identity."""

    is_folder: bool
    link_to: str | None = None
    synced_at: list[int] = field(default_factory=list)


class Change(NamedTuple):
    """Something that a cut may undo, unless it was synced."""

    at: int
    #: What has to be synced for it.
    kept_with: Thing
    #: Names that get another meaning: folder, name, and what it means; none: nothing.
    names: tuple[tuple[Thing, str, Thing | None], ...] = ()
    #: Content: of the file `kept_with`; none: it has `offset` bytes from here on.
    offset: int = 0
    data: bytes | None = None
    #: Its mode from here on.
    mode: int | None = None


class Mark(NamedTuple):
    """A note of the program, and when it came."""

    at: int
    name: str


class Disk:
    """What a program has done in a folder, from its log."""

    def __init__(self, root: Path, records: Sequence[Record]) -> None:
        self.records = records
        self.changes: list[Change] = []
        self.marks: list[Mark] = []
        self.top = Thing(is_folder=True)
        #: Instants at which the power may be cut: so many records were done.
        self.cuts: list[int] = []
        self._root = str(root)
        #: Inodes and names by now, while the log is read.
        self._things: dict[int, Thing] = {}
        self._names: dict[str, Thing] = {str(root): self.top}
        for at, record in enumerate(records):
            self._read(at, record)
        self.cuts.append(len(records))

    def _read(self, at: int, record: Record) -> None:
        kind = record.kind
        if kind is Kind.MARK:
            self.marks.append(Mark(at, record.name))
        elif kind is Kind.SYNC:
            self._sync(at, record.inode)
        elif kind in (Kind.WRITE, Kind.TRUNCATE, Kind.MODE):
            self._write(at, record)
        elif kind is Kind.RENAME:
            self._rename(at, record)
        elif kind in (Kind.UNLINK, Kind.RMDIR):
            del self._names[record.name]
            folder, name = self._place(record.name)
            self.changes.append(Change(at, folder, ((folder, name, None),)))
        else:
            assert kind is not Kind.LINK, "hard links are not simulated"
            thing = Thing(kind is Kind.MKDIR, record.other if kind is Kind.SYMLINK else None)
            self._things[record.inode] = self._names[record.name] = thing
            folder, name = self._place(record.name)
            self.changes.append(Change(at, folder, ((folder, name, thing),)))
            if kind is Kind.CREATE:
                self.changes.append(Change(at, thing, mode=record.offset))

    def _write(self, at: int, record: Record) -> None:
        thing = self._things.get(record.inode)
        if thing is None or thing.is_folder:  # a file without a name, or whose mode is no matter
            return
        if record.kind is Kind.MODE:
            self.changes.append(Change(at, thing, mode=record.offset))
        else:
            data = record.data if record.kind is Kind.WRITE else None
            self.changes.append(Change(at, thing, offset=record.offset, data=data))

    def _sync(self, at: int, inode: int) -> None:
        thing = self._things.get(inode)
        if thing is None:  # the only thing that was there before
            thing = self._names.get(self._root)
        assert thing is not None
        thing.synced_at.append(at)
        self.cuts += [at, at + 1]

    def _rename(self, at: int, record: Record) -> None:
        for name in [n for n in self._names if n.startswith(record.name + "/")]:
            self._names[record.other + name[len(record.name) :]] = self._names.pop(name)
        thing = self._names[record.other] = self._names.pop(record.name)
        before, old = self._place(record.name)
        after, new = self._place(record.other)
        self.changes.append(Change(at, after, ((before, old, None), (after, new, thing))))

    def _place(self, path: str) -> tuple[Thing, str]:
        folder, _, name = path.rpartition("/")
        return self._names[folder], name

    def at(self, cut: int, survives: Callable[[Change], bool], tear: random.Random | None) -> State:
        """What the disk holds after a cut.

        Args:
            survives: is that change there though it was not synced?
            tear: contents that are not synced survive by sectors, by that chance.
        """
        state = State(self.top)
        for change in self.changes:
            if change.at >= cut:
                break
            if any(change.at < at < cut for at in change.kept_with.synced_at):
                state.apply(change)
            elif survives(change):
                state.apply(change, tear)
        return state


class State:
    """Folders and files as a disk holds them."""

    def __init__(self, top: Thing) -> None:
        self._top = top
        self._folders: dict[Thing, dict[str, Thing]] = {}
        self._contents: dict[Thing, bytearray] = {}
        self._modes: dict[Thing, int] = {}

    def apply(self, change: Change, tear: random.Random | None = None) -> None:
        """Does a change, or some sectors of it."""
        for folder, name, thing in change.names:
            names = self._folders.setdefault(folder, {})
            if thing is None:
                names.pop(name, None)
            else:
                names[name] = thing
        if change.mode is not None:
            self._modes[change.kept_with] = change.mode
        if change.names or change.mode is not None:
            return
        content = self._contents.setdefault(change.kept_with, bytearray())
        if change.data is None:
            _resize(content, change.offset)
        else:
            for start, piece in _sectors(change.offset, change.data):
                if tear is None or tear.random() < 0.5:
                    _resize(content, max(len(content), start + len(piece)))
                    content[start : start + len(piece)] = piece

    def files(self) -> Iterator[tuple[str, Thing]]:
        """All paths that are there, folders before what they hold."""
        waiting, seen = [("", self._top)], {self._top}
        while waiting:
            path, folder = waiting.pop()
            for name, thing in self._folders.get(folder, {}).items():
                yield path + name, thing
                if thing.is_folder and thing not in seen:
                    seen.add(thing)
                    waiting.append((f"{path}{name}/", thing))

    def picture(self) -> Picture:
        """All that is there, by path."""
        return {
            path: self._look(thing)
            for path, thing in self.files()
            if not path.endswith(_SHARED_MEMORY)
        }

    def _look(self, thing: Thing) -> str | tuple[int, bytes] | None:
        if thing.is_folder or thing.link_to is not None:
            return thing.link_to
        return self._modes.get(thing, _SOME_MODE), bytes(self._contents.get(thing, b""))

    def write(self, folder: Path) -> None:
        """Makes it so in an empty folder."""
        for path, look in self.picture().items():
            if look is None:
                (folder / path).mkdir(mode=0o700)
            elif isinstance(look, str):
                (folder / path).symlink_to(look)
            else:
                (folder / path).write_bytes(look[1])
                (folder / path).chmod(look[0])


def picture_of(folder: Path) -> Picture:
    """What a real folder holds, as `State.picture` has it."""
    found: Picture = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = None
        elif not name.endswith(_SHARED_MEMORY):
            found[name] = (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
    return found


# What survives

#: Ways in which a disk may treat what was not synced.
MERCIES = ("nothing", "all", "names", "contents", "ordered names", "anything")


def state_after(disk: Disk, cut: int, mercy: str, number: int = 0) -> State:
    """What the disk holds after a cut, if it treats what was not synced in that way."""
    chance = random.Random(f"{cut} {mercy} {number}")
    if mercy == "anything":
        return disk.at(cut, lambda change: chance.random() < 0.5, chance)
    if mercy == "ordered names":  # as a file system with a journal of names does it
        until = chance.randint(0, cut)
        return disk.at(cut, lambda change: change.at < until or not change.names, chance)
    chosen: dict[str, Callable[[Change], bool]] = {
        "nothing": lambda change: False,
        "all": lambda change: True,
        "names": lambda change: bool(change.names),
        "contents": lambda change: not change.names,
    }
    return disk.at(cut, chosen[mercy], None)


def _resize(content: bytearray, size_bytes: int) -> None:
    if size_bytes <= len(content):
        del content[size_bytes:]
    else:
        content.extend(bytes(size_bytes - len(content)))


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Pieces of a write that a disk does not tear, each with where it goes."""
    end = offset + len(data)
    start = offset
    while start < end:
        stop = min((start // _SECTOR_BYTES + 1) * _SECTOR_BYTES, end)
        yield start, data[start - offset : stop - offset]
        start = stop
