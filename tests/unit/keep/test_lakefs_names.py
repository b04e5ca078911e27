"""Names of branches in LakeFS."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.contracts.workspace import BranchName
from handrail.keep.lakefs.names import (
    claim_name,
    claims_prefix,
    decoded,
    encoded,
    owner_name,
    parse_stage,
    root_name,
    stage_name,
)

#: What LakeFS accepts: pkg/validator/validate.go.
ALLOWED = re.compile(r"^\w[-\w]*$", re.ASCII)


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_every_name_comes_back(name: str) -> None:
    assert ALLOWED.match(encoded(name))
    assert decoded(encoded(name)) == name


@given(st.text(alphabet="a_/.-~5f", min_size=1), st.text(alphabet="a_/.-~5f", min_size=1))
def test_two_names_are_two_branches(one: str, other: str) -> None:
    assert (encoded(one) == encoded(other)) == (one == other)


def test_usual_names_are_left_as_they_are() -> None:
    assert encoded("main") == "main"
    assert encoded("feature_1-x") == "feature_1-x"


@pytest.mark.parametrize("name", ["handrail-claim-x", "handrail-name-x", "handrail-"])
def test_a_user_cannot_name_one_of_ours(name: str) -> None:
    assert encoded(name).startswith("handrail-name-")
    assert decoded(encoded(name)) == name


def test_our_own_branches_are_no_users() -> None:
    branch = BranchName("songs")
    assert decoded(root_name(branch)) is None
    assert decoded(claim_name(branch, "a" * 64)) is None
    assert decoded(stage_name("run", 1)) is None


def test_there_is_one_claim_for_a_branch_and_an_input() -> None:
    songs, dev = BranchName("songs"), BranchName("songs", "dev")
    names = {claim_name(branch, ref * 64) for branch in (songs, dev) for ref in "ab"}
    assert len(names) == 4
    assert claim_name(songs, "a" * 64) == claim_name(songs, "a" * 64)
    assert claim_name(songs, "a" * 64).startswith(claims_prefix(songs))


def test_a_staging_branch_tells_whose_it_is_and_since_when() -> None:
    name = stage_name("run-01", 1_700_000_000_123)
    found = parse_stage(name)
    assert found is not None
    assert (found.made_at, found.owner) == (1_700_000_000_123, "run-01")
    assert name != stage_name("run-01", 1_700_000_000_123)
    assert parse_stage("main") is None


@given(st.text())
def test_any_owner_fits_into_a_name(owner: str) -> None:
    name = stage_name(owner, 5)
    assert ALLOWED.match(name)
    assert len(name) < 130
    found = parse_stage(name)
    assert found is not None
    assert found.owner == owner_name(owner)
