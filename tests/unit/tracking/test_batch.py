from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from handrail.tracking.batch import Row, Rows


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    opened.row_factory = sqlite3.Row
    opened.execute(
        "CREATE TABLE songs (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL UNIQUE,"
        " plays INTEGER NOT NULL DEFAULT 0, mood TEXT)"
    )
    yield opened
    opened.close()


@pytest.fixture
def songs(connection: sqlite3.Connection) -> Rows:
    return Rows(connection, "songs", "title", ("plays", "mood"))


def kept(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return [tuple(row) for row in connection.execute("SELECT * FROM songs ORDER BY id")]


def test_rows_are_read_by_name_and_by_id(connection: sqlite3.Connection, songs: Rows) -> None:
    connection.execute("INSERT INTO songs (title, plays) VALUES ('a', 1), ('b', 2)")
    songs.read(["a", "unknown"])
    assert songs.get("a") == {"id": 1, "title": "a", "plays": 1, "mood": None}
    assert (songs.id_of("a"), songs.id_of("unknown"), songs.get("b")) == (1, None, None)
    assert songs.with_id(2)["plays"] == 2
    assert songs.id_of("b") == 2


def test_added_rows_get_the_ids_that_the_table_would_give(
    connection: sqlite3.Connection, songs: Rows
) -> None:
    connection.execute("INSERT INTO songs (title) VALUES ('gone')")
    connection.execute("DELETE FROM songs")
    assert [songs.add(title, {"plays": 1}) for title in "ab"] == [2, 3]
    songs.write()
    connection.execute("INSERT INTO songs (title) VALUES ('c')")
    assert kept(connection) == [(2, "a", 1, None), (3, "b", 1, None), (4, "c", 0, None)]


def test_rows_without_a_column_get_its_default(connection: sqlite3.Connection, songs: Rows) -> None:
    rows: list[Row] = [{}, {"mood": "low"}, {"plays": 3}, {"mood": "high"}]
    for place, row in enumerate(rows):
        songs.add(str(place), row)
    songs.write()
    assert kept(connection) == [
        (1, "0", 0, None), (2, "1", 0, "low"), (3, "2", 3, None), (4, "3", 0, "high")
    ]  # fmt: skip


def test_changes_are_seen_and_written(connection: sqlite3.Connection, songs: Rows) -> None:
    connection.execute("INSERT INTO songs (title) VALUES ('stored')")
    songs.read(["stored"])
    added = songs.add("added", {"plays": 1})
    for row_id in (1, added):
        songs.change(row_id, {"plays": 5})
        songs.change(row_id, {"mood": "low"})
        songs.change(row_id, {})
    found = songs.get("stored")
    assert found is not None
    assert (found["plays"], found["mood"]) == (5, "low")
    songs.write()
    assert kept(connection) == [(1, "stored", 5, "low"), (2, "added", 5, "low")]


def test_many_rows_take_few_statements(connection: sqlite3.Connection, songs: Rows) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    titles = [str(number) for number in range(1_000)]
    songs.read(titles)
    for title in titles:
        songs.add(title, {"plays": 1})
    songs.write()
    connection.set_trace_callback(None)
    assert len(kept(connection)) == 1_000
    assert len(statements) < 50
