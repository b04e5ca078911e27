from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from handrail.contracts.workspace import BranchName, WorkspaceInput, WorkspaceSpec
from handrail.errors import TaskDefinitionError


@pytest.mark.parametrize(
    ("given", "kept"),
    [("/", "/"), (" / ", "/"), ("a", "a"), ("/a/b", "a/b"), ("//a", "a"), (" a ", "a")],
)
def test_a_prefix_is_a_folder_of_the_repository(given: str, kept: str) -> None:
    assert WorkspaceSpec(prefix=given).prefix == kept


@pytest.mark.parametrize("prefix", ["", " ", "a/", "a//b", "a/../b", ".", "a\\b", "a\0b", "/a/"])
def test_a_prefix_that_is_no_plain_folder_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="must be '/' or a plain folder"):
        WorkspaceSpec(prefix=prefix)


def test_a_spec_is_frozen_and_closed() -> None:
    spec = WorkspaceSpec()
    assert (spec.prefix, spec.pre, spec.post, spec.read_only) == ("/", [], [], False)
    with pytest.raises(ValidationError):
        spec.read_only = True  # type: ignore[misc]
    with pytest.raises(ValidationError):
        WorkspaceSpec(readonly=True)  # type: ignore[call-arg]


def test_an_input_knows_the_output_it_becomes() -> None:
    before = WorkspaceInput(repository="songs", branch="main", ref_type="commit", ref="a1")
    after = before.published_output("b2")
    assert after.model_dump() == {
        "repository": "songs",
        "branch": "main",
        "ref_type": "commit",
        "ref": "b2",
    }


@pytest.mark.parametrize("field", ["repository", "branch", "ref"])
@pytest.mark.parametrize("value", ["", "  ", None, 3])
def test_a_blank_place_is_refused(field: str, value: Any) -> None:
    values = {"repository": "songs", "branch": "main", "ref": "a1", field: value}
    with pytest.raises(ValidationError):
        WorkspaceInput(**values)


def test_only_commits_are_refs() -> None:
    with pytest.raises(ValidationError, match="ref_type"):
        WorkspaceInput(repository="a", branch="b", ref_type="branch", ref="c")


def test_a_branch_is_written_after_the_repository() -> None:
    assert BranchName.parse("songs") == BranchName("songs", "main")
    assert BranchName.parse("songs@dev/a") == BranchName("songs", "dev/a")
    assert str(BranchName.parse("songs@dev")) == "songs@dev"
    assert BranchName.parse(BranchName("a", "b")) == BranchName("a", "b")


@pytest.mark.parametrize("text", ["", "@dev", "a b", "a@b@c", "../a", "a/", "a//b", "~x", "a@~x"])
def test_a_branch_name_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(TaskDefinitionError, match="expected 'repository' or 'repository@branch'"):
        BranchName.parse(text)
