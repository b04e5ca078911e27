"""Every store of versioned files against the model. How many examples: `FAULTS_STORES`.

Those that wait for a server are tried with a tenth as many.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from pydantic import SecretStr

from handrail.contracts.workspace import BranchName
from handrail.keep.embedded_files import EmbeddedFiles
from handrail.keep.files import VersionedFiles
from handrail.keep.lakefs.files import LakeFSFiles
from handrail.keep.lakefs.names import encoded
from handrail.keep.lakefs.server import LakeFSServer
from handrail.keep.memory import MemoryJournal, MemoryObjects
from handrail.keep.objects import FileObjects
from handrail.keep.postgres import PostgresJournal
from handrail.keep.sqlite import SqliteJournal
from handrail.keep.trees import Trees
from tests.faults.store_machine import FilesMachine
from tests.faults.test_faults import count_of
from tests.services import lakefs

FOREIGN = "f" * 64
_MOVE = "UPDATE heads SET commit_id = ? WHERE repository = ? AND branch = ?"


def try_out(machine: type[FilesMachine], short: int, share: int = 1) -> None:
    """Walks through the machine at random."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=max(count_of("FAULTS_STORES", short * share) // share, short),
            stateful_step_count=25,
            deadline=None,
            derandomize="FAULTS_STORES" not in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )


class InMemory(FilesMachine):
    has_intruders = False

    def make(self, folder: Path) -> VersionedFiles:
        return EmbeddedFiles("songs", Trees(MemoryObjects()), MemoryJournal())


class InSqlite(FilesMachine):
    def make(self, folder: Path) -> VersionedFiles:
        self.place = folder
        (folder / "objects").mkdir(exist_ok=True)
        self.journal = SqliteJournal(folder / "handrail.db")
        return EmbeddedFiles("songs", Trees(FileObjects(folder / "objects")), self.journal)

    def another(self) -> VersionedFiles:
        return self.make(self.place)

    def intrude(self, branch: BranchName) -> None:
        connection = sqlite3.connect(self.place / "handrail.db")
        connection.execute(_MOVE, (FOREIGN, *branch))
        connection.commit()
        connection.close()


@pytest.mark.timeout(7200)
def test_a_store_in_memory_does_as_the_model() -> None:
    try_out(InMemory, 40)


@pytest.mark.timeout(7200)
def test_a_store_in_sqlite_does_as_the_model() -> None:
    try_out(InSqlite, 25)


@pytest.mark.timeout(7200)
def test_a_store_in_postgres_does_as_the_model(postgres_url: str) -> None:
    class InPostgres(FilesMachine):
        journals: list[PostgresJournal]

        def make(self, folder: Path) -> VersionedFiles:
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute("DROP SCHEMA IF EXISTS handrail CASCADE")
            self.place = folder
            self.journals = []
            return self.another()

        def another(self) -> VersionedFiles:
            self.journals.append(PostgresJournal(postgres_url))
            objects = FileObjects(self.place / "objects")
            return EmbeddedFiles("songs", Trees(objects), self.journals[-1])

        def intrude(self, branch: BranchName) -> None:
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute(_MOVE.replace("?", "%s"), (FOREIGN, *branch))

        def teardown(self) -> None:
            for journal in self.journals:
                journal.close()
            super().teardown()

    try_out(InPostgres, 4, share=10)


@pytest.mark.timeout(7200)
def test_a_store_in_lakefs_does_as_the_model(lakefs_address: lakefs.LakeFSAddress) -> None:
    endpoint, access_key, secret = lakefs_address
    port = int(endpoint.rpartition(":")[2])

    class InLakeFS(FilesMachine):
        is_open_at_first = True

        def make(self, folder: Path) -> VersionedFiles:
            self.repository = lakefs.make_repository(port)
            return self.another()

        def another(self) -> VersionedFiles:
            server = LakeFSServer(endpoint, access_key, SecretStr(secret), self.repository)
            return LakeFSFiles(server)

        def intrude(self, branch: BranchName) -> None:
            name = encoded(branch.branch)
            lakefs.commit(port, branch.repository, name, {"foreign.txt": b"f"})

    try_out(InLakeFS, 2, share=20)
