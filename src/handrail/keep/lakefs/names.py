"""Names of branches in LakeFS: the user's, and those that Handrail keeps for itself.

LakeFS allows letters, digits, `_` and `-` in the name of a branch (pkg/validator/validate.go).
Names with others in them are written as `handrail-name-` and the name, in which each other
character and each `_` became `_` with two hexadecimal digits for each byte.

| branch | stands at |
|---|---|
| `handrail-root-BRANCH` | the commit where the chain of claims of a branch begins |
| `handrail-claim-BRANCH-INPUT` | the record of the one claim on a branch after an input ref |
| `handrail-stage-TIME-CHANCE-OWNER` | what an attempt has staged and not yet published |

BRANCH and INPUT are SHA-256 digests, shortened; TIME is in milliseconds since 1970, UTC, in
hexadecimal; OWNER is the run's id as far as LakeFS allows its characters.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple

from handrail.contracts.workspace import BranchName
from handrail.errors import StoreError

#: First part of all names that are not the user's.
OURS = "handrail-"
STAGE = "handrail-stage-"

_ENCODED = "handrail-name-"
_PLAIN = re.compile(r"[0-9A-Za-z_][-0-9A-Za-z_]*", re.ASCII)
_REPOSITORY = re.compile(r"[a-z0-9][a-z0-9-]{2,62}", re.ASCII)
_OTHER = re.compile(r"[^-0-9A-Za-z]", re.ASCII)
_CODE = re.compile(r"(?:_[0-9a-f]{2})+")
_STAGE = re.compile(r"handrail-stage-([0-9a-f]+)-[0-9a-f]{16}-(.*)")
_OWNER_LENGTH = 60


class StageName(NamedTuple):
    """What the name of a staging branch tells."""

    #: Milliseconds since 1970, UTC.
    made_at: int
    owner: str


def check_repository(name: str) -> str:
    """The name, if LakeFS allows it for a repository.

    Raises:
        StoreError: it does not.
    """
    if not _REPOSITORY.fullmatch(name):
        raise StoreError(
            f"LakeFS does not allow the repository name '{name}': it must be 3 to 63 lower-case "
            f"letters, digits and '-'."
        )
    return name


def encoded(branch: str) -> str:
    """The branch in LakeFS that holds `branch`."""
    if _PLAIN.fullmatch(branch) and not branch.startswith(OURS):
        return branch
    return _ENCODED + _OTHER.sub(_code, branch)


def decoded(name: str) -> str | None:
    """The branch that a branch in LakeFS holds; none if it is one of our own."""
    if name.startswith(_ENCODED):
        return _CODE.sub(_uncode, name.removeprefix(_ENCODED))
    return None if name.startswith(OURS) else name


def root_name(branch: BranchName) -> str:
    """Where the chain of a branch begins."""
    return f"{OURS}root-{_digest(str(branch))[:40]}"


def claims_prefix(branch: BranchName) -> str:
    """What the names of all claims on a branch start with."""
    return f"{OURS}claim-{_digest(str(branch))[:16]}-"


def claim_name(branch: BranchName, input_ref: str) -> str:
    """The branch whose creation is the claim on `branch` after `input_ref`."""
    return claims_prefix(branch) + _digest(f"{branch}\0{input_ref}")[:40]


def stage_name(owner: str, at: int) -> str:
    """A name that nobody has had, for what `owner` stages."""
    return f"{STAGE}{at:x}-{secrets.token_hex(8)}-{owner_name(owner)}"


def owner_name(owner: str) -> str:
    """The owner as far as the name of a branch can tell."""
    return _OTHER.sub("_", owner)[:_OWNER_LENGTH]


def parse_stage(name: str) -> StageName | None:
    """Reads the name of a staging branch; none for any other."""
    found = _STAGE.fullmatch(name)
    return StageName(int(found[1], 16), found[2]) if found else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _code(found: re.Match[str]) -> str:
    return "".join(f"_{byte:02x}" for byte in found[0].encode())


def _uncode(found: re.Match[str]) -> str:
    return bytes.fromhex(found[0].replace("_", "")).decode(errors="replace")
