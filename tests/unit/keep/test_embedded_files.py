"""The embedded store does what every store of versioned files must do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from handrail.contracts.workspace import BranchName
from handrail.keep.embedded_files import EmbeddedFiles
from handrail.keep.files import Draft, VersionedFiles
from handrail.keep.memory import MemoryJournal, MemoryObjects
from handrail.keep.objects import FileObjects
from handrail.keep.sqlite import SqliteJournal
from handrail.keep.trees import Trees
from handrail.testing.files import VersionedFilesContract


class TestEmbeddedFiles(VersionedFilesContract):
    """In SQLite and a folder."""

    def make(self, folder: Path) -> EmbeddedFiles:
        self.folder = folder
        journal = SqliteJournal(folder / "handrail.db")
        (folder / "objects").mkdir(exist_ok=True)
        return EmbeddedFiles("songs", Trees(FileObjects(folder / "objects")), journal)

    def another(self, files: VersionedFiles) -> EmbeddedFiles:
        return self.make(self.folder)

    def intrude(self, files: VersionedFiles, branch: BranchName) -> str:
        assert isinstance(files, EmbeddedFiles)
        head = files.head(branch)
        assert head is not None
        opened = files.checkout(head, "/", self.folder / "foreign")
        (opened.path / "foreign.txt").write_text("f")
        foreign = files.stage(opened, Draft(head, "by hand", 0))
        connection = sqlite3.connect(self.folder / "handrail.db")
        connection.execute("UPDATE heads SET commit_id = ? WHERE branch = ?", (foreign, "main"))
        connection.commit()
        connection.close()
        return foreign


class TestFilesInMemory(VersionedFilesContract):
    """In memory."""

    def make(self, folder: Path) -> EmbeddedFiles:
        return EmbeddedFiles("songs", Trees(MemoryObjects()), MemoryJournal())

    def intrude(self, files: VersionedFiles, branch: BranchName) -> str:
        pytest.skip("nobody else reaches a store in memory")
