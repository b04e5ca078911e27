"""A stored folder written as files."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from handrail.errors import StoreError, UnsupportedFileError
from handrail.keep.base import TreeEntry
from handrail.keep.links import links_outside
from handrail.keep.scan import WORKERS, Look, StatIndex, check_depth, in_threads, shown
from handrail.keep.trees import Trees

#: What a file takes on a disk is a multiple of this.
BLOCK_BYTES = 4096

Entries = tuple[TreeEntry, ...]


@dataclass(frozen=True, slots=True)
class KnownFolder:
    """A stored folder with its content."""

    digest: str
    entries: Entries


@dataclass(slots=True)
class TreeWriter:
    """Writes folders, files and links below `root`, each file verified by its digest.

    Folders and links are written as they come, files when `finish` is called, many at a time.
    """

    trees: Trees
    root: Path
    workers: int = WORKERS
    #: Where files are remembered, if they are to be.
    index: StatIndex | None = None
    #: Folders that were written whole, by path: "" or one that ends in "/".
    folders: dict[str, KnownFolder] = field(default_factory=dict)
    #: Targets of links by path; written by `finish`, or by the caller who wants only some.
    links: dict[str, str] = field(default_factory=dict)
    file_count: int = 0
    size_bytes: int = 0
    _files: list[tuple[Path, str, TreeEntry]] = field(default_factory=list)
    _link_entries: dict[str, TreeEntry] = field(default_factory=dict)

    def folder(self, path: str, tree: str, depth: int) -> None:
        """Adds what a stored folder holds to the folder at `path`, which exists."""
        check_depth(path, depth)
        entries = self.trees.entries(tree)
        self.folders[path] = KnownFolder(tree, entries)
        place = self.root / path
        for entry in entries:
            self.add(path + entry.name, entry, depth, place)

    def add(self, path: str, entry: TreeEntry, depth: int, folder: Path | None = None) -> None:
        """Adds one entry, with all that it holds, at `path`, which lies in `folder`."""
        if entry.kind == "tree":
            self._make(path, os.mkdir)
            self.folder(path + "/", entry.digest, depth + 1)
        elif entry.kind == "link":
            self.links[path] = self.trees.objects.read_bytes(entry.digest).decode("utf-8")
            self._link_entries[path] = entry
        else:
            self._files.append((folder or (self.root / path).parent, path, entry))
            self.file_count += 1
            self.size_bytes += -(-entry.size_bytes // BLOCK_BYTES) * BLOCK_BYTES

    def finish(self, hidden: Iterable[str] = ()) -> None:
        """Writes the files, then the links but those that are `hidden`.

        Raises:
            UnknownRefError: one of the contents is not stored.
            StoreCorruptError: a content is not what its digest says.
            UnsupportedFileError: the disk takes two names of one folder for the same.
        """
        in_threads(self.workers, lambda item: self._write_file(*item), self._files)
        # After all files, so that none is written through a link.
        for path in self.links.keys() - set(hidden):
            self._make(path, partial(os.symlink, self.links[path]))
            if self.index is not None:
                look = Look.of(os.lstat(self.root / path))
                self.index.add(path, look, self._link_entries[path])

    def hidden(self) -> set[str]:
        """Links that lead out of what is written."""
        return links_outside(self.links)

    def entry_of_link(self, path: str) -> TreeEntry:
        """The entry that a link was added with."""
        return self._link_entries[path]

    def _write_file(self, folder: Path, path: str, entry: TreeEntry) -> None:
        place = folder / entry.name
        try:
            self.trees.objects.copy_to(entry.digest, place, entry.mode)
        except StoreError as error:
            raise self._named(path, error) from error.__cause__
        if self.index is not None:
            self.index.add(path, Look.of(os.lstat(place)), entry)

    def _make(self, path: str, make: Callable[[Path], object]) -> None:
        try:
            make(self.root / path)
        except FileExistsError as error:
            raise self._named(path, error) from error

    def _named(self, path: str, error: Exception) -> Exception:
        """An error that names both, if a name is there because it is the same to the disk."""
        twin = None
        if isinstance(error.__cause__ or error, FileExistsError):
            twin = _twin(self.root / path)
        if twin is None:
            return error
        folder, _, name = path.rpartition("/")
        return UnsupportedFileError(
            f"'{shown(name)}' and '{shown(twin)}' in {shown(folder) or 'the top folder'} are one "
            f"name to the file system of {self.root}, which does not tell capitals or accents "
            f"apart. Rename one of them, or put the home on another file system."
        )


def _twin(place: Path) -> str | None:
    """Another name beside `place` that differs in capitals or Unicode normal form alone."""
    folder, name = os.path.split(place)
    same = (other for other in os.listdir(folder) if _folded(other) == _folded(name))
    return next((other for other in same if other != name), None)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
