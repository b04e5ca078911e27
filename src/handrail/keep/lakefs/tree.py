"""Objects of LakeFS as files, links and folders, and back.

LakeFS keeps objects only; what else a workspace holds is told by an object's metadata:

| in the workspace | object |
|---|---|
| file | its content; `handrail-mode`: permission bits in octal (none: 644) |
| symbolic link | its target as content; `handrail-link`: the target, percent-encoded |
| empty folder | no content, and a path that ends in `/`, as S3 consoles make them |
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote, unquote

from handrail.errors import StoreCorruptError, StoreError, UnsupportedFileError
from handrail.keep.base import ObjectInfo, TreeEntry
from handrail.keep.faults import storage_faults
from handrail.keep.lakefs.http import PIECE_BYTES
from handrail.keep.lakefs.server import LakeFSServer, StoredObject
from handrail.keep.memory import MemoryObjects
from handrail.keep.trees import Trees

MODE = "handrail-mode"
LINK = "handrail-link"
#: Longest path of an object, in bytes (pkg/catalog/validate.go).
MAX_PATH_BYTES = 1024

_DEFAULT_MODE = 0o644
_NAME_BYTES = 255
_SHOWN = 5


class _Hash(Protocol):
    def update(self, piece: bytes, /) -> object: ...
    def hexdigest(self) -> str: ...


def folder_of(prefix: str) -> str:
    """What the paths of objects in a folder of the repository start with."""
    inner = prefix.strip("/")
    return f"{inner}/" if inner else ""


def entry_of(stored: StoredObject) -> TreeEntry:
    """What an object is in a workspace; of a file the digest tells contents apart, no more."""
    name = stored.path.rstrip("/").rpartition("/")[2]
    if stored.path.endswith("/"):
        return TreeEntry(name, "tree", 0, _identity(stored), 0)
    if LINK in stored.metadata:
        target = target_of(stored).encode()
        return TreeEntry(name, "link", 0, hashlib.sha256(target).hexdigest(), len(target))
    return TreeEntry(name, "file", _mode(stored), _identity(stored), stored.size_bytes)


def target_of(stored: StoredObject) -> str:
    """Where a link leads."""
    return unquote(stored.metadata[LINK])


def metadata_of(entry: TreeEntry, target: str, before: StoredObject | None) -> dict[str, str]:
    """The metadata to store for a file or link, with what others had given the object before."""
    kept = dict(before.metadata) if before else {}
    kept.pop(MODE, None)
    kept.pop(LINK, None)
    if entry.kind == "link":
        return {**kept, LINK: quote(target)}
    return {**kept, MODE: f"{entry.mode:o}"}


@dataclass
class Listing:
    """What a folder of a commit holds, by paths relative to it.

    Raises:
        UnsupportedFileError: it holds names that no folder can have; they are named.
    """

    #: Files and links.
    files: dict[str, StoredObject] = field(default_factory=dict)
    #: Objects that stand for folders, by path without the last "/".
    markers: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, objects: Iterable[StoredObject], folder: str) -> Listing:
        """Sorts out the objects below `folder`, which is "" or ends in "/"."""
        listing = cls()
        bad = []
        for stored in objects:
            path = stored.path[len(folder) :]
            if not path:
                continue  # it stands for the folder itself
            is_marker = path.endswith("/")
            names = path[:-1].split("/") if is_marker else path.split("/")
            if any(_is_bad(name) for name in names):
                bad.append(stored.path)
            elif is_marker:
                listing.markers.add(path[:-1])
            else:
                listing.files[path] = stored
        listing._check(bad, folder)
        return listing

    def _check(self, bad: list[str], folder: str) -> None:
        above = {parent for path in (*self.files, *self.markers) for parent in _parents(path)}
        bad += [folder + path for path in sorted(self.files.keys() & (above | self.markers))]
        if not bad:
            return
        shown = ", ".join(repr(path) for path in bad[:_SHOWN])
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise UnsupportedFileError(
            f"Objects that cannot be files in a folder: {shown}{more}. Rename or delete them, or "
            f"let the task see another folder: WorkspaceSpec(prefix=...)."
        )

    def put(self, trees: Trees) -> str:
        """Stores all this as a folder with its sub-folders; returns its digest."""
        top: dict[str, object] = {}
        for path in self.markers:
            _inside(top, path.split("/"))
        for path, stored in self.files.items():
            *folders, name = path.split("/")
            _inside(top, folders)[name] = stored
        return self._put(trees, top)

    def _put(self, trees: Trees, folder: dict[str, object]) -> str:
        entries = []
        for name, inner in folder.items():
            if isinstance(inner, dict):
                entries.append(trees.folder_entry(name, self._put(trees, inner)))
            elif isinstance(inner, StoredObject):
                entry = entry_of(inner)
                if entry.kind == "link":
                    trees.objects.put_bytes(target_of(inner).encode())
                entries.append(entry)
        return trees.put_tree(entries)


class ArrivedObjects(MemoryObjects):
    """Contents of one checkout: folders and links in memory, files that have been downloaded.

    A file's content bears the identity that LakeFS gives it until it is read again; `sha256` of
    what arrived tells the two apart.
    """

    def __init__(self, incoming: Path) -> None:
        super().__init__()
        self._incoming = incoming
        self._lock = threading.Lock()
        self._wanted: Counter[str] = Counter()
        #: By identity, of each file that arrived.
        self.sha256: dict[str, str] = {}

    def wanted(self, listing: Listing) -> Iterator[StoredObject]:
        """One object of each content that the files need."""
        for stored in listing.files.values():
            if LINK in stored.metadata:
                continue
            identity = _identity(stored)
            self._wanted[identity] += 1
            if self._wanted[identity] == 1:
                yield stored

    def fetch(self, server: LakeFSServer, ref: str, stored: StoredObject) -> None:
        """Downloads one content and checks it.

        Raises:
            StoreCorruptError: it is not what was stored.
        """
        identity = _identity(stored)
        with (self._incoming / identity).open("xb") as file:
            sha256 = fetch(server, ref, stored, file)
        with self._lock:
            self.sha256[identity] = sha256

    def copy_to(self, digest: str, path: Path, mode: int) -> None:
        if digest not in self.sha256:
            super().copy_to(digest, path, mode)
            return
        arrived = self._incoming / digest
        if self._wanted[digest] > 1 or not _moved(arrived, path):
            with arrived.open("rb") as source, path.open("xb") as file:
                shutil.copyfileobj(source, file, PIECE_BYTES)
        path.chmod(mode)

    def put_file(self, path: Path) -> ObjectInfo:
        """Only looks what the file holds: it is stored when it is uploaded."""
        with path.open("rb") as file:
            sha256 = hashlib.sha256()
            size_bytes = 0
            while piece := file.read(PIECE_BYTES):
                sha256.update(piece)
                size_bytes += len(piece)
        return ObjectInfo(sha256.hexdigest(), size_bytes)

    def is_same(self, one: TreeEntry, other: TreeEntry) -> bool:
        """Do two files or links hold the same?"""
        if one.kind != other.kind:
            return False
        return self.sha256.get(one.digest, one.digest) == self.sha256.get(
            other.digest, other.digest
        )


def fetch(server: LakeFSServer, ref: str, stored: StoredObject, file: BinaryIO) -> str:
    """Writes an object to `file`, checked by size and, if it has one, MD5; returns its SHA-256.

    Raises:
        StoreCorruptError: it is not what was stored.
    """
    hashes: list[_Hash] = []
    place = getattr(file, "name", None) or tempfile.gettempdir()

    def start() -> Callable[[bytes], object]:
        with storage_faults(place):
            file.seek(0)
            file.truncate()
        hashes[:] = [hashlib.md5(usedforsecurity=False), hashlib.sha256()]

        def take(piece: bytes) -> None:
            with storage_faults(place):
                file.write(piece)
            for one in hashes:
                one.update(piece)

        return take

    server.download(ref, stored.path, start)
    md5, sha256 = (one.hexdigest() for one in hashes)
    wrong = file.tell() != stored.size_bytes
    # Checksums of other lengths come from uploads in parts, and are no digest of the content.
    if wrong or (_is_md5(stored.checksum) and md5 != stored.checksum):
        raise StoreCorruptError(
            f"Object '{stored.path}' of {server.repository} is damaged: it has "
            f"{file.tell()} bytes with MD5 {md5}, and should have {stored.size_bytes} with "
            f"{stored.checksum or 'none'}. Upload it again, or start from an earlier commit."
        )
    return sha256


def send(
    server: LakeFSServer, branch: str, path: Path, entry: TreeEntry, stored: StoredObject
) -> None:
    """Uploads a file, and checks that the server received what the scan saw.

    Raises:
        StoreError: the file changed since.
    """
    hashes: list[_Hash] = []

    def content() -> Iterator[bytes]:
        hashes[:] = [hashlib.md5(usedforsecurity=False), hashlib.sha256()]
        left = entry.size_bytes
        with storage_faults(path), path.open("rb") as file:
            while left and (piece := file.read(min(PIECE_BYTES, left))):
                left -= len(piece)
                for one in hashes:
                    one.update(piece)
                yield piece
            if left or file.read(1):
                raise _changed(path)

    received = server.upload(branch, stored.path, content, entry.size_bytes, stored)
    md5, sha256 = (one.hexdigest() for one in hashes)
    if sha256 != entry.digest:
        raise _changed(path)
    if _is_md5(received.checksum) and received.checksum != md5:
        raise StoreCorruptError(f"'{stored.path}' was damaged on its way to LakeFS. Try again.")


def _changed(path: Path) -> StoreError:
    return StoreError(
        f"'{path}' changed while it was being read. Let everything that writes to the workspace "
        f"end before the task returns."
    )


def _moved(source: Path, target: Path) -> bool:
    """Moves a file where none is; false where links between names are not possible."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        return False
    source.unlink()
    return True


def _identity(stored: StoredObject) -> str:
    what = [stored.checksum or stored.path, stored.size_bytes]
    return hashlib.sha256(json.dumps(["lakefs", *what]).encode()).hexdigest()


def _mode(stored: StoredObject) -> int:
    try:
        return int(stored.metadata[MODE], 8) & 0o777
    except (KeyError, ValueError):
        return _DEFAULT_MODE


def _is_md5(checksum: str) -> bool:
    return len(checksum) == 32 and all(char in "0123456789abcdef" for char in checksum)


def _is_bad(name: str) -> bool:
    return name in ("", ".", "..") or "\0" in name or len(name.encode()) > _NAME_BYTES


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _inside(top: dict[str, object], names: list[str]) -> dict[str, object]:
    for name in names:
        inner = top.setdefault(name, {})
        assert isinstance(inner, dict)
        top = inner
    return top
