"""Rows that one transaction reads, changes and writes by the hundred.

A statement costs more than what it does to a row, so rows are read by few statements, changed
in memory, and written by few statements.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from handrail.tracking.rows import as_mapping

#: Values by column. A column that is not there is NULL or has its default.
Row: TypeAlias = dict[str, Any]

# SQLite before 3.32 takes 999 values in a statement; no table here has 40 columns.
_READ_AT_ONCE = 500
_WRITTEN_AT_ONCE = 25


class Rows:
    """Rows of a table that has an `id` (AUTOINCREMENT) and a unique name.

    The transaction must exclude other writers: ids of added rows are given before they are
    written, as SQLite would give them (https://www.sqlite.org/autoinc.html).

    Args:
        named: the column with the name.
        columns: what is read of a row besides `id` and name.
    """

    def __init__(
        self, connection: sqlite3.Connection, table: str, named: str, columns: Sequence[str]
    ) -> None:
        self._connection = connection
        self._table = table
        self._named = named
        self._columns = ("id", named, *columns)
        self._by_name: dict[str, sqlite3.Row | Row] = {}
        self._by_id: dict[int, sqlite3.Row | Row] = {}
        self._added: dict[int, Row] = {}
        self._changed: dict[int, Row] = {}
        self._last_id = -1

    def read(self, names: Iterable[str]) -> None:
        """Reads the rows of these names, as far as there are any."""
        wanted = list(dict.fromkeys(names))
        for start in range(0, len(wanted), _READ_AT_ONCE):
            self._read(self._named, wanted[start : start + _READ_AT_ONCE])

    def _read(self, column: str, values: Sequence[Any]) -> None:
        query = (
            f"SELECT {', '.join(self._columns)} FROM {self._table}"
            f" WHERE {column} IN ({_marks(len(values))})"
        )
        for row in self._connection.execute(query, values):
            self._by_name[row[1]] = self._by_id[row[0]] = row

    def id_of(self, name: str) -> int | None:
        """The id of the row of that name, if it was read or added."""
        row = self._by_name.get(name)
        return None if row is None else row["id"]

    def get(self, name: str) -> Row | None:
        """The row of that name, if it was read or added."""
        row = self._by_name.get(name)
        return None if row is None else _mapping(row)

    def with_id(self, row_id: int) -> sqlite3.Row | Row:
        """The row with that id, which must exist; it is read if it was not."""
        if row_id not in self._by_id:
            self._read("id", (row_id,))
        return self._by_id[row_id]

    def add(self, name: str, row: Row) -> int:
        """Adds a row; its id."""
        if not self._added:
            query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
            found = self._connection.execute(query, (self._table,)).fetchone()
            self._last_id = found["seq"] if found else 0
        self._last_id = row_id = self._last_id + 1
        row["id"], row[self._named] = row_id, name
        self._by_name[name] = self._by_id[row_id] = self._added[row_id] = row
        return row_id

    @property
    def added(self) -> Iterable[Row]:
        """The rows that were added."""
        return self._added.values()

    def change(self, row_id: int, columns: Mapping[str, Any]) -> None:
        """Changes columns of the row with that id, which was read or added."""
        row = {**_mapping(self._by_id[row_id]), **columns}
        self._by_name[row[self._named]] = self._by_id[row_id] = row
        if row_id in self._added:
            self._added[row_id] = row
        elif columns:
            self._changed.setdefault(row_id, {}).update(columns)

    def write(self) -> None:
        """Writes what was added and changed; to be called once, at the end."""
        alike: dict[tuple[str, ...], list[Row]] = {}
        for row in self._added.values():
            alike.setdefault(tuple(row), []).append(row)
        for columns, rows in alike.items():
            self._insert(columns, rows)
        for row_id, changed in self._changed.items():
            assignments = ", ".join(f"{name} = ?" for name in changed)
            self._connection.execute(
                f"UPDATE {self._table} SET {assignments} WHERE id = ?", (*changed.values(), row_id)
            )

    def _insert(self, columns: Sequence[str], rows: Sequence[Row]) -> None:
        into = f"INSERT INTO {self._table} ({', '.join(columns)}) VALUES "
        one = f"({_marks(len(columns))})"
        many = into + ", ".join([one] * _WRITTEN_AT_ONCE)
        grouped = len(rows) - len(rows) % _WRITTEN_AT_ONCE
        for start in range(0, grouped, _WRITTEN_AT_ONCE):
            group = rows[start : start + _WRITTEN_AT_ONCE]
            self._connection.execute(many, [value for row in group for value in row.values()])
        self._connection.executemany(into + one, [tuple(row.values()) for row in rows[grouped:]])


def _mapping(row: sqlite3.Row | Row) -> Row:
    return row if isinstance(row, dict) else as_mapping(row)


def _marks(count: int) -> str:
    return ", ".join("?" * count)
