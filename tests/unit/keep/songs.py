"""A repository called songs in memory, and how to write to it."""

from __future__ import annotations

import os
from pathlib import Path

from handrail.contracts.workspace import BranchName
from handrail.keep.base import Commit
from handrail.keep.checkout import Checkout
from handrail.keep.memory import MemoryJournal, MemoryObjects
from handrail.keep.repository import Repository
from handrail.keep.trees import Trees


class Songs:
    """A repository called songs, and how to write to it."""

    def __init__(self, folder: Path) -> None:
        self.trees = Trees(MemoryObjects())
        self.heads = MemoryJournal()
        self.repository = Repository("songs", self.trees, self.heads)
        self.folder = folder

    def write(self, files: dict[str, str], name: str) -> Path:
        """A folder with these files; a value "-> x" is a link to x."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        for path, text in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                os.symlink(text[3:], place)
            else:
                place.write_text(text, encoding="utf-8")
        return folder

    def commit(
        self,
        files: dict[str, str],
        branch: str = "main",
        at: int = 1,
        parents: tuple[str, ...] | None = None,
    ) -> str:
        """Commits these files, and no others, on `branch`."""
        name = BranchName("songs", branch)
        before = self.heads.head(name)
        folder = self.write(files, f"{branch}-{at}")
        tree = Checkout(self.trees, self.trees.empty_tree, folder).stage()
        if parents is None:
            parents = (before,) if before else ()
        commit_id = self.trees.put_commit(Commit(tree, parents, f"commit {at}", at))
        assert self.heads.move_head(name, before, commit_id)
        return commit_id
