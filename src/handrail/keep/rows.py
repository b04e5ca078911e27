"""How records lie in rows, and what a journal answers to those who lost: the same in every store.

Events are kept as chunks: one row for the events of one append, as a JSON array.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from handrail.contracts.event import Event, StoredEvent
from handrail.contracts.workspace import BranchName
from handrail.errors import StaleAttemptError
from handrail.ids import Token
from handrail.keep.base import (
    Acceptance,
    Adopted,
    Claim,
    Conflict,
    Lease,
    RunRecord,
    Watermark,
)

#: Columns in the order of the records' fields.
RUN = "run_id, workflow, reference, key, state, epoch, started_at, finished_at, reason"
LEASE = "epoch, lease_owner, lease_expires_at"
LEDGER = (
    "run_id, logical_key, task_id, attempt_id, epoch, sequence, result, repository, branch,"
    " input_ref, output_ref"
)
CHUNK = "run_id, epoch, first, events"

encode_events = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def stored_events(rows: Iterable[Sequence[Any]]) -> list[StoredEvent]:
    """The events of rows that begin with the columns `CHUNK`, in order."""
    return [
        StoredEvent(run_id, epoch, place, Event(*event))
        for run_id, epoch, first, text, *_ in rows
        for place, event in enumerate(json.loads(text), first)
    ]


def run_values(record: RunRecord) -> tuple[Any, ...]:
    """Values of the columns `RUN`."""
    return (
        record.run_id,
        record.workflow,
        record.reference,
        record.key,
        record.state,
        record.epoch,
        record.started_at,
        record.finished_at,
        storable(record.reason),
    )


def lease_of(run_id: str, row: Sequence[Any]) -> Lease | None:
    """The lease in the columns `LEASE`; none if nobody holds it."""
    epoch, owner, expires_at = row
    return Lease(run_id, epoch, owner, expires_at) if owner is not None else None


def ledger_values(acceptance: Acceptance) -> tuple[Any, ...]:
    """Values of the columns `LEDGER`."""
    return (
        acceptance.run_id,
        acceptance.logical_key,
        acceptance.task_id,
        acceptance.attempt_id,
        *acceptance.token,
        acceptance.result,
        *(acceptance.branch or (None, None)),
        acceptance.input_ref,
        acceptance.output_ref,
    )


def acceptance_of(row: Sequence[Any]) -> Acceptance:
    """The record in the columns `LEDGER`; its events are elsewhere."""
    run_id, logical_key, task_id, attempt_id, epoch, sequence, result, *where = row
    repository, branch, input_ref, output_ref = where
    return Acceptance(
        run_id=run_id,
        logical_key=logical_key,
        task_id=task_id,
        attempt_id=attempt_id,
        token=Token(epoch, sequence),
        result=result,
        branch=BranchName(repository, branch) if repository and branch else None,
        input_ref=input_ref,
        output_ref=output_ref,
    )


def storable(text: str | None) -> str | None:
    """`text` without what a body's message may hold and a database cannot: half characters, NUL."""
    if text is None:
        return None
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def claim_values(claim: Claim) -> tuple[Any, ...]:
    """Values of a row of claims."""
    return (
        *claim.branch,
        claim.input_ref,
        claim.output_ref,
        claim.logical_key,
        claim.result,
        claim.attempt_id,
    )


def claim_of(branch: BranchName, row: Sequence[Any]) -> Claim:
    """The claim in a row, its branch left out."""
    return Claim(branch, *row)


def answer_to(claim: Claim, won: Claim) -> Adopted | Conflict:
    """What a claim is told when another one has its place already."""
    if won.logical_key == claim.logical_key:
        return Adopted(won.attempt_id, won.output_ref, won.result)
    what = f"{claim.branch}, moved by '{won.logical_key}'"
    return Conflict(False, claim.input_ref, won.output_ref, what)


# Who lost, and to what


def token_text(token: Token | None, epoch: int | None = None) -> str:
    """A token as messages show it, with the run's epoch where that matters."""
    held = f"{token.epoch}.{token.sequence}" if token else "none"
    return held if epoch is None else f"{held} in epoch {epoch}"


def stale_token(asked: Token, current: Token | None, epoch: int | None) -> Conflict:
    """Another attempt or epoch has the right to publish."""
    return Conflict(True, token_text(asked), token_text(current, epoch), "token")


def stale_attempt(
    logical_key: str, asked: Token, run_id: str, current: Token | None, epoch: int
) -> StaleAttemptError:
    """An attempt that begins too late."""
    found = token_text(current, epoch)
    return StaleAttemptError(logical_key, f"token {token_text(asked)}, run {run_id} has {found}")


def stale_append(what: str, run_id: str, asked: int, epoch: int) -> StaleAttemptError:
    """Events of an epoch that is over."""
    return StaleAttemptError(what, f"epoch {asked}, run {run_id} is in epoch {epoch}")


def lost_lease(asked: int, epoch: int, state: str) -> Conflict:
    """A run that is over, or in another epoch."""
    return Conflict(True, f"epoch {asked}", f"epoch {epoch}, {state}", "lease")


def moved_branch(branch: BranchName, expected: str | None, found: str | None) -> Conflict:
    """A head that is elsewhere, or was meanwhile."""
    return Conflict(False, expected or "", found, str(branch))


def moved_watermark(watermark: Watermark, found: str | None) -> Conflict | None:
    """What is wrong with `watermark` when `found` is on record; none if nothing is."""
    if found == watermark.before:
        return None
    return Conflict(False, watermark.before or "", found, f"watermark of {watermark.pipeline}")
