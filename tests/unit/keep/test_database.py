from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from handrail.errors import (
    StoreCorruptError,
    StoreError,
    StoreReadOnlyError,
    StoreVersionError,
)
from handrail.keep.database import Database
from handrail.keep.sqlite import SqliteJournal
from handrail.testing.stores import event, run_record, start


def test_a_database_of_a_newer_handrail_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "handrail.db"
    SqliteJournal(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(StoreVersionError, match=r"handrail\.db has format 3"):
        SqliteJournal(path)


def test_a_database_of_an_older_handrail_is_brought_to_the_present_format(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    tables = ("CREATE TABLE songs (title)",)
    Database(path, tables, 1).close()
    migrations = {2: ("ALTER TABLE songs ADD COLUMN year",), 3: ("CREATE TABLE singers (name)",)}
    for _ in range(2):
        database = Database(path, tables, 3, migrations)
        assert database.rows("SELECT title, year FROM songs, singers") == []
        assert database.row("PRAGMA user_version") == (3,)
        database.close()


def test_a_migration_that_fails_leaves_the_older_format(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    tables = ("CREATE TABLE songs (title)",)
    Database(path, tables, 1).close()
    with pytest.raises(StoreError):
        Database(path, tables, 2, {2: ("CREATE TABLE singers (name)", "CREATE TABLE songs (a)")})
    database = Database(path, tables, 1)
    assert database.rows("SELECT name FROM sqlite_master") == [("songs",)]
    database.close()


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "handrail.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title)")
    connection.close()
    with pytest.raises(StoreCorruptError, match="another program"):
        SqliteJournal(path)


def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "handrail.db"
    path.write_bytes(b"garbage " * 1000)
    with pytest.raises(StoreCorruptError, match="Restore it"):
        SqliteJournal(path)


@pytest.mark.parametrize("left_open", [False, True])
def test_a_read_only_folder_is_read_and_not_written(guarded: Path, left_open: bool) -> None:
    path = guarded / "handrail.db"
    journal = SqliteJournal(path)
    start(journal)
    if not left_open:
        journal.close()
    path.chmod(0o400)
    guarded.chmod(0o500)
    try:
        reader = SqliteJournal(path)
        assert [run.run_id for run in reader.runs()] == ["r1"]
        assert len(reader.events("r1")) == 1
        with pytest.raises(StoreReadOnlyError, match=r"handrail\.db"):
            start(reader, run_record("r2"))
        with pytest.raises(StoreReadOnlyError, match=r"handrail\.db"):
            reader.append("r1", 1, [event()])
        reader.close()
    finally:
        guarded.chmod(0o700)
        journal.close()


def test_a_missing_database_in_a_read_only_folder_is_told(guarded: Path) -> None:
    guarded.chmod(0o500)
    try:
        with pytest.raises(StoreReadOnlyError, match=r"handrail\.db"):
            SqliteJournal(guarded / "handrail.db")
    finally:
        guarded.chmod(0o700)


def test_a_name_that_means_something_in_an_address_is_fine(guarded: Path) -> None:
    folder = guarded / "a?b#c %41"
    folder.mkdir()
    journal = SqliteJournal(folder / "handrail.db")
    start(journal)
    journal.close()
    (folder / "handrail.db").chmod(0o400)
    folder.chmod(0o500)
    try:
        reader = SqliteJournal(folder / "handrail.db")
        assert reader.run("r1").run_id == "r1"
        reader.close()
    finally:
        folder.chmod(0o700)
