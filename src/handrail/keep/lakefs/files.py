"""Versioned files in a repository of LakeFS."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from handrail.contracts.workspace import BranchName
from handrail.errors import StoreError, UnknownRefError
from handrail.keep.base import Adopted, Change, Commit, Conflict, TreeEntry
from handrail.keep.checkout import Checkout
from handrail.keep.faults import storage_faults
from handrail.keep.files import Claim, Claimed, Draft, OpenFiles, VersionedFiles
from handrail.keep.lakefs.claims import INPUT, Claims
from handrail.keep.lakefs.names import check_repository, decoded, encoded
from handrail.keep.lakefs.plan import LakeFSCheckout, Plan, plan_of
from handrail.keep.lakefs.server import CONNECTIONS, LakeFSCommit, LakeFSServer, StoredObject
from handrail.keep.lakefs.staging import OWNER, Staging
from handrail.keep.lakefs.tree import (
    LINK,
    ArrivedObjects,
    Listing,
    entry_of,
    fetch,
    folder_of,
    metadata_of,
    send,
    target_of,
)
from handrail.keep.removal import remove_folder
from handrail.keep.repository import HIDDEN
from handrail.keep.trees import Trees

_COMMIT_ID = re.compile(r"[0-9a-f]{64}")
_AT = "handrail-at"
#: Content that `open` keeps in memory; more of it goes to a file without a name.
_IN_MEMORY_BYTES = 8 << 20
_FOLDER_TYPE = "application/x-directory"

_Item = TypeVar("_Item")


class LakeFSFiles(VersionedFiles):
    """One repository of LakeFS; safe for threads.

    Args:
        storage_namespace: where `create` makes the repository if it is missing, such as
            `s3://bucket/songs`; none: it may not.
        workers: requests at one time when files are sent or received.
    """

    def __init__(
        self,
        server: LakeFSServer,
        *,
        storage_namespace: str | None = None,
        workers: int = CONNECTIONS,
    ) -> None:
        self.repository = check_repository(server.repository)
        self._server = server
        self._staging = Staging(server)
        self._claims = Claims(server, self._staging)
        self._storage_namespace = storage_namespace
        self._workers = workers

    # Branches

    def head(self, branch: BranchName) -> str | None:
        return self._claims.head(self._own(branch))

    def create(self, branch: BranchName) -> str:
        default = self._default_branch()
        while True:
            head = self.head(branch)
            if head is not None:
                return head
            source = self.head(default)
            if source is None:
                raise UnknownRefError(f"{default}, the default branch, is missing.")
            hidden = branch.branch.startswith(HIDDEN)
            self._server.create_branch(encoded(branch.branch), source, hidden=hidden)

    def _default_branch(self) -> BranchName:
        """The default branch of the repository, which is made if it may be."""
        name = self._server.default_branch()
        if name is None:
            if self._storage_namespace is None:
                raise UnknownRefError(
                    f"No repository '{self.repository}' on {self._server.endpoint}. Make it "
                    f"there, or say where its data may lie: storage_namespace='s3://...'."
                )
            self._server.create_repository(self._storage_namespace)
            name = self._server.default_branch() or "main"
        return BranchName(self.repository, decoded(name) or name)

    def drop(self, branch: BranchName) -> None:
        self._claims.drop(self._own(branch))

    def branches(self) -> dict[str, str]:
        found = {}
        for name, head in self._server.branches():
            branch = decoded(name)
            if branch is not None and not branch.startswith(HIDDEN):
                place = self._claims.place(BranchName(self.repository, branch))
                found[branch] = head if place is None or place.is_foreign else place.tip
        return dict(sorted(found.items()))

    # An attempt

    def recall(self, branch: BranchName, input_ref: str, logical_key: str) -> Adopted | None:
        return self._claims.recall(self._own(branch), input_ref, logical_key)

    def checkout(self, ref: str, prefix: str, folder: Path) -> LakeFSCheckout:
        self._commit(ref)
        inner = folder_of(prefix)
        listing = Listing.of(self._server.objects(ref, inner), inner)
        with storage_faults(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            incoming = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        objects = ArrivedObjects(incoming)
        try:
            wanted = list(objects.wanted(listing))
            with storage_faults(folder):
                self._each(lambda stored: objects.fetch(self._server, ref, stored), wanted)
            trees = Trees(objects)
            checkout = Checkout.create(trees, listing.put(trees), folder)
        finally:
            remove_folder(incoming)
        return LakeFSCheckout(ref, prefix, checkout.path, checkout, objects, listing)

    def stage(self, files: OpenFiles, draft: Draft) -> str:
        if not isinstance(files, LakeFSCheckout) or files.ref != draft.input_ref:
            raise StoreError(f"These files are no checkout of {draft.input_ref}.")
        plan = plan_of(files)
        if plan.is_empty():
            return draft.input_ref
        owner = draft.made_by.get("run", "")
        with self._staging.aside(owner, draft.input_ref, keep=True) as branch:
            self._apply(files, plan, branch)
            metadata = {
                **draft.made_by,
                INPUT: draft.input_ref,
                OWNER: owner,
                _AT: str(draft.at),
            }
            made = self._staging.commit_on(branch, draft.message, metadata, at=draft.at)
        if made is None:
            self._server.delete_branch(branch)
            return draft.input_ref
        return made

    def claim(self, claim: Claim) -> Claimed | Adopted | Conflict:
        self._own(claim.branch)
        return self._claims.claim(claim)

    def release(self, ref: str) -> None:
        with suppress(UnknownRefError):
            self._staging.release(ref)

    def repair(self, branch: BranchName) -> str:
        return self._claims.repair(self._own(branch))

    def take_in(self, branch: BranchName) -> str:
        """Makes what others put on a branch part of what was published; returns the new head.

        For people who know what was put there: no guardrail sees it.

        Raises:
            PublishFenceError: the same files were changed on both sides, or another was faster.
        """
        return self._claims.take_in(self._own(branch))

    def sweep(
        self,
        alive: Callable[[str], bool] = lambda owner: False,
        *,
        older_than_seconds: float = 3600,
    ) -> list[str]:
        return self._staging.sweep(alive, older_than_seconds)

    # Looking

    def entries(self, ref: str, prefix: str = "/") -> Iterator[tuple[str, TreeEntry]]:
        self._commit(ref)
        filled = ""
        # In reverse order a folder's content comes before the object that stands for it.
        found = []
        for stored in reversed(list(self._server.objects(ref, folder_of(prefix)))):
            if not stored.path.endswith("/"):
                found.append((stored.path, entry_of(stored)))
            elif not filled.startswith(stored.path) and stored.path != folder_of(prefix):
                found.append((stored.path.rstrip("/"), entry_of(stored)))
            filled = stored.path
        yield from reversed(found)

    def open(self, ref: str, path: str) -> BinaryIO:
        self._commit(ref)
        stored = self._server.stat(ref, path) or self._server.stat(ref, path.strip("/"))
        if stored is None or stored.path.endswith("/"):
            raise UnknownRefError(f"Nothing at '{path}' in {self.repository}@{ref}.")
        if LINK in stored.metadata:
            target = target_of(stored)
            raise UnknownRefError(
                f"'{path}' is a link to '{target}' in {self.repository}@{ref}. Read that instead."
            )
        with storage_faults(tempfile.gettempdir()):
            spooled = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115
            file = cast(BinaryIO, spooled)  # for the caller to close
            try:
                fetch(self._server, ref, stored, file)
                file.seek(0)
            except BaseException:
                file.close()
                raise
        return file

    def log(self, ref: str) -> Iterator[tuple[str, Commit]]:
        self._commit(ref)
        for commit in self._server.log(ref):
            yield commit.id, _told(commit)

    def diff(self, before: str, after: str) -> Iterator[Change]:
        for ref in (before, after):
            self._commit(ref)
        for kind, path in self._server.diff(before, after):
            old = None if kind == "added" else self._server.stat(before, path)
            fresh = None if kind == "removed" else self._server.stat(after, path)
            yield Change(
                kind,
                path.rstrip("/"),
                entry_of(old) if old else None,
                entry_of(fresh) if fresh else None,
            )

    def close(self) -> None:
        self._server.close()

    # Sending

    def _apply(self, files: LakeFSCheckout, plan: Plan, branch: str) -> None:
        inner = folder_of(files.prefix)

        def upload(item: tuple[str, TreeEntry]) -> None:
            path, entry = item
            self._upload(files, branch, inner, path, entry)

        def mode(item: tuple[str, TreeEntry]) -> None:
            path, entry = item
            metadata = metadata_of(entry, "", files.listing.files.get(path))
            self._server.set_metadata(branch, inner + path, metadata)

        def marker(path: str) -> None:
            empty = StoredObject(f"{inner}{path}/", "", 0, _FOLDER_TYPE)
            self._server.upload(branch, empty.path, lambda: [b""], 0, empty)

        with storage_faults(files.path):
            self._each(upload, plan.uploads)
        self._each(mode, plan.modes)
        self._each(marker, plan.markers)
        self._server.delete_objects(branch, [inner + path for path in plan.deletes])

    def _upload(
        self, files: LakeFSCheckout, branch: str, inner: str, path: str, entry: TreeEntry
    ) -> None:
        before = files.listing.files.get(path)
        kind = before.content_type if before else ""
        if entry.kind == "file":
            stored = StoredObject(inner + path, "", 0, kind, metadata_of(entry, "", before))
            send(self._server, branch, files.path / path, entry, stored)
            return
        content = files.objects.read_bytes(entry.digest)
        metadata = metadata_of(entry, content.decode(), before)
        stored = StoredObject(inner + path, "", 0, "", metadata)
        self._server.upload(branch, stored.path, lambda: [content], len(content), stored)

    def _each(self, act: Callable[[_Item], None], items: Iterable[_Item]) -> None:
        """Runs `act` on every item, some at a time; the first failure ends it."""
        todo = list(items)
        if len(todo) < 2:
            for item in todo:
                act(item)
            return
        pool = ThreadPoolExecutor(min(self._workers, len(todo)), "handrail-lakefs")
        try:
            for done in [pool.submit(act, item) for item in todo]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    # Checking

    def _commit(self, ref: str) -> LakeFSCommit:
        if not _COMMIT_ID.fullmatch(ref):
            raise UnknownRefError(
                f"'{ref}' is not a commit id (64 hexadecimal digits). A branch name is not "
                f"accepted where a commit is needed, because it may move while it is read."
            )
        return self._staging.commit(ref)

    def _own(self, branch: BranchName) -> BranchName:
        if branch.repository != self.repository:
            raise UnknownRefError(f"{branch} is no branch of repository '{self.repository}'.")
        return branch


def _told(commit: LakeFSCommit) -> Commit:
    """A commit as the rest of Handrail knows it."""
    made_by = {
        name: value
        for name, value in commit.metadata.items()
        if not name.startswith(("handrail-", ".lakefs"))
    }
    if commit.committer:
        made_by.setdefault("user", commit.committer)
    at = commit.metadata.get(_AT, "")
    return Commit(
        tree=commit.tree,
        parents=commit.parents,
        message=commit.message,
        at=int(at) if at.isdigit() else commit.created_at * 1000,
        made_by=made_by,
    )
