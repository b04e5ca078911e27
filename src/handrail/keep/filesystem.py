"""Files of repositories for what reads through fsspec: `handrail://REPOSITORY@REF/PATH`.

```python
pandas.read_parquet("handrail://songs@main/raw/a.parquet")
pandas.read_csv("handrail://songs@v1/a.csv", storage_options={"home": "data/.handrail"})
```

REF is a branch, a tag or a commit, with slashes written `%2F`. A branch is looked up each time
that something is opened or listed; whoever reads several files that belong together names a
commit, as `Ref.url` does. Reading only: tasks publish files.

The protocol is fsspec's: https://filesystem-spec.readthedocs.io/en/latest/api.html
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO, NoReturn

from handrail import plug
from handrail.errors import (
    NotInstalledError,
    RuntimeConfigError,
    StoreReadOnlyError,
    UnknownRefError,
)

try:
    from fsspec.spec import AbstractFileSystem
except ImportError as exc:
    raise NotInstalledError("Reading through handrail://", "fsspec") from exc

from handrail.keep.base import TreeEntry
from handrail.keep.place import SCHEME, FilePlace
from handrail.keep.ref import Ref, ref_in_url
from handrail.keep.repository import Repository

_KINDS = {"file": "file", "tree": "directory", "link": "link"}


class HandrailFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Repositories as folders that can only be read.

    At the top are the branches and tags of all repositories, `songs@main`.

    Args:
        home: a home folder or another place, as for `Repository.open`; that of the settings
            by default, as they are at each call.
    """

    protocol = SCHEME
    root_marker = ""

    def __init__(self, home: str | os.PathLike[str] | None = None, **options: Any) -> None:
        super().__init__(home=home, **options)
        self._home = home
        self._opened: dict[str, Repository] = {}

    # Finding

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        text = os.fspath(path)
        return text.removeprefix(f"{SCHEME}://").strip("/")

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Name, kind, length and SHA-256 of what is at `path`. Links are followed.

        Raises:
            FileNotFoundError: there is nothing.
        """
        path = self._strip_protocol(path)
        with _told_as_missing(path):
            if not path:
                return _folder("")
            place = FilePlace.parse(path)
            ref = self._ref(place)
            _, entry = ref.find(place.path)
            return self._described(path, entry, ref)

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """What a folder holds.

        Raises:
            FileNotFoundError: there is nothing at `path`.
        """
        path = self._strip_protocol(path)
        with _told_as_missing(path):
            found = list(self._listed(path))
        return found if detail else [each["name"] for each in found]

    def _listed(self, path: str) -> Iterator[dict[str, Any]]:
        place = FilePlace.parse(path)
        if not place.ref:
            for name in self._names(place.repository):
                yield _folder(name)
            return
        ref = self._ref(place)
        _, entry = ref.find(place.path)
        if entry.kind != "tree":
            yield self._described(path, entry, ref)
            return
        for below in ref.trees.entries(entry.digest):
            name = f"{path}/{below.name}"
            if below.kind == "link":
                yield self._link(name, f"{place.path}/{below.name}", below, ref)
            else:
                yield self._described(name, below, ref)

    def _link(self, name: str, path: str, link: TreeEntry, ref: Ref) -> dict[str, Any]:
        """What a link leads to; the link itself where that is nothing."""
        try:
            _, link = ref.find(path)
        except UnknownRefError:
            return self._described(name, link, ref)
        return {**self._described(name, link, ref), "islink": True}

    def _described(self, path: str, entry: TreeEntry, ref: Ref) -> dict[str, Any]:
        if entry.kind == "tree":
            return _folder(path)
        return {
            "name": path,
            "type": _KINDS[entry.kind],
            "size": entry.size_bytes,
            "mode": entry.mode,
            "sha256": entry.digest,
            "commit": ref.commit_id,
        }

    def _names(self, repository: str) -> list[str]:
        names = [repository] if repository else plug.runtime().repositories(self._home)
        opened = [self._repository(name) for name in names]
        return [f"{each.name}@{ref_in_url(ref)}" for each in opened for ref in each]

    def _ref(self, place: FilePlace) -> Ref:
        if not place.ref:
            raise UnknownRefError(f"Which commit of '{place.repository}'? Write it behind '@'.")
        return self._repository(place.repository).at(place.ref)

    def _repository(self, name: str) -> Repository:
        if self._home is None:
            return Repository.open(name=name)
        if name not in self._opened:
            self._opened[name] = Repository.open(self._home, name)
        return self._opened[name]

    # Reading

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Any = None,
        **options: Any,
    ) -> BinaryIO:
        if mode != "rb":
            self._refuse(path)
        path = self._strip_protocol(path)
        with _told_as_missing(path):
            place = FilePlace.parse(path)
            return _closing(self._ref(place).open(place.path))

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> bytes:
        """The bytes of a file, or those from `start` to `end`; nothing else of it is read."""
        with self._open(path) as file:
            length = file.seek(0, os.SEEK_END)
            first, last = _place(start, 0, length), _place(end, length, length)
            file.seek(first)
            return file.read(max(last - first, 0))

    def ukey(self, path: str) -> str:
        """The SHA-256 of a file: the same for the same content."""
        return str(self.info(path).get("sha256", ""))

    def checksum(self, path: str) -> int:
        """A number that is the same for the same content."""
        return int(self.ukey(path) or "0", 16)

    def modified(self, path: str) -> datetime:
        """When the commit was made that the path names."""
        ref = self._ref(FilePlace.parse(self._strip_protocol(path)))
        return datetime.fromtimestamp(ref.commit.at / 1000, tz=UTC)

    created = modified

    # Refusing

    def _refuse(self, path: Any, *_: Any, **__: Any) -> NoReturn:
        error = StoreReadOnlyError(
            f"{SCHEME}://{self._strip_protocol(path)} can only be read: a commit never changes. "
            f"Write files in a task with a workspace, or with: handrail workspace commit"
        )
        raise error

    mkdir = makedirs = rmdir = rm = rm_file = _rm = touch = pipe_file = put_file = _refuse

    def cp_file(self, path1: str, path2: str, **options: Any) -> NoReturn:
        """Refused: a commit never changes."""
        self._refuse(path2)

    mv = cp_file


class _Reader(io.BufferedReader):
    """A file that is closed when nobody holds it any more, as those who use fsspec expect."""

    def __del__(self) -> None:
        self.close()


def _closing(file: BinaryIO) -> BinaryIO:
    if not isinstance(file, io.BufferedReader):
        return file
    raw = file.detach()
    raw.seek(0)  # reading ahead may have left it elsewhere
    return _Reader(raw)


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "type": "directory", "size": 0}


def _place(said: int | None, default: int, length: int) -> int:
    if said is None:
        return default
    return max(length + said, 0) if said < 0 else min(said, length)


@contextmanager
def _told_as_missing(path: str) -> Iterator[None]:
    """What reads through fsspec expects FileNotFoundError."""
    try:
        yield
    except UnknownRefError as error:
        raise FileNotFoundError(str(error)) from error
    except RuntimeConfigError as error:
        if isinstance(error, NotInstalledError):
            raise
        raise FileNotFoundError(f"{path}: {error}") from error
