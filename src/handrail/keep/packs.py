"""A whole repository as one file, to carry it from one home to another.

**The format, version 1.** A tar archive (POSIX.1-2001, "pax"), written and read as a stream:

    handrail-pack.json    {"format": 1, "repository": "songs", "branches": {name: commit},
                           "tags": {name: commit}, "object_count": 12, "size_bytes": 3456}
    objects/ab/cdef…      the content of each object that a branch or tag needs, itself or
                          through those before it: commits, then folders, then files; each
                          kind sorted by digest, each object once, named by its SHA-256
    end.json              {"object_count": 12, "size_bytes": 3456}

No member has a time, an owner or a mode of its own, so equal repositories make equal packs.
A file without its end is refused.

**Reading.** Each content is hashed while it is read and refused if it is not what its name
says. Objects are stored first, which nobody sees; then everything that the heads need is looked
for; then the heads are moved, each by comparison. If that is interrupted, reading the pack
again finishes it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO

from handrail.contracts.workspace import BranchName
from handrail.errors import (
    StoreCorruptError,
    StoreError,
    StoreVersionError,
    TaskDefinitionError,
    UnknownRefError,
)
from handrail.keep.base import Heads, ObjectStore
from handrail.keep.closure import closure_of
from handrail.keep.faults import storage_faults
from handrail.keep.history import ancestors
from handrail.keep.objects import PIECE_BYTES
from handrail.keep.repository import TAG, Repository
from handrail.keep.trees import Trees

#: Version of the format that this release writes.
FORMAT = 1

_FIRST, _LAST = "handrail-pack.json", "end.json"
_OBJECT = re.compile(r"objects/([0-9a-f]{2})/([0-9a-f]{62})")
_MOST_MANIFEST_BYTES = 64 << 20

Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a pack holds."""

    repository: str
    branches: Mapping[str, str]
    tags: Mapping[str, str]
    object_count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Imported:
    """What reading a pack did to a repository."""

    manifest: Manifest
    #: Name of the repository that it became.
    repository: str
    #: Branches and tags that were made, and branches that were moved forward.
    created: tuple[str, ...] = ()
    forwarded: tuple[str, ...] = ()
    #: Those that were there already, at the same commit or at one that follows it.
    kept: tuple[str, ...] = ()
    #: Objects that were not there before.
    stored_count: int = 0


# Writing


def write_pack(
    repository: Repository,
    trees: Trees,
    file: IO[bytes],
    *,
    begun: Told = lambda size_bytes: None,
    told: Told = lambda size_bytes: None,
) -> Manifest:
    """Writes a repository with its branches, tags, history and all their objects.

    Args:
        begun: called once with the number of bytes to come.
        told: called with the length of each object that was written.

    Raises:
        UnknownRefError: there is no such repository, or an object is missing.
        StoreCorruptError: an object is damaged; the file is not to be used.
    """
    branches, tags = repository.branches(), repository.tags()
    if not branches and not tags:
        repository.head()
    objects = trees.objects
    closure = closure_of(trees, [*branches.values(), *tags.values()])
    sizes = {digest: len(objects.read_bytes(digest)) for digest in sorted(closure.commits)}
    sizes.update((digest, len(objects.read_bytes(digest))) for digest in sorted(closure.trees))
    for digest in sorted(closure.contents):
        sizes.setdefault(digest, closure.contents[digest])
    manifest = Manifest(repository.name, branches, tags, len(sizes), sum(sizes.values()))
    begun(manifest.size_bytes)
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _add_json(tar, _FIRST, {"format": FORMAT, **_manifest_data(manifest)})
        for digest, size_bytes in sizes.items():
            with objects.open(digest) as content:
                _add_object(tar, digest, size_bytes, content)
            told(size_bytes)
        _add_json(tar, _LAST, _sums(manifest.object_count, manifest.size_bytes))
    return manifest


def _add_object(tar: tarfile.TarFile, digest: str, size_bytes: int, content: BinaryIO) -> None:
    hashed = _Hashed(content)
    try:
        _add(tar, f"objects/{digest[:2]}/{digest[2:]}", size_bytes, hashed)
    except (OSError, tarfile.TarError) as error:
        if hashed.is_over and hashed.read_bytes != size_bytes:
            raise _damaged(digest) from error
        raise
    if hashed.hexdigest() != digest or content.read(1):
        raise _damaged(digest)


def _add_json(tar: tarfile.TarFile, name: str, value: Mapping[str, Any]) -> None:
    content = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    _add(tar, name, len(content), io.BytesIO(content))


