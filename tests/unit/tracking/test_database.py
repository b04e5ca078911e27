from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from handrail.errors import StoreCorruptError, StoreReadOnlyError, StoreVersionError
from handrail.tracking import SqliteTrackingStore
from handrail.tracking.wire import SyncPipeline

SYNC = SyncPipeline(name="p", pipeline_type_name="t")


def test_what_is_made_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    with SqliteTrackingStore(folder / "tracking.db") as store:
        store.sync_pipeline(SYNC)
        found = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert found == {"tracking.db": 0o600, "tracking.db-wal": 0o600, "tracking.db-shm": 0o600}


def test_what_is_stored_is_there_when_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "tracking.db"
    with SqliteTrackingStore(path) as store:
        store.sync_pipeline(SYNC)
    with SqliteTrackingStore(path) as store:
        assert [view.name for view in store.pipelines()] == ["p"]


def test_a_store_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "tracking.db"
    SqliteTrackingStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreVersionError, match="has format 99"):
        SqliteTrackingStore(path)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tracking.db"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(StoreCorruptError, match=r"tracking\.db is not a tracking database"):
        SqliteTrackingStore(path)
    assert path.read_bytes().startswith(b"something else")


def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "tracking.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(StoreCorruptError, match="is not a tracking database"):
        SqliteTrackingStore(path)


def test_damage_is_found_when_it_is_met(tmp_path: Path) -> None:
    path = tmp_path / "tracking.db"
    with SqliteTrackingStore(path) as store:
        store.sync_pipeline(SYNC)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with SqliteTrackingStore(path) as store, pytest.raises(StoreCorruptError, match="is damaged"):
        store.pipelines()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreReadOnlyError, match=r"tracking\.db cannot be opened"):
        SqliteTrackingStore(tmp_path / "file" / "tracking.db")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_uses_a_connection_of_its_own(tmp_path: Path) -> None:
    store = SqliteTrackingStore(tmp_path / "tracking.db")
    store.sync_pipeline(SYNC)
    child = os.fork()
    if child == 0:
        try:
            store.sync_pipeline(SyncPipeline(name="from the child", pipeline_type_name="t"))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    store.sync_pipeline(SyncPipeline(name="q", pipeline_type_name="t"))
    assert [view.name for view in store.pipelines()] == ["from the child", "p", "q"]
    store.close()
