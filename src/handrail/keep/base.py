"""The sockets of keeping: objects, heads, and the journal with its publication.

Two classes of commit. *Grouped*: events that move no head; if a power cut loses them, their
tasks run again. *Durable*: publications and ends of runs, on disk when the call returns, with
every earlier event of the run.

`accept` is the one act that publishes. In one transaction it checks the attempt's token
against the current one, moves the branch by comparison, writes the ledger row with the
result, and appends the events that tell of it. Whoever loses learns who won.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from handrail.contracts.event import Event, StoredEvent
from handrail.contracts.workspace import BranchName
from handrail.ids import Token

# Records


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as lists show it."""

    run_id: str
    workflow: str
    #: `module:name` or `path.py:name`: where the workflow is found again; none if it cannot be.
    reference: str | None
    #: Start key: at most one run of a workflow has it.
    key: str | None
    state: str
    epoch: int
    #: Milliseconds since 1970, UTC.
    started_at: int
    finished_at: int | None = None
    #: One line: why the run did not succeed.
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to drive a run until `expires_at` (milliseconds since 1970, UTC)."""

    run_id: str
    epoch: int
    owner: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What an attempt asks the journal to accept."""

    run_id: str
    #: The same for every try of the same work; the ledger holds it once.
    logical_key: str
    task_id: str
    attempt_id: str
    token: Token
    #: The task's result, as JSON text.
    result: str
    #: Branch to move, with the commits before and after. None, or equal commits: no move.
    branch: BranchName | None = None
    input_ref: str | None = None
    output_ref: str | None = None
    events: Sequence[Event] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """The attempt won: its publication and result are on record."""

    ref: str | None


@dataclass(frozen=True, slots=True)
class Adopted:
    """An earlier attempt of the same work had won; this is what it left."""

    attempt_id: str
    ref: str | None
    result: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """The attempt or run lost, and nothing was written.

    `stale`: a newer attempt or epoch holds the right; else the branch or the watermark is
    elsewhere. A branch found where it was expected had left it meanwhile and come back.
    """

    stale: bool
    expected: str
    found: str | None
    #: What is elsewhere: "token", "lease", a branch, or "watermark of PIPELINE".
    what: str = ""


@dataclass(frozen=True, slots=True)
class Watermark:
    """A pipeline's progress, moved from `before` to `after` (JSON text each; none: unset)."""

    pipeline: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a run's epoch: state, publication of the whole run, watermark, last event."""

    run_id: str
    epoch: int
    state: str
    events: Sequence[Event]
    reason: str | None = None
    #: Target branch with the commits before and after; only for a run that succeeded.
    branch: BranchName | None = None
    input_ref: str | None = None
    output_ref: str | None = None
    watermark: Watermark | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What an attempt asks to publish."""

    branch: BranchName
    input_ref: str
    output_ref: str
    #: The same for every try of the same work.
    logical_key: str
    #: The work's result, as JSON text.
    result: str
    attempt_id: str = ""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The attempt won: its commit is the one after its input ref."""

    ref: str
    #: Why the branch does not show it to others yet; empty: it does. `repair` tries again.
    behind: str = ""


class ObjectInfo(NamedTuple):
    """Name and length of a stored object."""

    #: SHA-256 of the content, 64 hex digits.
    digest: str
    size_bytes: int


# Sockets


class ObjectStore(ABC):
    """Immutable content, named by its SHA-256."""

    @abstractmethod
    def put_bytes(self, content: bytes) -> ObjectInfo:
        """Stores `content`; storing it again changes nothing."""

    @abstractmethod
    def put_file(self, path: Path) -> ObjectInfo:
        """Stores a file's content, read once in pieces, so memory stays constant.

        Raises:
            StoreError: the file changed while it was read, or space ran out.
        """

    @abstractmethod
    def flush(self) -> None:
        """Returns when everything put before is on disk."""

    @abstractmethod
    def open(self, digest: str) -> BinaryIO:
        """The content as a readable file.

        Raises:
            UnknownRefError: no such object.
        """

    @abstractmethod
    def copy_to(self, digest: str, path: Path, mode: int) -> None:
        """Writes the content to the file `path`, which must not exist, checking its digest.

        Raises:
            UnknownRefError: no such object.
            StoreCorruptError: the content does not have that digest.
        """

    @abstractmethod
    def __contains__(self, digest: str) -> bool: ...

    @abstractmethod
    def digests(self) -> Iterator[str]:
        """All objects, in no order."""

    @abstractmethod
    def delete(self, digest: str, stored_before: int) -> bool:
        """Removes an object that was last put before then (milliseconds since 1970, UTC).

        False: it was put since, or there is no such object. Only for sweeps.
        """

    def read_bytes(self, digest: str) -> bytes:
        """The whole content."""
        with self.open(digest) as file:
            return file.read()

    def close(self) -> None:  # noqa: B027  # most stores hold nothing
        """Releases what is held; other calls may follow."""


class Heads(ABC):
    """Names of commits, moved only by comparison."""

    @abstractmethod
    def head(self, branch: BranchName) -> str | None:
        """The commit that `branch` names; none if there is no such branch."""

    @abstractmethod
    def move_head(self, branch: BranchName, before: str | None, after: str | None) -> bool:
        """Moves `branch` from `before` to `after` if it still is at `before`.

        `before=None` creates, `after=None` deletes. Durable. False: it was elsewhere.
        """

    @abstractmethod
    def heads(self, repository: str | None = None) -> dict[BranchName, str]:
        """All branches, or those of one repository, with their commits."""

    @abstractmethod
    def moved_to(self, branch: BranchName) -> str | None:
        """Where the last move on record left a branch; none if it is not there by that.

        A head that is elsewhere was moved by somebody who does not keep records.
        """

    @abstractmethod
    def claim(self, claim: Claim) -> Claimed | Adopted | Conflict:
        """Moves a branch from `input_ref` to `output_ref`, once for each input ref. Durable.

        Adopted: the same work had done so; Conflict: other work had, or the branch is elsewhere.
        """

    @abstractmethod
    def claimed(self, branch: BranchName, input_ref: str) -> Claim | None:
        """The claim that won the place after a commit of a branch."""

    @abstractmethod
    def drop_branch(self, branch: BranchName) -> None:
        """Removes a branch with its claims; a missing one is fine."""


