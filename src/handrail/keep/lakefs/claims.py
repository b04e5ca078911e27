"""Publishing on LakeFS: one claim for each commit of a branch, decided by creating a branch.

LakeFS moves branches by merge, which asks for no expected head, so no merge may decide. What it
does atomically is to create a branch if there is none of that name. So the truth of a branch is
a chain of *claims*: the root names its first commit, and the claim after a commit names the
next. The visible branch is a mirror of the chain. It moves by merge alone, only to commits that
were claimed, and anybody may move it. `docs/understand/lakefs.md` goes through the interleavings.

A claim is a branch that stands at a *record*: a commit above the published one, whose metadata
holds the branch, the two refs, the key of the work and its result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from handrail.contracts.workspace import BranchName
from handrail.errors import PublishFenceError, StoreCorruptError, StoreError
from handrail.keep.base import Adopted, Conflict
from handrail.keep.files import Claim, Claimed
from handrail.keep.lakefs.http import LakeFSRefusal
from handrail.keep.lakefs.names import (
    claim_name,
    claims_prefix,
    encoded,
    root_name,
)
from handrail.keep.lakefs.server import LakeFSCommit, LakeFSServer, StoredObject
from handrail.keep.lakefs.staging import OWNER, Staging
from handrail.keep.repository import HIDDEN

_log = logging.getLogger(__name__)

#: Longest result in a record's metadata, in characters; a longer one lies beside it.
RESULT_LENGTH = 16_384
#: Where a longer result lies, in the record's own files, which are never checked out.
RESULT_PATH = "_handrail/result.json"

#: Names in the metadata of commits.
BRANCH = "handrail-branch"
INPUT = "handrail-input-ref"
OUTPUT = "handrail-output-ref"
KEY = "handrail-logical-key"
ATTEMPT = "handrail-attempt"
RESULT = "handrail-result"

_MERGES = 3
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Record:
    """A claim that won."""

    #: The commit that holds the record.
    id: str
    input_ref: str
    output_ref: str
    logical_key: str
    attempt_id: str
    #: None: it lies beside the record.
    result: str | None


class Place(NamedTuple):
    """How a visible branch stands to its chain."""

    #: The last published commit.
    tip: str
    #: The input ref of the claim that led there from what the branch shows; "": it shows it.
    before: str
    #: The visible branch; none: it is missing.
    head: str | None
    #: Is `head` a commit that no claim accounts for?
    is_foreign: bool


class Claims:
    """The chains of the branches of one repository."""

    def __init__(self, server: LakeFSServer, staging: Staging) -> None:
        self._server = server
        self._staging = staging
        # None of these ever changes once it is there.
        self._roots: dict[BranchName, str] = {}
        self._records: dict[str, Record] = {}

    # Where a branch is

    def head(self, branch: BranchName) -> str | None:
        """The last published commit; without a chain, the branch's own head.

        Raises:
            PublishFenceError: the visible branch is at a commit that no claim accounts for.
        """
        place = self.place(branch)
        if place is None:
            return self._server.branch(encoded(branch.branch))
        if place.is_foreign:
            stranger = f"{self._stranger(place.head or '')} (take_in makes it part of the branch)"
            raise PublishFenceError(str(branch), place.tip, place.head, stranger)
        return place.tip

    def place(self, branch: BranchName) -> Place | None:
        """How the visible branch stands to its chain; none if there is no chain."""
        root = self._root(branch)
        if root is None:
            return None
        head = self._server.branch(encoded(branch.branch))
        if head is None:
            return Place(*self._tip(branch, root), None, False)
        shown = self._shown(branch, root, head)
        if shown is not None:
            return Place(*self._tip(branch, shown), head, False)
        tip, before = self._tip(branch, root)
        return Place(tip, before, head, self._server.merge_base(head, tip) != head)

    def _root(self, branch: BranchName) -> str | None:
        root = self._roots.get(branch) or self._server.branch(root_name(branch))
        if root is not None:
            self._roots[branch] = root
        return root

    def _tip(self, branch: BranchName, ref: str) -> tuple[str, str]:
        """The end of the chain, from a commit on it, and the input ref of the last claim."""
        before = ""
        while (record := self._record(branch, ref)) is not None:
            before, ref = ref, record.output_ref
        return ref, before

    def _shown(self, branch: BranchName, root: str, head: str) -> str | None:
        """The commit of the chain that `head` is or mirrors; none if it is none of ours.

        What a commit says of itself is checked against the claim and the files.
        """
        if head == root:
            return root
        commit = self._staging.commit(head)
        record = self._record(branch, commit.metadata.get(INPUT, ""))
        if record is None:
            return None
        if head == record.output_ref:
            return head
        if commit.parents[1:] != (record.output_ref,):
            return None
        # Merged onto something else than the chain, it would show files that nobody published.
        published = self._staging.commit(record.output_ref)
        return published.id if commit.tree == published.tree else None

    # Records

    def recall(self, branch: BranchName, input_ref: str, logical_key: str) -> Adopted | None:
        """What the same work published from the same input."""
        record = self._record(branch, input_ref)
        if record is None or record.logical_key != logical_key:
            return None
        return self._adopted(record)

    def _record(self, branch: BranchName, input_ref: str) -> Record | None:
        if not input_ref:
            return None
        name = claim_name(branch, input_ref)
        known = self._records.get(name)
        if known is None:
            at = self._server.branch(name)
            if at is None:
                return None
            if len(self._records) >= _REMEMBERED:
                self._records.clear()
            known = self._records[name] = _parsed(name, self._staging.commit(at), branch, input_ref)
        return known

    def _adopted(self, record: Record) -> Adopted:
        result = record.result
        if result is None:
            pieces: list[bytes] = []

            def start() -> Callable[[bytes], object]:
                pieces.clear()
                return pieces.append

            self._server.download(record.id, RESULT_PATH, start)
            result = b"".join(pieces).decode()
        return Adopted(record.attempt_id, record.output_ref, result)

    # Claiming

    def claim(self, claim: Claim) -> Claimed | Adopted | Conflict:
        """Publishes a commit; see `VersionedFiles.claim`."""
        if claim.input_ref == claim.output_ref:
            return Claimed(claim.output_ref)
        answer = self._decide(claim)
        try:
            self._staging.release(claim.output_ref)  # held by the claim if it won, else by nobody
        except StoreError as error:
            _log.warning("Staging of %s was left for a sweep: %s", claim.output_ref, error)
        if isinstance(answer, Claimed):
            return Claimed(answer.ref, self.repair(claim.branch))
        return answer

    def _decide(self, claim: Claim) -> Claimed | Adopted | Conflict:
        record = self._record(claim.branch, claim.input_ref)
        if record is not None:
            return self._lost(claim, record)
        refusal = self._begin(claim) or self._check_end(claim)
        if refusal is None:
            self._check_descent(claim)
            record = self._create(claim)
            if record is None:
                return Claimed(claim.output_ref)
        else:  # perhaps because another was faster
            record = self._record(claim.branch, claim.input_ref)
        if record is not None:
            return self._lost(claim, record)
        assert refusal is not None
        return refusal

    def _lost(self, claim: Claim, record: Record) -> Adopted | Conflict:
        if record.logical_key == claim.logical_key:
            return self._adopted(record)
        by = f" ({record.attempt_id})" if record.attempt_id else ""
        what = f"{claim.branch}, claimed by {record.logical_key}{by}"
        return Conflict(False, claim.input_ref, record.output_ref, what)

    def _begin(self, claim: Claim) -> Conflict | None:
        """Makes the root of the chain where there is none.

        Two that start at different commits both try, and one has created it.
        """
        if self._root(claim.branch) is not None:
            return None
        head = self._server.branch(encoded(claim.branch.branch))
        if head != claim.input_ref:
            return Conflict(False, claim.input_ref, head, str(claim.branch))
        self._server.create_branch(root_name(claim.branch), claim.input_ref)
        return None

    def _check_end(self, claim: Claim) -> Conflict | None:
        """Is the input ref the end of the chain, and the visible branch none but ours?

        Once it is the end it remains so until the claim is created, by whomever.
        """
        place = self.place(claim.branch)
        if place is None:
            return Conflict(False, claim.input_ref, None, str(claim.branch))
        if place.is_foreign:
            what = f"{claim.branch}, moved by {self._stranger(place.head or '')}"
            return Conflict(False, claim.input_ref, place.head, what)
        if place.tip != claim.input_ref:
            return Conflict(False, claim.input_ref, place.tip, str(claim.branch))
        return None

    def _check_descent(self, claim: Claim) -> None:
        """A claim leads forward only, or the chain would run in a circle."""
        if self._staging.commit(claim.output_ref).parents[:1] == (claim.input_ref,):
            return
        if self._server.merge_base(claim.output_ref, claim.input_ref) != claim.input_ref:
            raise StoreError(
                f"Commit {claim.output_ref} does not come from {claim.input_ref}, so it cannot "
                f"follow it on {claim.branch}. Stage it from that commit."
            )

    def _create(self, claim: Claim) -> Record | None:
        """Creates the claim; returns none if it is ours, else the one that is there."""
        name = claim_name(claim.branch, claim.input_ref)
        made_by = self._staging.commit(claim.output_ref).metadata.get(OWNER, claim.attempt_id)
        with self._staging.aside(made_by, claim.output_ref) as branch:
            record_id = self._write(branch, claim)
            if self._server.create_branch(name, record_id):
                return None
            record = self._record(claim.branch, claim.input_ref)
            if record is None:
                raise StoreError(f"{claim.branch} is being removed; nothing was published.")
            return record if record.id != record_id else None

    def _write(self, branch: str, claim: Claim) -> str:
        """Commits the record of a claim on a branch of its own."""
        metadata = {
            BRANCH: str(claim.branch),
            INPUT: claim.input_ref,
            OUTPUT: claim.output_ref,
            KEY: claim.logical_key,
            ATTEMPT: claim.attempt_id,
        }
        if len(claim.result) <= RESULT_LENGTH:
            metadata[RESULT] = claim.result
        else:
            content = claim.result.encode()
            place = StoredObject(RESULT_PATH, "", len(content), "application/json")
            self._server.upload(branch, RESULT_PATH, lambda: [content], len(content), place)
        message = f"Claim of {claim.logical_key} on {claim.branch}"
        record_id = self._staging.commit_on(branch, message, metadata, allow_empty=True)
        assert record_id is not None
        return record_id

    # The visible branch

    def repair(self, branch: BranchName) -> str:
        """Moves the visible branch along the chain; returns why it could not, or ""."""
        try:
            for _ in range(_MERGES):
                reason = self._mirror(branch)
                if reason is not None:
                    break
        except StoreError as error:
            reason = str(error)
        if reason:
            _log.warning("Branch %s does not show what was published: %s", branch, reason)
        return "" if reason is None else reason

    def _mirror(self, branch: BranchName) -> str | None:
        """One move; "" when there is nothing to do, none when it has to be looked at again."""
        place = self.place(branch)
        if place is None:
            return ""
        name = encoded(branch.branch)
        if place.head is None:
            self._server.create_branch(name, place.tip, hidden=branch.branch.startswith(HIDDEN))
            return None
        if place.is_foreign:
            return f"it was moved by {self._stranger(place.head)}"
        tip = self._staging.commit(place.tip)
        if self._staging.commit(place.head).tree == tip.tree:
            return ""
        metadata = {INPUT: place.before, OUTPUT: tip.id}
        try:
            merged = self._server.merge(tip.id, name, f"Publish: {tip.message}", metadata)
        except LakeFSRefusal as refusal:
            return str(refusal)
        return "" if merged and self._staging.commit(merged).tree == tip.tree else None

    def take_in(self, branch: BranchName) -> str:
        """Makes what others put on the visible branch part of the chain; returns the new head.

        Their commits are merged with what was published, and the merge is claimed. No guardrail
        sees its files: this is for people who know what was put there.

        Raises:
            PublishFenceError: the same files were changed on both sides, or another was faster.
        """
        place = self.place(branch)
        if place is None or place.head is None or not place.is_foreign:
            return self.head(branch) or ""
        with self._staging.aside("take-in", place.tip) as aside:
            try:
                merged = self._server.merge(
                    place.head, aside, f"Take in {place.head[:12]}", {}, allow_empty=True
                )
            except LakeFSRefusal as refusal:
                raise PublishFenceError(
                    str(branch), place.tip, place.head, self._stranger(place.head)
                ) from refusal
            assert merged is not None
            key = f"taken in {place.head}"
            claim = Claim(branch, place.tip, merged, key, "null")
            other = self._record(branch, place.tip) or self._create(claim)
        if other is not None and other.logical_key != key:
            raise PublishFenceError(str(branch), place.tip, other.output_ref, other.logical_key)
        self.repair(branch)
        return self.head(branch) or merged

    def _stranger(self, commit_id: str) -> str:
        commit = self._staging.commit(commit_id)
        return (
            f"commit {commit_id[:12]} of {commit.committer or 'somebody'} "
            f"('{commit.message[:60]}'), which no claim accounts for"
        )

    def drop(self, branch: BranchName) -> None:
        """Removes a branch with its chain."""
        self._server.delete_branch(encoded(branch.branch))
        for name, _ in list(self._server.branches(claims_prefix(branch), hidden=True)):
            self._server.delete_branch(name)
            self._records.pop(name, None)
        self._server.delete_branch(root_name(branch))
        self._roots.pop(branch, None)


def _parsed(name: str, commit: LakeFSCommit, branch: BranchName, input_ref: str) -> Record:
    found = commit.metadata
    if (found.get(BRANCH), found.get(INPUT)) != (str(branch), input_ref) or OUTPUT not in found:
        raise StoreCorruptError(
            f"Branch '{name}' no longer holds its claim on {branch}: it stands at {commit.id}. "
            f"Somebody moved it; put it back to the commit that it was created at."
        )
    return Record(
        commit.id,
        input_ref,
        found[OUTPUT],
        found.get(KEY, ""),
        found.get(ATTEMPT, ""),
        found.get(RESULT),
    )
