"""A repository of versioned files: branches, tags, commits, and what they hold."""

from __future__ import annotations

import getpass
import os
import re
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from handrail import plug
from handrail.contracts.workspace import BranchName
from handrail.errors import PublishFenceError, StoreError, UnknownRefError
from handrail.keep.base import Change, Commit, Heads, TreeEntry
from handrail.keep.checkout import Checkout
from handrail.keep.collect import storing
from handrail.keep.history import ancestors
from handrail.keep.ref import Ref
from handrail.keep.trees import Trees
from handrail.keep.watched import WatchedObjects

#: First character of the branches that runs work on until they publish.
HIDDEN = "~"
#: What tags begin with among the heads. No branch can: a colon is not in their alphabet.
TAG = "tag:"
#: Fewest digits of a commit id that stand for it.
PREFIX_LENGTH = 6

_PREFIX = re.compile(rf"[0-9a-f]{{{PREFIX_LENGTH},63}}")
_COMMIT_ID = re.compile(r"[0-9a-f]{64}")
_SHOWN = 10


class Branch(BranchName):
    """A branch of an open repository; `workflow(..., workspace=branch)` works on it.

    It need not exist: a run makes it.
    """

    _opened: Repository

    @classmethod
    def of(cls, opened: Repository, branch: str) -> Branch:
        """The branch of that name.

        Raises:
            TaskDefinitionError: no branch can be called that.
        """
        made = cls(*BranchName.parse(f"{opened.name}@{branch}"))
        made._opened = opened
        return made

    @property
    def place(self) -> str | None:
        """Where its repository is kept; none if that is not known."""
        return self._opened.place

    def ref(self) -> Ref:
        """The commit that it names by now."""
        return self._opened.at(self.branch)

    def __reduce__(self) -> tuple[type[BranchName], tuple[str, ...]]:
        return BranchName, tuple(self)


