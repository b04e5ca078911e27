"""Versioned files as tasks declare and exchange them. Nothing here touches a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, field_validator

from handrail.contracts.guards import Guardrail
from handrail.errors import TaskDefinitionError


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


NonBlank = Annotated[str, AfterValidator(_not_blank)]


class WorkspaceSpec(BaseModel):
    """What a task does with its workspace.

    Args:
        prefix: folder of the repository that the task sees as its root; `"/"` is all of it.
        pre: guardrails on the files before the body runs.
        post: guardrails on the files that the body leaves.
        read_only: the body's changes, if any, are thrown away and nothing is published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = "/"
    pre: list[Guardrail] = []
    post: list[Guardrail] = []
    read_only: bool = False

    @field_validator("prefix")
    @classmethod
    def _relative_folder(cls, prefix: str) -> str:
        prefix = prefix.strip()
        if prefix == "/":
            return prefix
        relative = prefix.lstrip("/")
        segments = relative.split("/")
        if "\\" in relative or "\0" in relative or any(s in ("", ".", "..") for s in segments):
            raise ValueError(f"prefix {prefix!r} must be '/' or a plain folder such as 'a/b'")
        return relative


class WorkspaceOutput(BaseModel):
    """A published state of a branch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: NonBlank
    branch: NonBlank
    ref_type: Literal["commit"] = "commit"
    ref: NonBlank


class WorkspaceInput(BaseModel):
    """The state of a branch that a task starts from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: NonBlank
    branch: NonBlank
    ref_type: Literal["commit"] = "commit"
    ref: NonBlank

    def published_output(self, ref: str) -> WorkspaceOutput:
        """The same branch at `ref`."""
        return WorkspaceOutput(repository=self.repository, branch=self.branch, ref=ref)


@dataclass(frozen=True)
class StagedWorkspace:
    """A commit that is stored and not yet published."""

    repository: str
    branch: str
    commit: str


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


class BranchName(NamedTuple):
    """A branch of a repository, written `repository@branch`."""

    repository: str
    branch: str = "main"

    def __str__(self) -> str:
        return f"{self.repository}@{self.branch}"

    @classmethod
    def parse(cls, text: str | BranchName) -> BranchName:
        """Reads `"songs"` (branch main) or `"songs@dev"`.

        Raises:
            TaskDefinitionError: the name is not made of letters, digits, `.`, `_`, `-`, `/`.
        """
        if isinstance(text, BranchName):
            return text
        repository, _, branch = text.partition("@")
        name = cls(repository, branch or "main")
        for part in name:
            if not _NAME.fullmatch(part) or ".." in part or "//" in part or part.endswith("/"):
                raise TaskDefinitionError(
                    f"workspace {text!r}: expected 'repository' or 'repository@branch', made of "
                    f"letters, digits, '.', '_', '-' and '/'"
                )
        return name
