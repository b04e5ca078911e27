"""A commit of a repository, to read its files by path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from handrail.errors import StoreError, UnknownRefError
from handrail.keep.base import Change, Commit, TreeEntry
from handrail.keep.checkout import Checkout
from handrail.keep.history import history
from handrail.keep.trees import Trees
from handrail.keep.watched import WatchedObjects

#: Links that lead on to links; more are taken for a circle, as by Linux.
_MOST_LINKS = 40
#: Folders whose entries a ref remembers.
_MOST_FOLDERS = 128


@dataclass(frozen=True)
class Ref:
    """An immutable commit of a repository, or one folder of it; made by `Repository.at`.

    It is like a mapping from the paths of files to their contents:

        ref["raw/a.parquet"]            # the file, open for reading
        "raw/a.parquet" in ref          # is there such a file?
        for path in ref: ...            # paths of all files, folder by folder, in order
        len(ref)                        # how many they are

    Links are followed; one that leads out of the repository is refused.
    """

    #: Name of the repository.
    repository: str
    commit_id: str
    trees: Trees = field(repr=False, compare=False)
    #: The folder that is its top, without slashes around; empty: all of the repository.
    folder: str = ""
    #: What it was asked for by, for messages: a branch, a tag, a commit.
    said: str = field(default="", repr=False, compare=False)

    # What it is

    @cached_property
    def commit(self) -> Commit:
        """Who made it, when, of what."""
        return self.trees.commit(self.commit_id)

    @cached_property
    def tree(self) -> str:
        """Digest of its top folder. Equal trees hold equal files."""
        return self.trees.subtree(self.commit.tree, self.folder)

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit_id}"

    def url(self, path: str = "") -> str:
        """The address of a file for what reads through fsspec; it names the commit."""
        return f"handrail://{self}/{self._from_top(path)}"

    def below(self, folder: str) -> Ref:
        """The same commit, with one of its folders as the top.

        Raises:
            UnknownRefError: there is no such folder.
        """
        place, entry = self.find(folder)
        if entry.kind != "tree":
            raise UnknownRefError(f"'{folder}' is a {entry.kind} of {self._shown}, no folder.")
        return replace(self, folder=self._from_top(place))

    # Files

    def __getitem__(self, path: str) -> BinaryIO:
        return self.open(path)

    def __contains__(self, path: object) -> bool:
        try:
            return isinstance(path, str) and self.find(path)[1].kind == "file"
        except UnknownRefError:
            return False

    def __iter__(self) -> Iterator[str]:
        for path, entry in self.trees.walk(self.tree):
            if entry.kind == "file" or (entry.kind == "link" and path in self):
                yield path

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def open(self, path: str) -> BinaryIO:
        """The content of a file, open for reading anywhere in it.

        Raises:
            UnknownRefError: there is no file at `path`.
        """
        return self.trees.objects.open(self._file(path).digest)

    def read_bytes(self, path: str) -> bytes:
        """The whole content of a file."""
        return self.trees.objects.read_bytes(self._file(path).digest)

    def read_text(self, path: str, encoding: str = "utf-8") -> str:
        """The whole content of a file, as text."""
        return self.read_bytes(path).decode(encoding)

    def ls(self, path: str = "", *, recursive: bool = False) -> list[tuple[str, TreeEntry]]:
        """What a folder holds, with paths from the top, in order; of a file, the file itself.

        Args:
            recursive: list files, links and empty folders of all folders below, too.

        Raises:
            UnknownRefError: there is nothing at `path`.
        """
        place, entry = self.find(path, follow=False)
        if entry.kind != "tree":
            return [(place, entry)]
        prefix = f"{place}/" if place else ""
        if recursive:
            return list(self.trees.walk(entry.digest, prefix))
        return [(prefix + name, each) for name, each in self._entries(entry.digest).items()]

    def find(self, path: str, *, follow: bool = True) -> tuple[str, TreeEntry]:
        """What is at `path`, and its path when all links on the way are followed.

        Args:
            follow: follow a link at the very end, too; with a slash behind it, it always is.

        Raises:
            UnknownRefError: there is nothing, or a link leads out or round in a circle.
        """
        follow = follow or path.endswith("/")
        waiting = path.split("/")[::-1]
        names: list[str] = []
        folders = [TreeEntry("", "tree", 0, self.tree, 0)]
        link_count = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if not names:
                    raise UnknownRefError(f"'{path}' leads out of {self._shown}.")
                names.pop()
                folders.pop()
                continue
            entry = self._entries(folders[-1].digest).get(name)
            if entry is None or (entry.kind == "file" and any(waiting)):
                raise self._nothing_at(path)
            if entry.kind == "link" and (follow or any(waiting)):
                link_count += 1
                waiting += self._target(path, entry, link_count).split("/")[::-1]
                continue
            names.append(name)
            if entry.kind != "tree":
                return "/".join(names), entry
            folders.append(entry)
        return "/".join(names), folders[-1]

    # Commits

    def diff(self, other: Ref) -> Iterator[Change]:
        """Files, links and empty folders that are others in `other`, in order of path."""
        return self.trees.diff(self.tree, other.tree)

    def log(self, *, all_parents: bool = False) -> Iterator[tuple[str, Commit]]:
        """The commit and those before it, each with its id, newest first.

        Args:
            all_parents: those that were composed or merged, too; else first parents alone.
        """
        return history(self.trees, self.commit_id) if all_parents else self._first_parents()

    def checkout(
        self, folder: str | Path, path: str = "/", *, told: Callable[[int], None] | None = None
    ) -> None:
        """Writes the files, or those of the folder `path`, into `folder`, each one verified.

        Args:
            folder: must be empty or missing; becomes private to its user.
            told: is given the length of each file when it is written, by any thread.

        Raises:
            UnknownRefError: there is no folder at `path`.
            StoreCorruptError: a content is not what was stored.
            StoreError: `folder` holds something, or cannot be written.
        """
        trees = self.trees if told is None else Trees(WatchedObjects(self.trees.objects, told))
        Checkout.create(trees, self.below(path).tree, Path(folder))

    def _first_parents(self) -> Iterator[tuple[str, Commit]]:
        return self.trees.log(self.commit_id)

    # Finding

    @cached_property
    def _entries(self) -> Callable[[str], Mapping[str, TreeEntry]]:
        """The entries of a folder by name. Remembered: reading file by file asks often."""

        @lru_cache(maxsize=_MOST_FOLDERS)
        def entries(tree: str) -> Mapping[str, TreeEntry]:
            return {entry.name: entry for entry in self.trees.entries(tree)}

        return entries

    def _file(self, path: str) -> TreeEntry:
        _, entry = self.find(path)
        if entry.kind == "tree":
            raise UnknownRefError(f"'{path}' is a folder of {self._shown}, not a file.")
        return entry

    def _target(self, path: str, link: TreeEntry, link_count: int) -> str:
        if link_count > _MOST_LINKS:
            raise UnknownRefError(f"'{path}' leads through links in a circle in {self._shown}.")
        target = self.trees.objects.read_bytes(link.digest).decode("utf-8")
        if target.startswith("/"):
            raise UnknownRefError(f"'{path}' is a link to '{target}', out of {self._shown}.")
        return target

    def _nothing_at(self, path: str) -> StoreError:
        return UnknownRefError(
            f"Nothing at '{path}' in {self._shown}. "
            f"See what is there: handrail workspace ls {self._shown}"
        )

    def _from_top(self, path: str) -> str:
        return "/".join(part for part in (self.folder, *path.split("/")) if part)

    @property
    def _shown(self) -> str:
        return f"{self.repository}@{self.said or self.commit_id}"


def ref_in_url(ref: str) -> str:
    """A branch, tag or commit as the one segment that it is in a URL: slashes as `%2F`."""
    return quote(ref, safe=":~")
