"""Versioned files kept as objects of our own, their branches beside the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from handrail.contracts.workspace import BranchName
from handrail.errors import PublishFenceError, StoreError, UnknownRefError
from handrail.keep.base import (
    Adopted,
    Change,
    Claim,
    Claimed,
    Commit,
    Conflict,
    Heads,
    TreeEntry,
)
from handrail.keep.checkout import Checkout
from handrail.keep.files import Draft, OpenFiles, VersionedFiles
from handrail.keep.repository import Repository
from handrail.keep.trees import Trees

#: Makes the files of a tree in a folder.
MakeCheckout = Callable[[Trees, str, Path], Checkout]


class EmbeddedOpenFiles(OpenFiles):
    """Files of one commit, with what is known of them."""

    def __init__(self, ref: str, prefix: str, checkout: Checkout) -> None:
        self.ref = ref
        self.prefix = prefix
        self.path = checkout.path
        self.checkout = checkout


class EmbeddedFiles(VersionedFiles):
    """One repository in a store of objects.

    A staged commit is an object like any other, so there is nothing to release or to sweep: the
    collection of garbage removes what nobody published.

    Args:
        make: makes checkouts; copies by default.
    """

    def __init__(
        self,
        repository: str,
        trees: Trees,
        heads: Heads,
        make: MakeCheckout = Checkout.create,
    ) -> None:
        self.repository = repository
        self.trees = trees
        self._heads = heads
        self._make = make
        self._named = Repository(repository, trees, heads)

    # Branches

    def head(self, branch: BranchName) -> str | None:
        found = self._heads.head(branch)
        recorded = self._heads.moved_to(branch)
        if found != recorded:
            raise PublishFenceError(str(branch), recorded or "", found)
        return found

    def create(self, branch: BranchName) -> str:
        found = self.head(branch)
        if found is not None:
            return found
        main = BranchName(self.repository)
        if branch == main:
            return self._named.create()
        self._heads.move_head(branch, None, self.create(main))
        return self.create(branch)

    def drop(self, branch: BranchName) -> None:
        self._heads.drop_branch(branch)

    def branches(self) -> dict[str, str]:
        return self._named.branches()

    # An attempt

    def recall(self, branch: BranchName, input_ref: str, logical_key: str) -> Adopted | None:
        won = self._heads.claimed(branch, input_ref)
        if won is None or won.logical_key != logical_key:
            return None
        return Adopted(won.attempt_id, won.output_ref, won.result)

    def checkout(self, ref: str, prefix: str, folder: Path) -> EmbeddedOpenFiles:
        made = self._make(self.trees, self.folder(ref, prefix), folder)
        return EmbeddedOpenFiles(ref, prefix, made)

    def stage(self, files: OpenFiles, draft: Draft) -> str:
        assert isinstance(files, EmbeddedOpenFiles)
        return self.commit(draft, files.prefix, files.checkout.stage())

    def commit(self, draft: Draft, prefix: str, tree: str) -> str:
        """A commit after the draft's input ref, with `tree` as its folder `prefix`.

        The input ref if that changes nothing.
        """
        before = self.trees.commit(draft.input_ref)
        tree = self.trees.replace(before.tree, prefix, tree)
        if tree == before.tree:
            return draft.input_ref
        return self._put(
            Commit(tree, (draft.input_ref,), draft.message, draft.at, dict(draft.made_by))
        )

    def claim(self, claim: Claim) -> Claimed | Adopted | Conflict:
        if claim.input_ref == claim.output_ref:
            return Claimed(claim.output_ref)
        if not self._comes_after(claim.output_ref, claim.input_ref):
            raise StoreError(
                f"Commit {claim.output_ref} does not come after {claim.input_ref}. "
                f"A branch only moves forward."
            )
        return self._heads.claim(claim)

    def _comes_after(self, ref: str, before: str) -> bool:
        waiting, seen = [ref], {ref}
        while waiting:
            for parent in self.trees.commit(waiting.pop()).parents:
                if parent == before:
                    return True
                if parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
        return False

    def release(self, ref: str) -> None:
        """Nothing is held."""

    def repair(self, branch: BranchName) -> str:
        try:
            self.head(branch)
        except PublishFenceError as error:
            return str(error)
        return ""

    def sweep(
        self,
        alive: Callable[[str], bool] = lambda owner: False,
        *,
        older_than_seconds: float = 3600,
    ) -> list[str]:
        return []

    # Commits made of commits

    def folder(self, ref: str, prefix: str) -> str:
        """Digest of a commit's folder.

        Raises:
            UnknownRefError: there is no such commit, or a file where the folder should be.
        """
        return self.trees.subtree(self.trees.commit(ref).tree, prefix)

    def compose(self, base_ref: str, parts: Sequence[tuple[str, str]]) -> str:
        """The commit that holds all the folders that writers left, over a commit.

        The same parts make the same commit, so a resume finds it again.

        Args:
            parts: folder and ref of each writer, two at least, in order of acceptance.
        """
        trees = self.trees
        commits = {ref: trees.commit(ref) for _, ref in parts}
        tree = trees.commit(base_ref).tree
        for prefix, ref in parts:
            tree = trees.replace(tree, prefix, trees.subtree(commits[ref].tree, prefix))
        for ref in (base_ref, *reversed(commits)):
            if trees.commit(ref).tree == tree:
                return ref
        inner = {parent for commit in commits.values() for parent in commit.parents}
        latest = [ref for ref in commits if ref not in inner and ref != base_ref]
        makers = [commits[ref].made_by for ref in latest]
        return self._put(
            Commit(
                tree=tree,
                parents=tuple(latest),
                message=f"composed: {', '.join(maker.get('task', '?') for maker in makers)}",
                at=max(commits[ref].at for ref in latest),
                made_by={"run": makers[0].get("run", ""), "input_ref": base_ref},
            )
        )

    def _put(self, commit: Commit) -> str:
        ref = self.trees.put_commit(commit)
        self.trees.objects.flush()
        return ref

    # Looking

    def entries(self, ref: str, prefix: str = "/") -> Iterator[tuple[str, TreeEntry]]:
        tree = self.trees.commit(ref).tree
        below = prefix.strip("/")
        return self.trees.walk(self.trees.subtree(tree, prefix), f"{below}/" if below else "")

    def open(self, ref: str, path: str) -> BinaryIO:
        entry = self.trees.find(self.trees.commit(ref).tree, path)
        if entry is None or entry.kind != "file":
            raise UnknownRefError(f"No file '{path}' in {self.repository}@{ref}.")
        return self.trees.objects.open(entry.digest)

    def log(self, ref: str) -> Iterator[tuple[str, Commit]]:
        return self.trees.log(ref)

    def diff(self, before: str, after: str) -> Iterator[Change]:
        trees = self.trees
        return trees.diff(trees.commit(before).tree, trees.commit(after).tree)
