from __future__ import annotations

import time
from pathlib import Path

from handrail.keep.memory import MemoryJournal, MemoryObjects
from handrail.testing.stores import (
    HeadsContract,
    JournalContract,
    ObjectStoreContract,
    event,
    start,
)


class TestMemoryObjects(ObjectStoreContract):
    def make(self, folder: Path) -> MemoryObjects:
        return MemoryObjects()


class TestMemoryHeads(HeadsContract):
    def make(self, folder: Path) -> MemoryJournal:
        return MemoryJournal()


class TestMemoryJournal(JournalContract):
    def make(self, folder: Path) -> MemoryJournal:
        return MemoryJournal()


def test_an_append_costs_next_to_nothing() -> None:
    journal = MemoryJournal()
    start(journal)
    group = [event("task.succeeded")] * 10
    started = time.thread_time()
    for _ in range(10_000):
        journal.append("r1", 1, group)
    assert time.thread_time() - started < 1.0  # 100 us each: ten times what is seen under load
    assert len(journal.events("r1")) == 100_001
