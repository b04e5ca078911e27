"""The socket of versioned files: checked out for an attempt, staged, and published once.

A *claim* publishes: it says that the commit after `input_ref` on a branch is `output_ref`. For
each pair of branch and input ref one claim wins, whoever makes it, however often, and whatever
becomes of the answer. So the states of a branch form a chain, each with one successor, and a
claim is kept with the key of the work that made it and with the work's result: whoever does the
same work again adopts what was left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from handrail.contracts.workspace import BranchName
from handrail.keep.base import Adopted, Change, Claim, Claimed, Commit, Conflict, TreeEntry


@dataclass(frozen=True, slots=True)
class Draft:
    """What is said about a commit to be staged."""

    input_ref: str
    message: str
    #: Milliseconds since 1970, UTC.
    at: int
    #: Who makes it. The value of "run" owns what is left of it, see `VersionedFiles.sweep`.
    made_by: dict[str, str] = field(default_factory=dict)


class OpenFiles(ABC):
    """Files of one commit in a folder of their own, for one body to change."""

    #: The commit.
    ref: str
    #: The folder of the repository that was checked out; `"/"` is all of it.
    prefix: str
    #: What the body gets.
    path: Path


class VersionedFiles(ABC):
    """The branches, commits and files of one repository.

    A `ref` is the id of a commit, 64 hexadecimal digits. Anything else is refused with
    `UnknownRefError` before anything is read, since a branch may move meanwhile.
    """

    #: Its name, which all branches given here must bear.
    repository: str

    # Branches

    @abstractmethod
    def head(self, branch: BranchName) -> str | None:
        """The last published commit of a branch; none if there is no such branch.

        Raises:
            PublishFenceError: others moved the branch to a commit that was not published here.
        """

    @abstractmethod
    def create(self, branch: BranchName) -> str:
        """The head of a branch, which is made from the default branch if it is missing."""

    @abstractmethod
    def drop(self, branch: BranchName) -> None:
        """Removes a branch with its claims; a missing one is fine.

        Only for branches of runs that are over: an attempt still at work there fails.
        """

    @abstractmethod
    def branches(self) -> dict[str, str]:
        """Commits by branch, sorted by name; the branches of runs at work are left out."""

    # An attempt

    @abstractmethod
    def recall(self, branch: BranchName, input_ref: str, logical_key: str) -> Adopted | None:
        """What an earlier attempt of the same work published, from the same input; or none."""

    @abstractmethod
    def checkout(self, ref: str, prefix: str, folder: Path) -> OpenFiles:
        """Writes the files of a commit below `prefix` into `folder`, verified.

        Args:
            folder: must be empty or missing; becomes private to its user.

        Raises:
            UnknownRefError: there is no such commit.
            UnsupportedFileError: it holds names that no folder can have; they are named.
            StoreCorruptError: a content is not what was stored.
            StoreError: `folder` holds something, or cannot be written.
        """

    @abstractmethod
    def stage(self, files: OpenFiles, draft: Draft) -> str:
        """Stores what the folder holds now as a commit after `draft.input_ref`.

        Nobody else sees it until it is claimed.

        Returns:
            The commit; the input ref if nothing changed.

        Raises:
            UnsupportedFileError: the folder holds what a workspace cannot; it is named.
            StoreError: a file changed while it was read, or the store does not answer.
        """

    @abstractmethod
    def claim(self, claim: Claim) -> Claimed | Adopted | Conflict:
        """Publishes a staged commit: all of it, once. Durable.

        If input and output are one commit there is nothing to publish, and nothing is asked.
        A staged commit that did not win is released.

        Returns:
            Claimed: it won.
            Adopted: the same work had won already; this is what it left.
            Conflict: other work had won, or the branch never was at `input_ref`, or others
                moved it. `what` tells who.
        """

    @abstractmethod
    def release(self, ref: str) -> None:
        """Lets go of a staged commit that will not be claimed; harmless for any other."""

    @abstractmethod
    def repair(self, branch: BranchName) -> str:
        """Shows others the last published commit where a branch lags behind; or says why not.

        Anybody may do so at any time. A branch is never set back.

        Returns:
            "" when the branch shows what was published, else the reason.
        """

    @abstractmethod
    def sweep(
        self,
        alive: Callable[[str], bool] = lambda owner: False,
        *,
        older_than_seconds: float = 3600,
    ) -> list[str]:
        """Removes what dead attempts left staged; returns its names.

        Args:
            alive: is that owner, `made_by["run"]` of a draft, still at work?
            older_than_seconds: what is younger is left alone in any case.
        """

    # Looking

    @abstractmethod
    def entries(self, ref: str, prefix: str = "/") -> Iterator[tuple[str, TreeEntry]]:
        """Files, links and empty folders below `prefix`, with paths from the top, in order."""

    @abstractmethod
    def open(self, ref: str, path: str) -> BinaryIO:
        """The content of a file, verified, open for reading anywhere in it.

        Raises:
            UnknownRefError: no such commit, or no file at `path`.
        """

    @abstractmethod
    def log(self, ref: str) -> Iterator[tuple[str, Commit]]:
        """A commit and its first parents, each with its id, newest first."""

    @abstractmethod
    def diff(self, before: str, after: str) -> Iterator[Change]:
        """Files, links and empty folders that differ between two commits, in order of path."""

    def close(self) -> None:  # noqa: B027  # not every store holds something
        """Releases connections; other calls may follow."""


__all__ = ["Claim", "Claimed", "Draft", "OpenFiles", "VersionedFiles"]
