"""What attempts stage in LakeFS: hidden branches of their own, until it is published."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from handrail.errors import StoreError, UnknownRefError
from handrail.keep.lakefs.names import STAGE, parse_stage, stage_name
from handrail.keep.lakefs.server import LakeFSCommit, LakeFSServer

_log = logging.getLogger(__name__)

#: In the metadata of commits: whose they are, and the branch that they were made on.
OWNER = "handrail-owner"
MARK = "handrail-mark"

_REMEMBERED = 4096


class Staging:
    """The staging branches and commits of one repository.

    Args:
        now: the clock, in milliseconds since 1970, UTC.
    """

    def __init__(
        self, server: LakeFSServer, *, now: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._server = server
        self._now = now
        # Commits never change.
        self._commits: dict[str, LakeFSCommit] = {}

    def commit(self, commit_id: str) -> LakeFSCommit:
        """Reads a commit.

        Raises:
            UnknownRefError: there is no such commit.
        """
        found = self._commits.get(commit_id) or self._server.commit(commit_id)
        if found is None or found.id != commit_id:
            raise UnknownRefError(f"No commit {commit_id} in {self._server.repository}.")
        if len(self._commits) >= _REMEMBERED:
            self._commits.clear()
        self._commits[commit_id] = found
        return found

    @contextmanager
    def aside(self, owner: str, ref: str, *, keep: bool = False) -> Iterator[str]:
        """A hidden branch of our own at a commit, removed at the end.

        Args:
            keep: leave it if all went well.
        """
        name = stage_name(owner, self._now())
        try:
            self._server.create_branch(name, ref)
            yield name
        except BaseException:
            self._remove(name)
            raise
        if not keep:
            self._remove(name)

    def commit_on(
        self,
        branch: str,
        message: str,
        metadata: dict[str, str],
        *,
        at: int | None = None,
        allow_empty: bool = False,
    ) -> str | None:
        """Commits on a branch of our own; none if there was nothing to commit.

        A commit whose answer was lost is found by its mark, the branch's name.
        """
        metadata = {**metadata, MARK: branch}
        made = self._server.make_commit(
            branch,
            message,
            metadata,
            at_seconds=None if at is None else at // 1000,
            allow_empty=allow_empty,
        )
        if made is not None:
            return made.id
        head = self._server.branch(branch)
        if head is None or self.commit(head).metadata.get(MARK) != branch:
            return None
        return head

    def release(self, ref: str) -> None:
        """Removes the branch that a commit was staged on."""
        name = self.commit(ref).metadata.get(MARK, "")
        if parse_stage(name) is not None:
            self._remove(name)

    def sweep(self, alive: Callable[[str], bool], older_than_seconds: float) -> list[str]:
        """Removes staging branches that nobody works on; returns their names."""
        before = self._now() - int(older_than_seconds * 1000)
        removed = []
        for name, _ in list(self._server.branches(STAGE, hidden=True)):
            found = parse_stage(name)
            if found is None or found.made_at > before or alive(found.owner):
                continue
            self._server.delete_branch(name)
            removed.append(name)
        return removed

    def _remove(self, name: str) -> None:
        try:
            self._server.delete_branch(name)
        except StoreError as error:
            _log.warning("Staging branch %s was left for the next sweep: %s", name, error)
