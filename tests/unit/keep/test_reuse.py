from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from handrail.keep.reuse import MemoryKeptResults, SqlKeptResults
from handrail.keep.sqlite import SqliteJournal
from handrail.testing.reuse import BASIS, KeptResultsContract, kept


class TestMemoryKeptResults(KeptResultsContract):
    def make(self, folder: Path) -> MemoryKeptResults:
        return MemoryKeptResults()


class TestSqliteKeptResults(KeptResultsContract):
    def make(self, folder: Path) -> SqlKeptResults:
        return SqlKeptResults(SqliteJournal(folder / "handrail.db"))


def test_memory_forgets_what_was_kept_first() -> None:
    results = MemoryKeptResults(most_count=2)
    first, second, third = (replace(BASIS, code=f"c{number}") for number in range(3))
    results.keep([kept(first), kept(second)])
    results.keep([kept(first, at=2000), kept(third)])
    assert results.find(second) is None
    assert results.find(first) == kept(first, at=2000)
    assert results.find(third) == kept(third)


def test_what_is_kept_in_a_file_is_there_for_the_next_process(tmp_path: Path) -> None:
    SqlKeptResults(SqliteJournal(tmp_path / "handrail.db")).keep([kept()])
    assert SqlKeptResults(SqliteJournal(tmp_path / "handrail.db")).find(BASIS) == kept()