class Journal(ABC):
    """Runs, their events, their attempts' tokens, and the ledger of what was accepted."""

    # Runs

    @abstractmethod
    def create_run(
        self, record: RunRecord, lease: Lease, events: Sequence[Event]
    ) -> RunRecord | None:
        """Writes a run with its first events and lease, durably.

        Returns none when it was written, else the run that has the same workflow and key.
        """

    @abstractmethod
    def run(self, run_id: str) -> RunRecord:
        """One run; a prefix of its id is enough if only one run has it.

        Raises:
            RunNotFound: there is none, or several.
        """

    @abstractmethod
    def run_with_key(self, workflow: str, key: str) -> RunRecord | None:
        """The run of a workflow that has this start key, if there is one."""

    @abstractmethod
    def runs(
        self, *, workflow: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[RunRecord]:
        """Runs, newest first."""

    @abstractmethod
    def lease(self, run_id: str) -> Lease | None:
        """Who drives the run; none once its epoch is over."""

    @abstractmethod
    def take_over(
        self, run_id: str, before: Lease | None, after: Lease, events: Sequence[Event]
    ) -> bool:
        """Opens epoch `after.epoch` if the one before it is the run's last, its lease still is
        `before`, and the run has not succeeded; durable.

        False: somebody else was faster. Tokens of earlier epochs are stale from here on.
        """

    @abstractmethod
    def renew(self, lease: Lease, expires_at: int) -> bool:
        """Prolongs a lease. False: it is no longer held, so the holder must stop."""

    @abstractmethod
    def ask_to_cancel(self, run_id: str, epoch: int, reason: str, events: Sequence[Event]) -> bool:
        """Asks whoever drives that epoch of a run to end it; durable, with the events that tell.

        False: the run has another epoch, or nobody drives it. Asking again changes nothing.
        """

    @abstractmethod
    def cancel_reason(self, run_id: str) -> str | None:
        """Why the run's present epoch is to be ended; none: nobody asked for it."""

    # Events

    @abstractmethod
    def append(
        self, run_id: str, epoch: int, events: Sequence[Event], *, durable: bool = False
    ) -> None:
        """Adds events, grouped: cheap, ordered, possibly lost in a power cut.

        Args:
            durable: they are on disk, with all before them, when the call returns.

        Raises:
            StaleAttemptError: the run has a later epoch.
        """

    @abstractmethod
    def events(self, run_id: str) -> list[StoredEvent]:
        """All events of a run, in order."""

    @abstractmethod
    def opening(self, run_id: str) -> StoredEvent:
        """The first event of a run.

        Raises:
            RunNotFound: there is no such run.
        """

    @abstractmethod
    def outbox(self, cursor: int, limit: int = 1000) -> tuple[list[StoredEvent], int]:
        """Events of all runs after `cursor`, in order of commit, and the cursor behind them.

        0 is the beginning. `limit` bounds how many groups are read, not how many events.
        """

    # Attempts

    @abstractmethod
    def begin_attempt(self, run_id: str, logical_key: str, token: Token) -> Adopted | None:
        """Makes `token` the current one for that work, unless it is on the ledger already.

        Raises:
            StaleAttemptError: a larger token is current.
        """

    @abstractmethod
    def accept(self, acceptance: Acceptance) -> Accepted | Adopted | Conflict:
        """Publishes an attempt: all of it or nothing, once. Durable."""

    @abstractmethod
    def settle(self, settlement: Settlement) -> Accepted | Conflict:
        """Ends the run's epoch and releases its lease, in one durable transaction.

        With a branch: moves it from `input_ref` to `output_ref`, and the watermark with it;
        if either is elsewhere, nothing at all is written and the answer is a conflict.
        """

    @abstractmethod
    def accepted(self, run_id: str) -> list[Acceptance]:
        """The ledger rows of a run, in order of acceptance."""

    @abstractmethod
    def watermark(self, pipeline: str) -> str | None:
        """How far a pipeline has come, as JSON text."""

    @abstractmethod
    def close(self) -> None:
        """Releases files and connections."""


# Trees and commits


class TreeEntry(NamedTuple):
    """One name in a folder."""

    name: str
    #: "file", "link" (symbolic) or "tree" (folder).
    kind: str
    #: Permission bits, for files.
    mode: int
    #: Content of a file, target of a link, entries of a folder.
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A state of a repository and where it came from."""

    tree: str
    parents: tuple[str, ...]
    message: str
    #: Milliseconds since 1970, UTC.
    at: int
    #: Who made it: user, run, task, attempt, input ref, as far as known.
    made_by: dict[str, str] = field(default_factory=dict)


class Change(NamedTuple):
    """One file that differs between two trees."""

    #: "added", "removed" or "changed".
    kind: str
    path: str
    before: TreeEntry | None
    after: TreeEntry | None


__all__ = [
    "Acceptance",
    "Accepted",
    "Adopted",
    "Change",
    "Claim",
    "Claimed",
    "Commit",
    "Conflict",
    "Heads",
    "Journal",
    "Lease",
    "ObjectInfo",
    "ObjectStore",
    "RunRecord",
    "Settlement",
    "TreeEntry",
    "Watermark",
]