def _add(tar: tarfile.TarFile, name: str, size_bytes: int, content: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    tar.addfile(member, content)
    _forget(tar)


# Reading


def read_pack(
    file: IO[bytes],
    place: str,
    trees: Trees,
    heads: Heads,
    *,
    name: str | None = None,
    scratch: Path | None = None,
    begun: Told = lambda size_bytes: None,
    told: Told = lambda size_bytes: None,
) -> Imported:
    """Takes a repository in: all that its pack holds, or nothing that anybody could see.

    A branch that is there already is moved forward if the pack's commit follows its own, and
    stays if its own follows the pack's.

    Args:
        place: how messages call the file.
        name: for the repository; the pack's own by default.
        scratch: folder for long contents on their way; the system's by default.
        begun: called once with the number of bytes to come.
        told: called with the length of each object that was read.

    Raises:
        StoreVersionError: a newer Handrail wrote it.
        StoreCorruptError: it is no pack, is cut off, or holds something else than it says.
        StoreError: a branch is elsewhere, and neither commit follows the other; or a tag is.
    """
    with _pack_faults(place), tarfile.open(fileobj=file, mode="r|") as tar:
        manifest = _read_first(tar, place)
        begun(manifest.size_bytes)
        taken = _Taken(trees.objects, scratch)
        _read_objects(tar, manifest, taken, place, told)
        trees.objects.flush()
        _check_whole(trees, manifest, taken.sizes, place)
    return _move_heads(trees, heads, manifest, name or manifest.repository, taken.stored_count)


@dataclass(slots=True)
class _Taken:
    """Stores what comes, and remembers it."""

    objects: ObjectStore
    scratch: Path | None
    sizes: dict[str, int] = field(default_factory=dict)
    stored_count: int = 0

    def take(self, digest: str, size_bytes: int, content: IO[bytes]) -> None:
        if digest in self.objects:
            _hash(content, digest)
        elif size_bytes <= PIECE_BYTES:
            read = content.read()
            if hashlib.sha256(read).hexdigest() != digest:
                raise _damaged(digest)
            self.objects.put_bytes(read)
            self.stored_count += 1
        else:
            self._take_long(digest, content)
            self.stored_count += 1
        self.sizes[digest] = size_bytes

    def _take_long(self, digest: str, content: IO[bytes]) -> None:
        folder = self.scratch or Path(tempfile.gettempdir())
        with (
            storage_faults(folder),
            tempfile.NamedTemporaryFile(dir=folder, prefix="import-") as file,
        ):
            _hash(content, digest, file)
            file.flush()
            self.objects.put_file(Path(file.name))


def _read_first(tar: tarfile.TarFile, place: str) -> Manifest:
    member = tar.next()
    if member is None or member.name != _FIRST:
        raise _no_pack(place)
    found = _read_json(tar, member, place)
    version = found.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise StoreVersionError(place, version, FORMAT)
    try:
        manifest = Manifest(
            str(found["repository"]),
            {str(name): str(ref) for name, ref in found["branches"].items()},
            {str(name): str(ref) for name, ref in found["tags"].items()},
            int(found["object_count"]),
            int(found["size_bytes"]),
        )
        for label in (*manifest.branches, *manifest.tags):
            BranchName.parse(f"{manifest.repository}@{label}")
    except (KeyError, TypeError, ValueError, AttributeError, TaskDefinitionError) as error:
        raise _no_pack(place) from error
    return manifest


def _read_objects(
    tar: tarfile.TarFile, manifest: Manifest, taken: _Taken, place: str, told: Told
) -> None:
    while (member := tar.next()) is not None:
        _forget(tar)
        if member.name == _LAST:
            ended = _read_json(tar, member, place)
            sums = _sums(len(taken.sizes), sum(taken.sizes.values()))
            if ended == sums == _sums(manifest.object_count, manifest.size_bytes):
                return
            raise _cut_off(place)
        named = _OBJECT.fullmatch(member.name)
        content = tar.extractfile(member) if named and member.isreg() else None
        if named is None or content is None:
            raise StoreCorruptError(f"{place} holds {member.name!r}, which no pack has.")
        taken.take(named[1] + named[2], member.size, content)
        told(member.size)
    raise _cut_off(place)


def _check_whole(trees: Trees, manifest: Manifest, sizes: Mapping[str, int], place: str) -> None:
    """Is everything that the heads need in the pack, and as long as its folder says?"""
    try:
        closure = closure_of(trees, [*manifest.branches.values(), *manifest.tags.values()])
    except UnknownRefError as error:
        raise StoreCorruptError(f"{place} lacks what it needs: {error}") from error
    lacking = [digest for digest in (*closure.commits, *closure.trees) if digest not in sizes]
    lacking += [digest for digest, size in closure.contents.items() if sizes.get(digest) != size]
    if lacking:
        raise StoreCorruptError(
            f"{place} lacks {len(lacking)} objects that its commits need, or they have another "
            f"length: {lacking[0]}. Export it again."
        )


def _move_heads(
    trees: Trees, heads: Heads, manifest: Manifest, repository: str, stored_count: int
) -> Imported:
    wanted = {BranchName.parse(f"{repository}@{k}"): ref for k, ref in manifest.branches.items()}
    wanted.update((BranchName(repository, TAG + k), ref) for k, ref in manifest.tags.items())
    moves = {name: _decide(trees, heads, name, ref) for name, ref in wanted.items()}
    for name, move in moves.items():
        if move != "keep" and not heads.move_head(name, heads.head(name), wanted[name]):
            raise StoreError(f"{_label(name)} moved meanwhile. Import the same file again.")

    def those(kind: str) -> tuple[str, ...]:
        return tuple(_label(name) for name, move in moves.items() if move == kind)

    return Imported(
        manifest, repository, those("create"), those("forward"), those("keep"), stored_count
    )


def _decide(trees: Trees, heads: Heads, name: BranchName, ref: str) -> str:
    """What becomes of a head that a pack has at `ref`: "create", "forward" or "keep"."""
    found = heads.head(name)
    if found is None:
        label = name.branch
        other = label.removeprefix(TAG) if label.startswith(TAG) else TAG + label
        if heads.head(BranchName(name.repository, other)) is not None:
            raise StoreError(
                f"{_label(name)} is a branch in one place and a tag in the other. Nothing was "
                f"changed. Import it under another name: --as NAME"
            )
        return "create"
    if found == ref:
        return "keep"
    if not name.branch.startswith(TAG):
        if found in ancestors(trees, ref):
            return "forward"
        if ref in ancestors(trees, found):
            return "keep"
    raise StoreError(
        f"{_label(name)} is at {found[:12]} here and at {ref[:12]} in the file, and neither "
        f"follows the other. Nothing was changed. Import it under another name: --as NAME"
    )


def _label(name: BranchName) -> str:
    return f"{name.repository}@{name.branch.removeprefix(TAG)}"


def _read_json(tar: tarfile.TarFile, member: tarfile.TarInfo, place: str) -> dict[str, Any]:
    content = tar.extractfile(member) if member.size <= _MOST_MANIFEST_BYTES else None
    try:
        found = json.loads(content.read()) if content is not None else None
    except ValueError as error:
        raise _no_pack(place) from error
    if not isinstance(found, dict):
        raise _no_pack(place)
    return found


@contextmanager
def _pack_faults(place: str) -> Iterator[None]:
    try:
        with storage_faults(place):
            yield
    except tarfile.ReadError as error:
        raise (_cut_off(place) if "end of" in str(error) else _no_pack(place)) from error
    except (tarfile.TarError, EOFError) as error:
        raise _cut_off(place) from error


# Both ways


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.read_bytes = 0
        self.is_over = False

    def read(self, size_bytes: int = -1) -> bytes:
        piece = self._file.read(size_bytes)
        self._hash.update(piece)
        self.read_bytes += len(piece)
        self.is_over = len(piece) < size_bytes
        return piece

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _hash(content: IO[bytes], digest: str, target: Any = None) -> None:
    """Reads a content, and writes it to `target`, if that is given.

    Raises:
        StoreCorruptError: it is not what `digest` says.
    """
    hashing = hashlib.sha256()
    while piece := content.read(PIECE_BYTES):
        hashing.update(piece)
        if target is not None:
            target.write(piece)
    if hashing.hexdigest() != digest:
        raise _damaged(digest)


def _forget(tar: Any) -> None:
    """Lets go of the members so far, which `tarfile` keeps a list of."""
    tar.members.clear()


def _manifest_data(manifest: Manifest) -> dict[str, Any]:
    return {
        "repository": manifest.repository,
        "branches": dict(manifest.branches),
        "tags": dict(manifest.tags),
        **_sums(manifest.object_count, manifest.size_bytes),
    }


def _sums(object_count: int, size_bytes: int) -> dict[str, int]:
    return {"object_count": object_count, "size_bytes": size_bytes}


def _damaged(digest: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"Object {digest} does not have the content that its name says. "
        f"See what hangs on it: handrail workspace fsck"
    )


def _no_pack(place: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"{place} is no exported repository. Make one with: handrail workspace export REPO FILE"
    )


def _cut_off(place: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"{place} is cut off or damaged; nothing was imported. Copy or export it again."
    )
