from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from handrail.contracts.event import Event
from handrail.errors import StoreError
from handrail.run import record
from handrail.run.record import Recorder


class Journal:
    """What a recorder needs of one."""

    def __init__(self) -> None:
        self.commits: list[list[Event]] = []

    def append(
        self, run_id: str, epoch: int, events: Sequence[Event], *, durable: bool = False
    ) -> None:
        assert (run_id, epoch) == ("r", 2)
        self.commits.append(list(events))


def recorder(journal: Any, watch: Any = None) -> Recorder:
    return Recorder("r", 2, journal, watch)


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.kind for event in events]


def test_events_are_written_in_groups_in_their_order() -> None:
    journal = Journal()
    made = recorder(journal)
    made.event("a", "task", "r-2-1", {"x": 1})
    made.event("b")
    assert journal.commits == []
    made.flush()
    made.flush()
    assert [kinds(events) for events in journal.commits] == [["a", "b"]]
    first = journal.commits[0][0]
    assert (first.task, first.attempt, first.data) == ("task", "r-2-1", {"x": 1})
    assert first.at > 1_700_000_000_000


def test_a_group_is_written_when_it_is_large_or_old() -> None:
    journal = Journal()
    made = recorder(journal)
    made.flush_if_due()  # from here on, the group is young
    for _ in range(record.GROUP_COUNT):
        made.event("a")
    made.flush_if_due()
    assert [len(events) for events in journal.commits] == [record.GROUP_COUNT]


def test_watchers_hear_at_once_what_the_journal_gets_later() -> None:
    heard: list[Event] = []
    journal = Journal()
    made = recorder(journal, heard.append)
    made.event("a")
    assert kinds(heard) == ["a"]
    assert journal.commits == []


def test_events_may_be_taken_for_another_commit_and_given_back() -> None:
    heard: list[Event] = []
    journal = Journal()
    made = recorder(journal, heard.append)
    made.event("a")
    made.event("b")
    taken = made.taken()
    made.event("c")
    made.put_back(taken)
    made.flush()
    assert kinds(journal.commits[0]) == ["a", "b", "c"]
    assert kinds(heard) == ["a", "b", "c"]


def test_what_others_wrote_is_only_told() -> None:
    heard: list[Event] = []
    journal = Journal()
    made = recorder(journal, heard.append)
    made.tell([Event("a", 0)])
    made.flush()
    assert kinds(heard) == ["a"]
    assert journal.commits == []


def test_without_anybody_who_wants_to_know_nothing_is_kept() -> None:
    made = recorder(None)
    assert not made.is_on
    made.event("a")
    made.tell([Event("a", 0)])
    assert made.taken() == []
    assert recorder(Journal()).is_on
    assert recorder(None, print).is_on


def test_after_a_group_that_was_not_written_nothing_is_until_it_is_given_up() -> None:
    class Broken(Journal):
        is_broken = True

        def append(self, *args: Any, **kwargs: Any) -> None:
            if self.is_broken:
                raise StoreError("no space")
            super().append(*args, **kwargs)

    journal = Broken()
    made = recorder(journal)
    made.event("a")
    with pytest.raises(StoreError):
        made.flush()  # as the thread that keeps the lease does, which only logs it
    journal.is_broken = False
    made.event("b")
    with pytest.raises(StoreError):
        made.flush()
    with pytest.raises(StoreError):
        made.taken()
    made.give_up()
    made.event("end")
    assert kinds(made.taken()) == ["end"]