class Repository:
    """Branches and tags of one name, and the files that their commits hold.

    A `ref` is a branch, a tag, a commit id, or the first digits of one; see `resolve`. Paths
    are relative to the top of the repository, which is `""` or `"/"`.

    Args:
        place: where it is kept, as messages name it.
        home: the folder that holds what is stored; collecting there waits for commits.
        close: lets go of what was opened for it alone.
    """

    def __init__(
        self,
        name: str,
        trees: Trees,
        heads: Heads,
        *,
        place: str | None = None,
        home: Path | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.place = place
        self._trees = trees
        self._heads = heads
        self._home = home
        self._close = weakref.finalize(self, close) if close is not None else None

    # Opening

    @classmethod
    def open(
        cls,
        place: str | os.PathLike[str] | None = None,
        name: str | None = None,
        *,
        create: bool = False,
    ) -> Repository:
        """Opens a repository: `Repository.open("data/.handrail", "songs")`.

        Args:
            place: a home, or the folder that has its `.handrail`; the URL of a database; or
                `handrail://songs`. By default the home of the settings. `#songs` behind it
                says the name as well.
            name: may be left out where there is only one.
            create: makes the home and the repository, with an empty branch `main`, if missing.

        Raises:
            UnknownRefError: there is no such repository, or there are several and no name.
            StoreError: there is no home, or it cannot be used.
        """
        opened = plug.runtime().open_repository(place, name, create=create)
        assert isinstance(opened, cls)
        return opened

    def close(self) -> None:
        """Lets go of what was opened for it; its refs can still be read on a local disk."""
        if self._close is not None:
            self._close()

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Repository({self.name!r}{f', in {self.place}' if self.place else ''})"

    # Branches

    def branch(self, name: str = "main") -> Branch:
        """A branch, to be handed to a workflow: `workflow("songs", workspace=...)`."""
        return Branch.of(self, name)

    def create(self, branch: str = "main") -> str:
        """The head of `branch`, which is made, with an empty first commit, if there is none."""
        name = BranchName(self.name, branch)
        while True:
            head = self._heads.head(name)
            if head is not None:
                return head
            self._check_free(branch)
            # At time 0, so that all who create at once make the same commit.
            empty = Commit(self._trees.empty_tree, (), f"{name}: created", 0)
            first = self._trees.put_commit(empty)
            self._trees.objects.flush()
            if self._heads.move_head(name, None, first):
                return first

    def create_branch(self, branch: str, at: str = "main") -> Ref:
        """A branch that begins at a commit.

        Raises:
            UnknownRefError: there is no such commit.
            StoreError: there is such a branch, or a tag of that name.
        """
        name, found = self.branch(branch), self.at(at)
        self._check_free(branch)
        if not self._heads.move_head(BranchName(*name), None, found.commit_id):
            raise StoreError(f"There is a branch {name} already. Choose another name.")
        return self.at(branch)

    def delete_branch(self, branch: str) -> str:
        """Removes a branch and returns the commit that it named, which is kept by no branch.

        Raises:
            UnknownRefError: there is no such branch.
            StoreError: it moved at that moment.
        """
        head = self.head(branch)
        if not self._heads.move_head(BranchName(self.name, branch), head, None):
            raise StoreError(f"Branch {self.name}@{branch} moved meanwhile. Look at it again.")
        return head

    def branches(self) -> dict[str, str]:
        """Commits by branch, sorted by name; the branches of runs at work are left out."""
        found = self._heads.heads(self.name).items()
        return {name.branch: head for name, head in sorted(found) if is_branch(name)}

    def head(self, branch: str = "main") -> str:
        """The commit that a branch names.

        Raises:
            UnknownRefError: there is no such branch.
        """
        head = self._heads.head(BranchName(self.name, branch))
        if head is None:
            raise UnknownRefError(f"No branch '{branch}' in {self._described()}")
        return head

    # Tags

    def tags(self) -> dict[str, str]:
        """Commits by tag, sorted by name."""
        found = sorted(self._heads.heads(self.name).items())
        return {
            name.branch.removeprefix(TAG): head
            for name, head in found
            if name.branch.startswith(TAG)
        }

    def tag(self, name: str, at: str = "main") -> Ref:
        """Names a commit for ever. Doing so again changes nothing.

        Raises:
            UnknownRefError: there is no such commit.
            StoreError: another commit has that tag, or a branch has that name.
        """
        found = self.at(at)
        label = self.branch(name).branch
        head = BranchName(self.name, TAG + label)
        if label in self.branches():
            raise StoreError(f"There is a branch {self.name}@{label}. Choose another name.")
        if not self._heads.move_head(head, None, found.commit_id):
            named = self._heads.head(head)
            if named != found.commit_id:
                raise StoreError(
                    f"Tag '{label}' of {self.name} names {(named or 'nothing')[:12]}, and a tag "
                    f"never moves. Choose another name."
                )
        return self.at(label)

    def _check_free(self, branch: str) -> None:
        if self._heads.head(BranchName(self.name, TAG + branch)) is not None:
            raise StoreError(f"There is a tag '{branch}' of {self.name}. Choose another name.")

    # Refs

    def at(self, ref: str = "main") -> Ref:
        """The commit that `ref` means by now, to read its files.

        Raises:
            UnknownRefError: nothing is called that, or several commits are.
        """
        return Ref(self.name, self.resolve(ref), self._trees, said=ref)

    def __getitem__(self, ref: str) -> Ref:
        return self.at(ref)

    def __contains__(self, ref: object) -> bool:
        try:
            return isinstance(ref, str) and bool(self.resolve(ref))
        except UnknownRefError:
            return False

    def __iter__(self) -> Iterator[str]:
        """Names of branches, then of tags."""
        yield from self.branches()
        yield from self.tags()

    def resolve(self, ref: str) -> str:
        """The commit that `ref` means: a branch, a tag, a commit id, or its first digits.

        Args:
            ref: of a commit id at least 6 digits, which only one commit of any branch has.

        Raises:
            UnknownRefError: nothing is called that, or several commits are.
        """
        for label in (ref, TAG + ref):
            head = self._heads.head(BranchName(self.name, label))
            if head is not None:
                return head
        text = ref.lower()
        if _COMMIT_ID.fullmatch(text):
            self._trees.commit(text)
            return text
        found = sorted(self._starting_with(text)) if _PREFIX.fullmatch(text) else []
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(commit_id[:16] for commit_id in found[:_SHOWN])
            raise UnknownRefError(f"'{ref}' may be {several}. Give more digits.")
        raise UnknownRefError(f"No branch, tag or commit '{ref}' in {self._described()}")

    def _starting_with(self, prefix: str) -> set[str]:
        heads = self._heads.heads(self.name).values()
        return {found for found in ancestors(self._trees, *heads) if found.startswith(prefix)}

    def _described(self) -> str:
        names = list(self)
        if not names:
            return (
                f"repository '{self.name}', which has no branches. "
                f"Make it with: handrail workspace init {self.name}"
            )
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        kinds = "Branches and tags" if self.tags() else "Branches"
        return f"repository '{self.name}'. {kinds}: {', '.join(names[:_SHOWN])}{more}."

    # Commits and files

    def commit(
        self,
        folder: str | Path,
        message: str,
        *,
        branch: str = "main",
        base: str | None = None,
        path: str = "/",
        user: str | None = None,
        told: Callable[[int], None] | None = None,
    ) -> Ref:
        """Stores a folder as a commit that follows the head of a branch, and moves the branch.

        The commit holds what the folder holds and nothing else; below `path`, if that is said,
        and the rest stays as it is. A folder that holds the same already makes no commit.

        Args:
            base: the commit that the folder was made from. If the branch is elsewhere,
                nothing happens. By default the head at the moment of the call.
            path: the folder of the repository that is replaced.
            user: who commits; whoever runs this process by default.
            told: is given the length of each file when it is stored, by any thread.

        Raises:
            UnknownRefError: there is no such branch.
            PublishFenceError: the branch is not at `base`; the message says who moved it.
            UnsupportedFileError: the folder holds what a workspace cannot; it is named.
            StoreError: there is no such folder, or a file changed while it was read.
        """
        head = self.head(branch)
        before = head if base is None else self.resolve(base)
        if before != head:
            raise self._moved(branch, before)
        with storing(self._home) if self._home is not None else nullcontext():
            made = self._store(Path(folder), message, before, path, user or _user(), told)
            name = BranchName(self.name, branch)
            if made != before and not self._heads.move_head(name, before, made):
                raise self._moved(branch, before)
        return Ref(self.name, made, self._trees, said=branch)

    def _store(
        self,
        folder: Path,
        message: str,
        before: str,
        path: str,
        user: str,
        told: Callable[[int], None] | None,
    ) -> str:
        self._check_folder(folder)
        trees = self._trees
        watched = trees if told is None else Trees(WatchedObjects(trees.objects, told))
        files = Checkout(watched, trees.empty_tree, folder).stage()
        old = trees.commit(before).tree
        tree = trees.replace(old, path, files)
        if tree == old:
            return before
        made_by = {"user": user, "input_ref": before}
        commit = Commit(tree, (before,), message, time.time_ns() // 1_000_000, made_by)
        made = trees.put_commit(commit)
        trees.objects.flush()
        return made

    def _check_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            raise StoreError(f"{folder} is no folder. Name one that holds the files.")
        if self._home is not None and self._home.resolve().is_relative_to(folder.resolve()):
            raise StoreError(
                f"{folder} holds {self._home}, which would be stored within itself. "
                f"Name a folder beside it."
            )

    def _moved(self, branch: str, expected: str) -> PublishFenceError:
        found = self._heads.head(BranchName(self.name, branch))
        won = _who(self._trees.commit(found)) if found is not None else ""
        return PublishFenceError(f"{self.name}@{branch}", expected, found, won)

    def log(self, ref: str = "main", *, all_parents: bool = False) -> Iterator[tuple[str, Commit]]:
        """A commit and those before it, each with its id, newest first; see `Ref.log`."""
        return self.at(ref).log(all_parents=all_parents)

    def ls(
        self, ref: str = "main", path: str = "", *, recursive: bool = False
    ) -> list[tuple[str, TreeEntry]]:
        """What a folder holds; see `Ref.ls`."""
        return self.at(ref).ls(path, recursive=recursive)

    def read(self, ref: str, path: str) -> BinaryIO:
        """The content of a file, open for reading; see `Ref.open`."""
        return self.at(ref).open(path)

    def diff(self, before: str, after: str) -> Iterator[Change]:
        """Files, links and empty folders that differ between two refs, in order of path."""
        return self.at(before).diff(self.at(after))

    def checkout(self, ref: str, folder: Path, path: str = "/") -> None:
        """Writes the files of a commit, or of its folder `path`; see `Ref.checkout`."""
        self.at(ref).checkout(folder, path)


def is_branch(name: BranchName) -> bool:
    """Is a head a branch that people made or see? Not a tag, not one of a run at work."""
    return not name.branch.startswith((HIDDEN, TAG))


def _who(commit: Commit) -> str:
    """Who made a commit and when, as a part of a sentence."""
    made_by = commit.made_by
    names = [f"{key} {made_by[key]}" for key in ("user", "run", "task") if made_by.get(key)]
    at = datetime.fromtimestamp(commit.at / 1000).strftime("%Y-%m-%d %H:%M:%S")
    message = commit.message.strip().partition("\n")[0][:60]
    return ", ".join([*names, f"at {at}", f"'{message}'"])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return str(os.getuid())
