"""What every store must do, as test classes to inherit.

```python
class TestMyJournal(JournalContract):
    def make(self, folder: Path) -> MyJournal:
        return MyJournal(folder / "journal")
```

`make` is called with an empty folder. Where several handles on one store are possible,
override `another` too, and the races run between handles.
"""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from handrail.contracts.event import Event
from handrail.contracts.workspace import BranchName
from handrail.errors import RunNotFound, StaleAttemptError, UnknownRefError
from handrail.ids import Token
from handrail.keep.base import (
    Acceptance,
    Accepted,
    Adopted,
    Conflict,
    Heads,
    Journal,
    Lease,
    ObjectStore,
    RunRecord,
    Settlement,
    Watermark,
)

_Answer = TypeVar("_Answer")

BRANCH = BranchName("songs", "main")
OTHER = BranchName("songs", "dev")
#: Commits, as far as heads and journals care.
A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)

#: The first token of a first epoch.
FIRST = Token(1, 1)

#: A time long after any test.
_LATER = 1 << 50


def race(count: int, act: Callable[[int], _Answer]) -> list[_Answer]:
    """Runs `act(0)` to `act(count - 1)` in threads that start at once; returns all answers."""
    barrier = threading.Barrier(count)
    answers: dict[int, _Answer] = {}
    errors: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait(timeout=30)
        try:
            answers[number] = act(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    if errors:
        raise errors[0]
    return [answers[number] for number in range(count)]


class ObjectStoreContract(ABC):
    """What an `ObjectStore` must do."""

    @abstractmethod
    def make(self, folder: Path) -> ObjectStore:
        """A fresh store."""

    @pytest.fixture
    def objects(self, tmp_path: Path) -> ObjectStore:
        folder = tmp_path / "store"
        folder.mkdir()
        return self.make(folder)

    def test_a_content_is_named_by_its_sha256_and_read_back(self, objects: ObjectStore) -> None:
        info = objects.put_bytes(b"hello")
        assert info == (hashlib.sha256(b"hello").hexdigest(), 5)
        assert objects.read_bytes(info.digest) == b"hello"
        assert info.digest in objects

    def test_putting_again_changes_nothing(self, objects: ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"hello")
        first = objects.put_bytes(b"hello")
        assert objects.put_bytes(b"hello") == objects.put_file(tmp_path / "file") == first
        assert list(objects.digests()) == [first.digest]

    @pytest.mark.parametrize("size_bytes", [0, 1, 1 << 20, (1 << 20) + 1, 5_000_000])
    def test_a_file_of_any_length_comes_back(
        self, objects: ObjectStore, tmp_path: Path, size_bytes: int
    ) -> None:
        content = (b"0123456789abcdef" * (size_bytes // 16 + 1))[:size_bytes]
        (tmp_path / "file").write_bytes(content)
        info = objects.put_file(tmp_path / "file")
        assert info == (hashlib.sha256(content).hexdigest(), size_bytes)
        objects.copy_to(info.digest, tmp_path / "copy", 0o640)
        assert (tmp_path / "copy").read_bytes() == content
        assert (tmp_path / "copy").stat().st_mode & 0o7777 == 0o640

    def test_a_copy_is_the_callers_own(self, objects: ObjectStore, tmp_path: Path) -> None:
        info = objects.put_bytes(b"hello")
        objects.copy_to(info.digest, tmp_path / "copy", 0o600)
        (tmp_path / "copy").write_bytes(b"other")
        assert objects.read_bytes(info.digest) == b"hello"

    def test_a_copy_never_replaces_a_file(self, objects: ObjectStore, tmp_path: Path) -> None:
        info = objects.put_bytes(b"hello")
        (tmp_path / "copy").write_bytes(b"mine")
        with pytest.raises(Exception, match="copy"):
            objects.copy_to(info.digest, tmp_path / "copy", 0o600)
        assert (tmp_path / "copy").read_bytes() == b"mine"

    @pytest.mark.parametrize("digest", ["0" * 64, "main", "", "../../etc/passwd", "A" * 64])
    def test_an_unknown_digest_is_refused(
        self, objects: ObjectStore, tmp_path: Path, digest: str
    ) -> None:
        assert digest not in objects
        with pytest.raises(UnknownRefError):
            objects.read_bytes(digest)
        with pytest.raises(UnknownRefError):
            objects.copy_to(digest, tmp_path / "copy", 0o600)
        assert not (tmp_path / "copy").exists()

    def test_a_flush_keeps_everything_and_may_be_repeated(self, objects: ObjectStore) -> None:
        digests = {objects.put_bytes(b"%d" % number).digest for number in range(40)}
        objects.flush()
        objects.flush()
        assert set(objects.digests()) == digests

    def test_only_objects_older_than_asked_are_deleted(self, objects: ObjectStore) -> None:
        info = objects.put_bytes(b"hello")
        assert not objects.delete(info.digest, stored_before=1)
        assert info.digest in objects
        assert objects.delete(info.digest, stored_before=_LATER)
        assert info.digest not in objects
        assert not objects.delete(info.digest, stored_before=_LATER)

    def test_many_threads_put_the_same_contents(self, objects: ObjectStore) -> None:
        contents = [b"%d" % number for number in range(50)]
        answers = race(8, lambda _: [objects.put_bytes(content).digest for content in contents])
        assert all(answer == answers[0] for answer in answers)
        assert sorted(objects.digests()) == sorted(answers[0])


class HeadsContract(ABC):
    """What `Heads` must do."""

    @abstractmethod
    def make(self, folder: Path) -> Heads:
        """Fresh heads."""

    def another(self, heads: Heads, folder: Path) -> Heads:
        """Another handle on the same heads, if there can be one."""
        return heads

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "store"
        folder.mkdir()
        return folder

    @pytest.fixture
    def heads(self, folder: Path) -> Iterator[Heads]:
        heads = self.make(folder)
        yield heads
        _close(heads)

    @pytest.fixture
    def handles(self, heads: Heads, folder: Path) -> Iterator[Callable[[int], list[Heads]]]:
        opened: list[Heads] = []

        def open_handles(count: int) -> list[Heads]:
            opened.extend(self.another(heads, folder) for _ in range(count))
            return opened

        yield open_handles
        for handle in opened:
            _close(handle)

    def test_a_branch_is_created_moved_and_deleted(self, heads: Heads) -> None:
        assert heads.head(BRANCH) is None
        assert heads.move_head(BRANCH, None, A)
        assert heads.head(BRANCH) == A
        assert heads.move_head(BRANCH, A, B)
        assert heads.head(BRANCH) == B
        assert heads.move_head(BRANCH, B, None)
        assert heads.head(BRANCH) is None

    def test_a_branch_that_is_elsewhere_stays_there(self, heads: Heads) -> None:
        assert not heads.move_head(BRANCH, A, B)
        heads.move_head(BRANCH, None, A)
        assert not heads.move_head(BRANCH, None, B)
        assert not heads.move_head(BRANCH, B, C)
        assert not heads.move_head(BRANCH, B, None)
        assert heads.head(BRANCH) == A

    def test_a_move_to_the_same_commit_only_compares(self, heads: Heads) -> None:
        heads.move_head(BRANCH, None, A)
        assert heads.move_head(BRANCH, A, A)
        assert not heads.move_head(BRANCH, B, B)
        assert heads.head(BRANCH) == A

    def test_branches_do_not_touch_each_other(self, heads: Heads) -> None:
        far = BranchName("films", "main")
        for number, branch in enumerate((BRANCH, OTHER, far)):
            heads.move_head(branch, None, (A, B, C)[number])
        assert heads.heads() == {BRANCH: A, OTHER: B, far: C}
        assert heads.heads("songs") == {BRANCH: A, OTHER: B}
        assert heads.heads("none") == {}

    def test_of_many_movers_exactly_one_wins(
        self, heads: Heads, handles: Callable[[int], list[Heads]]
    ) -> None:
        heads.move_head(BRANCH, None, A)
        opened = handles(8)
        commits = [f"{number:064x}" for number in range(8)]
        won = race(8, lambda number: opened[number].move_head(BRANCH, A, commits[number]))
        assert won.count(True) == 1
        assert heads.head(BRANCH) == commits[won.index(True)]


class JournalContract(ABC):
    """What a `Journal` with its `Heads` must do."""

    @abstractmethod
    def make(self, folder: Path) -> Journal:
        """A fresh journal, which is `Heads` too."""

    def another(self, journal: Journal, folder: Path) -> Journal:
        """Another handle on the same journal, if there can be one."""
        return journal

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "journal"
        folder.mkdir()
        return folder

    @pytest.fixture
    def journal(self, folder: Path) -> Iterator[Journal]:
        journal = self.make(folder)
        yield journal
        journal.close()

    @pytest.fixture
    def handles(self, journal: Journal, folder: Path) -> Iterator[Callable[[int], list[Journal]]]:
        opened: list[Journal] = []

        def open_handles(count: int) -> list[Journal]:
            opened.extend(self.another(journal, folder) for _ in range(count))
            return opened

        yield open_handles
        for handle in opened:
            handle.close()

    # Runs

    def test_a_run_is_created_with_its_first_events_and_lease(self, journal: Journal) -> None:
        record = run_record(reference="songs:load", key="monday")
        assert journal.create_run(record, lease(), [event("run.started")]) is None
        assert journal.run("r1") == record
        assert journal.lease("r1") == lease()
        assert [stored.event.kind for stored in journal.events("r1")] == ["run.started"]

    def test_events_may_be_added_durably(self, journal: Journal) -> None:
        start(journal, run_record())
        journal.append("r1", 1, [event("wait.answered")], durable=True)
        assert journal.events("r1")[-1].event.kind == "wait.answered"
        with pytest.raises(StaleAttemptError):
            journal.append("r1", 7, [event()], durable=True)
        assert journal.events("r1")[-1].event.kind == "wait.answered"

    def test_a_run_is_opened_by_its_first_event(self, journal: Journal) -> None:
        start(journal)
        journal.append("r1", 1, [event("x"), event("y")])
        assert journal.opening("r1") == journal.events("r1")[0]
        with pytest.raises(RunNotFound):
            journal.opening("r9")

    def test_a_start_key_belongs_to_one_run_of_a_workflow(self, journal: Journal) -> None:
        first = run_record(key="monday")
        start(journal, first)
        second = run_record("r2", key="monday")
        assert journal.create_run(second, lease("r2"), [event()]) == first
        with pytest.raises(RunNotFound):
            journal.run("r2")
        assert journal.events("r2") == []
        assert journal.run_with_key("songs", "monday") == first
        assert journal.run_with_key("films", "monday") is None
        start(journal, run_record("r3", workflow="films", key="monday"))
        start(journal, run_record("r4", key=None))
        start(journal, run_record("r5", key=None))

    def test_of_many_starters_with_one_key_exactly_one_wins(
        self, journal: Journal, handles: Callable[[int], list[Journal]]
    ) -> None:
        opened = handles(6)

        def create(number: int) -> RunRecord | None:
            record = run_record(f"r{number}", key="monday")
            return opened[number].create_run(record, lease(f"r{number}"), [event()])

        answers = race(6, create)
        assert answers.count(None) == 1
        winner = f"r{answers.index(None)}"
        assert {answer.run_id for answer in answers if answer} == {winner}
        assert [record.run_id for record in journal.runs()] == [winner]

    def test_a_prefix_names_a_run_if_only_one_has_it(self, journal: Journal) -> None:
        for run_id in ("abc1", "abd2", "abd"):
            start(journal, run_record(run_id))
        assert journal.run("abc").run_id == "abc1"
        assert journal.run("abd").run_id == "abd"  # whole ids come first
        for text in ("ab", "", "abc12", "%"):
            with pytest.raises(RunNotFound):
                journal.run(text)

    def test_runs_are_listed_newest_first_and_filtered(self, journal: Journal) -> None:
        for number, workflow in enumerate(("songs", "films", "songs")):
            start(journal, run_record(f"r{number}", workflow=workflow, started_at=number))
        journal.settle(settlement("r2", state="failed"))
        assert [run.run_id for run in journal.runs()] == ["r2", "r1", "r0"]
        assert [run.run_id for run in journal.runs(limit=2)] == ["r2", "r1"]
        assert [run.run_id for run in journal.runs(workflow="songs")] == ["r2", "r0"]
        assert [run.run_id for run in journal.runs(workflow="songs", state="running")] == ["r0"]

    # Leases

    def test_a_lease_is_renewed_by_its_holder_only(self, journal: Journal) -> None:
        start(journal)
        assert journal.renew(lease(), 5_000)
        assert journal.renew(lease(), 6_000)  # whatever expiry the holder remembers
        assert journal.lease("r1") == lease(expires_at=6_000)
        assert not journal.renew(lease(owner="somebody"), 7_000)
        assert not journal.renew(lease(epoch=2), 7_000)
        assert not journal.renew(lease("r9"), 7_000)

    def test_a_run_is_taken_over_from_the_lease_that_was_seen(self, journal: Journal) -> None:
        start(journal)
        seen = journal.lease("r1")
        journal.renew(lease(), 9_000)
        assert not journal.take_over("r1", seen, lease(epoch=2, owner="b"), [event()])
        assert not journal.take_over("r1", None, lease(epoch=2, owner="b"), [event()])
        seen = journal.lease("r1")
        assert journal.take_over("r1", seen, lease(epoch=2, owner="b"), [event("run.resumed")])
        assert journal.run("r1").epoch == 2
        assert not journal.renew(lease(), 10_000)
        last = journal.events("r1")[-1]
        assert (last.epoch, last.position, last.event.kind) == (2, 1, "run.resumed")

    def test_a_finished_run_runs_again_when_taken_over(self, journal: Journal) -> None:
        start(journal)
        journal.settle(settlement(state="failed", reason="no disk"))
        assert journal.run("r1").reason == "no disk"
        assert journal.lease("r1") is None
        assert journal.take_over("r1", None, lease(epoch=2), [event("run.resumed")])
        again = journal.run("r1")
        assert (again.state, again.finished_at, again.reason) == ("running", None, None)

    def test_an_epoch_is_never_opened_twice(self, journal: Journal) -> None:
        start(journal)
        journal.settle(settlement(state="failed"))
        assert journal.take_over("r1", None, lease(epoch=2), [])
        journal.settle(settlement(epoch=2, state="failed"))
        assert not journal.take_over("r1", None, lease(epoch=2), [])

    def test_epochs_follow_one_another(self, journal: Journal) -> None:
        start(journal)
        journal.settle(settlement(state="failed"))
        assert not journal.take_over("r1", None, lease(epoch=3), [])
        assert journal.run("r1").epoch == 1

    def test_a_run_that_succeeded_is_never_taken_over(self, journal: Journal) -> None:
        start(journal)
        journal.settle(settlement(state="succeeded"))
        assert not journal.take_over("r1", None, lease(epoch=2), [event("run.resumed")])
        assert (journal.run("r1").state, journal.run("r1").epoch) == ("succeeded", 1)

    # Cancelling

    def test_who_drives_a_run_is_asked_to_end_it(self, journal: Journal) -> None:
        start(journal)
        assert journal.cancel_reason("r1") is None
        assert journal.ask_to_cancel("r1", 1, "too late", [event("run.cancel_asked")])
        assert journal.ask_to_cancel("r1", 1, "again", [event("run.cancel_asked")])
        assert journal.cancel_reason("r1") == "too late"
        assert [stored.event.kind for stored in journal.events("r1")].count("run.cancel_asked") == 1

    def test_a_run_that_nobody_drives_is_not_asked_to_end(self, journal: Journal) -> None:
        start(journal)
        assert not journal.ask_to_cancel("r1", 2, "too late", [event()])
        journal.settle(settlement(state="failed"))
        assert not journal.ask_to_cancel("r1", 1, "too late", [event()])
        assert journal.cancel_reason("r1") is None

    def test_a_request_to_end_a_run_is_for_one_epoch(self, journal: Journal) -> None:
        start(journal)
        journal.ask_to_cancel("r1", 1, "too late", [event()])
        journal.settle(settlement(state="cancelled"))
        journal.take_over("r1", None, lease(epoch=2), [])
        assert journal.cancel_reason("r1") is None

    def test_of_many_takers_exactly_one_wins(
        self, journal: Journal, handles: Callable[[int], list[Journal]]
    ) -> None:
        start(journal)
        opened = handles(6)

        def take(number: int) -> bool:
            after = lease(epoch=2, owner=f"owner {number}")
            return opened[number].take_over("r1", lease(), after, [event("run.resumed")])

        won = race(6, take)
        assert won.count(True) == 1
        held = journal.lease("r1")
        assert held is not None
        assert held.owner == f"owner {won.index(True)}"
        assert len(journal.events("r1")) == 2

    def test_an_unknown_run_is_told_as_such(self, journal: Journal) -> None:
        for act in (
            lambda: journal.lease("r9"),
            lambda: journal.take_over("r9", None, lease("r9"), []),
            lambda: journal.append("r9", 1, [event()]),
            lambda: journal.begin_attempt("r9", "k", Token(1, 1)),
            lambda: journal.settle(settlement("r9")),
        ):
            with pytest.raises(RunNotFound):
                act()
        assert journal.events("r9") == []
        assert journal.accepted("r9") == []

    # Events

    def test_events_come_back_in_order_with_their_places(self, journal: Journal) -> None:
        start(journal)
        journal.append("r1", 1, [])
        journal.append("r1", 1, [event("x"), event("y", data={"a": [1, None, "ü\n"]})])
        journal.append("r1", 1, [event("z")])
        stored = journal.events("r1")
        assert [one.event.kind for one in stored] == ["run.started", "x", "y", "z"]
        assert [one.key for one in stored] == ["r1/0", "r1/1", "r1/2", "r1/3"]
        assert stored[2].event == event("y", data={"a": [1, None, "ü\n"]})

    def test_events_are_the_journals_own_once_they_are_appended(self, journal: Journal) -> None:
        start(journal)
        group = [event("x")]
        journal.append("r1", 1, group)
        group.append(event("y"))
        assert [one.event.kind for one in journal.events("r1")] == ["run.started", "x"]

    def test_an_append_of_an_earlier_epoch_is_refused(self, journal: Journal) -> None:
        start(journal)
        journal.take_over("r1", lease(), lease(epoch=2), [event("run.resumed")])
        with pytest.raises(StaleAttemptError):
            journal.append("r1", 1, [event("late")])
        assert [one.event.kind for one in journal.events("r1")] == ["run.started", "run.resumed"]

    def test_the_outbox_gives_each_event_once_in_order(self, journal: Journal) -> None:
        for run_id in ("r1", "r2"):
            start(journal, run_record(run_id))
        for number in range(10):
            journal.append(f"r{number % 2 + 1}", 1, [event(f"e{number}"), event(f"f{number}")])
        keys: list[str] = []
        cursor = 0
        while True:
            events, following = journal.outbox(cursor, limit=3)
            if following == cursor:
                break
            keys += [stored.key for stored in events]
            cursor = following
        assert len(keys) == len(set(keys)) == 22
        for run_id in ("r1", "r2"):
            assert [key for key in keys if key.startswith(run_id)] == [
                stored.key for stored in journal.events(run_id)
            ]
        assert journal.outbox(cursor) == ([], cursor)
        journal.append("r1", 1, [event("last")])
        assert [stored.event.kind for stored in journal.outbox(cursor)[0]] == ["last"]

    def test_writers_at_once_leave_no_gap_and_lose_nothing(
        self, journal: Journal, handles: Callable[[int], list[Journal]]
    ) -> None:
        start(journal)
        opened = handles(4)

        def write(number: int) -> None:
            for turn in range(20):
                opened[number].append("r1", 1, [event(f"{number}-{turn}"), event("second")])

        race(4, write)
        stored = journal.events("r1")
        assert [one.position for one in stored] == list(range(161))
        assert len({one.event.kind for one in stored}) == 82
        shown = [one.key for one in journal.outbox(0)[0]]
        assert shown == [one.key for one in stored]

    # Attempts

    def test_an_accepted_attempt_is_on_the_ledger_once(self, journal: Journal) -> None:
        heads = start_on(journal, A)
        assert journal.begin_attempt("r1", "k", Token(1, 1)) is None
        asked = acceptance(events=[event("task.succeeded")])
        assert journal.accept(asked) == Accepted(B)
        assert heads.head(BRANCH) == B
        assert journal.accepted("r1") == [replace(asked, events=())]
        assert journal.events("r1")[-1].event.kind == "task.succeeded"

    def test_a_later_attempt_adopts_what_was_accepted(self, journal: Journal) -> None:
        heads = start_on(journal, A)
        begin_and_accept(journal, acceptance(events=[event("task.succeeded")]))
        count = len(journal.events("r1"))
        adopted = Adopted("a1", B, '{"x":1}')
        assert journal.begin_attempt("r1", "k", Token(1, 2)) == adopted
        again = acceptance(attempt_id="a2", token=Token(1, 2), result="2", output_ref=C)
        assert journal.accept(again) == adopted
        assert journal.accept(acceptance()) == adopted  # its own reply was lost
        assert heads.head(BRANCH) == B
        assert len(journal.events("r1")) == count
        assert len(journal.accepted("r1")) == 1

    def test_adoption_outlives_the_epoch(self, journal: Journal) -> None:
        start_on(journal, A)
        begin_and_accept(journal, acceptance())
        journal.take_over("r1", lease(), lease(epoch=2), [])
        assert journal.begin_attempt("r1", "k", Token(2, 1)) == Adopted("a1", B, '{"x":1}')

    def test_a_newer_attempt_makes_the_older_one_stale(self, journal: Journal) -> None:
        heads = start_on(journal, A)
        journal.begin_attempt("r1", "k", Token(1, 1))
        journal.begin_attempt("r1", "k", Token(1, 2))
        answer = journal.accept(acceptance(token=Token(1, 1)))
        assert isinstance(answer, Conflict)
        assert answer.stale
        with pytest.raises(StaleAttemptError):
            journal.begin_attempt("r1", "k", Token(1, 1))
        assert heads.head(BRANCH) == A
        assert journal.accepted("r1") == []
        assert journal.accept(acceptance(token=Token(1, 2))) == Accepted(B)

    def test_beginning_again_with_the_same_token_is_fine(self, journal: Journal) -> None:
        start_on(journal, A)
        assert journal.begin_attempt("r1", "k", Token(1, 1)) is None
        assert journal.begin_attempt("r1", "k", Token(1, 1)) is None
        assert journal.accept(acceptance()) == Accepted(B)

    def test_an_attempt_that_never_began_is_stale(self, journal: Journal) -> None:
        start_on(journal, A)
        for token in (Token(1, 1), Token(2, 1)):
            answer = journal.accept(acceptance(token=token))
            assert isinstance(answer, Conflict)
            assert answer.stale

    def test_a_zombie_of_an_earlier_epoch_is_stale(self, journal: Journal) -> None:
        heads = start_on(journal, A)
        journal.begin_attempt("r1", "k", Token(1, 7))
        journal.take_over("r1", lease(), lease(epoch=2), [])
        answer = journal.accept(acceptance(token=Token(1, 7)))
        assert isinstance(answer, Conflict)
        assert answer.stale
        with pytest.raises(StaleAttemptError):
            journal.begin_attempt("r1", "other", Token(1, 8))
        assert heads.head(BRANCH) == A
        begin_and_accept(journal, acceptance(token=Token(2, 1)))
        assert heads.head(BRANCH) == B

    def test_a_branch_that_moved_is_a_conflict_and_nothing_is_written(
        self, journal: Journal
    ) -> None:
        heads = start_on(journal, A)
        journal.begin_attempt("r1", "k", Token(1, 1))
        heads.move_head(BRANCH, A, C)
        answer = journal.accept(acceptance(events=[event("task.succeeded")]))
        assert isinstance(answer, Conflict)
        assert (answer.stale, answer.expected, answer.found) == (False, A, C)
        assert heads.head(BRANCH) == C
        assert journal.accepted("r1") == []
        assert len(journal.events("r1")) == 1

    def test_a_branch_that_left_and_came_back_is_a_conflict(self, journal: Journal) -> None:
        heads = start_on(journal, A)
        journal.begin_attempt("r1", "k", Token(1, 1))
        heads.move_head(BRANCH, A, C)
        heads.move_head(BRANCH, C, A)
        answer = journal.accept(acceptance())
        assert isinstance(answer, Conflict)
        assert not answer.stale
        assert heads.head(BRANCH) == A
        journal.begin_attempt("r1", "k", Token(1, 2))  # read again, and so no longer fooled
        assert journal.accept(acceptance(token=Token(1, 2))) == Accepted(B)

    def test_a_branch_deleted_and_made_again_is_a_conflict(self, journal: Journal) -> None:
        heads = start_on(journal, A)
        journal.begin_attempt("r1", "k", Token(1, 1))
        heads.move_head(BRANCH, A, None)
        heads.move_head(BRANCH, None, A)
        assert isinstance(journal.accept(acceptance()), Conflict)

    def test_a_branch_made_after_the_attempt_began_may_be_moved(self, journal: Journal) -> None:
        start(journal)
        journal.begin_attempt("r1", "k", Token(1, 1))
        assert _heads(journal).move_head(BRANCH, None, A)
        assert journal.accept(acceptance()) == Accepted(B)

    def test_an_attempt_may_create_its_branch(self, journal: Journal) -> None:
        start(journal)
        assert begin_and_accept(journal, acceptance(input_ref=None)) == Accepted(B)
        assert _heads(journal).head(BRANCH) == B

    def test_an_attempt_that_changed_nothing_leaves_the_branch(self, journal: Journal) -> None:
        heads = start_on(journal, A)
        journal.begin_attempt("r1", "k", Token(1, 1))
        heads.move_head(BRANCH, A, C)  # somebody else's accepted work
        assert journal.accept(acceptance(output_ref=A)) == Accepted(A)
        assert heads.head(BRANCH) == C
        assert journal.begin_attempt("r1", "k", Token(1, 2)) == Adopted("a1", A, '{"x":1}')

    def test_an_attempt_without_a_workspace_is_accepted(self, journal: Journal) -> None:
        start(journal)
        asked = acceptance(branch=None, input_ref=None, output_ref=None)
        assert begin_and_accept(journal, asked) == Accepted(None)
        assert journal.accepted("r1") == [asked]

    def test_the_same_key_in_another_run_is_other_work(self, journal: Journal) -> None:
        start_on(journal, A)
        start(journal, run_record("r2"))
        begin_and_accept(journal, acceptance())
        assert journal.begin_attempt("r2", "k", Token(1, 1)) is None
        second = acceptance(run_id="r2", attempt_id="a2", input_ref=B, output_ref=C)
        assert journal.accept(second) == Accepted(C)

    def test_two_tasks_with_one_input_ref_never_erase_each_other(self, journal: Journal) -> None:
        heads = start_on(journal, A)
        journal.begin_attempt("r1", "first", Token(1, 1))
        journal.begin_attempt("r1", "second", Token(1, 2))
        assert journal.accept(acceptance(logical_key="first")) == Accepted(B)
        late = acceptance(logical_key="second", token=Token(1, 2), output_ref=C)
        assert isinstance(journal.accept(late), Conflict)
        assert heads.head(BRANCH) == B

    def test_of_many_attempts_at_one_work_exactly_one_wins(
        self, journal: Journal, handles: Callable[[int], list[Journal]]
    ) -> None:
        heads = start_on(journal, A)
        journal.begin_attempt("r1", "k", Token(1, 1))
        opened = handles(6)

        def accept(number: int) -> Accepted | Adopted | Conflict:
            asked = acceptance(attempt_id=f"a{number}", output_ref=f"{number:064x}")
            return opened[number].accept(asked)

        answers = race(6, accept)
        assert [type(answer) for answer in answers].count(Accepted) == 1
        assert [type(answer) for answer in answers].count(Adopted) == 5
        (row,) = journal.accepted("r1")
        assert heads.head(BRANCH) == row.output_ref
        assert {a.attempt_id for a in answers if isinstance(a, Adopted)} == {row.attempt_id}

    def test_of_many_tasks_on_one_branch_exactly_one_wins(
        self, journal: Journal, handles: Callable[[int], list[Journal]]
    ) -> None:
        heads = start_on(journal, A)
        opened = handles(6)
        for number in range(6):
            journal.begin_attempt("r1", f"k{number}", Token(1, 1))

        def accept(number: int) -> Accepted | Adopted | Conflict:
            return opened[number].accept(
                acceptance(logical_key=f"k{number}", output_ref=f"{number:064x}")
            )

        answers = race(6, accept)
        won = [answer for answer in answers if isinstance(answer, Accepted)]
        assert len(won) == 1
        assert heads.head(BRANCH) == won[0].ref
        assert len(journal.accepted("r1")) == 1

    # The end of a run

    def test_a_run_is_settled_with_branch_watermark_and_last_event(self, journal: Journal) -> None:
        heads = start_on(journal, A)
        answer = journal.settle(
            settlement(input_ref=A, output_ref=B, watermark=Watermark("load", None, "7"))
        )
        assert answer == Accepted(B)
        assert heads.head(BRANCH) == B
        assert journal.watermark("load") == "7"
        assert journal.lease("r1") is None
        record = journal.run("r1")
        assert record.state == "succeeded"
        assert record.finished_at is not None
        assert journal.events("r1")[-1].event.kind == "run.finished"

    @pytest.mark.parametrize("elsewhere", ["branch", "watermark", "returned"])
    def test_a_settlement_in_conflict_writes_nothing(
        self, journal: Journal, elsewhere: str
    ) -> None:
        heads = start_on(journal, A)
        before = '"other"' if elsewhere == "watermark" else None
        if elsewhere != "watermark":
            heads.move_head(BRANCH, A, C)
        if elsewhere == "returned":
            heads.move_head(BRANCH, C, A)
        at = heads.head(BRANCH)
        answer = journal.settle(
            settlement(input_ref=A, output_ref=B, watermark=Watermark("load", before, "7"))
        )
        assert isinstance(answer, Conflict)
        assert not answer.stale
        assert answer.found == (None if elsewhere == "watermark" else at)
        assert heads.head(BRANCH) == at
        assert journal.watermark("load") is None
        assert len(journal.events("r1")) == 1
        assert journal.run("r1").state == "running"
        assert journal.lease("r1") == lease()

    def test_a_conflict_of_branch_or_watermark_says_which(self, journal: Journal) -> None:
        start_on(journal, A)
        moved = journal.settle(settlement(input_ref=C, output_ref=B))
        marked = journal.settle(settlement(branch=None, watermark=Watermark("load", "1", "2")))
        assert isinstance(moved, Conflict)
        assert isinstance(marked, Conflict)
        assert "songs@main" in moved.what
        assert "load" in marked.what

    def test_an_earlier_epoch_cannot_settle(self, journal: Journal) -> None:
        start_on(journal, A)
        journal.take_over("r1", lease(), lease(epoch=2), [])
        answer = journal.settle(settlement(input_ref=A, output_ref=B))
        assert isinstance(answer, Conflict)
        assert answer.stale
        assert _heads(journal).head(BRANCH) == A
        assert journal.settle(settlement(epoch=2, input_ref=A, output_ref=B)) == Accepted(B)

    def test_a_run_is_settled_once(self, journal: Journal) -> None:
        start(journal)
        assert journal.settle(settlement(branch=None)) == Accepted(None)
        again = journal.settle(settlement(branch=None, state="failed"))
        assert isinstance(again, Conflict)
        assert again.stale
        assert journal.run("r1").state == "succeeded"
        assert len(journal.events("r1")) == 2

    def test_a_watermark_moves_by_comparison(self, journal: Journal) -> None:
        def move(run_id: str, before: str | None, after: str | None) -> bool:
            start(journal, run_record(run_id))
            asked = settlement(run_id, branch=None, watermark=Watermark("load", before, after))
            return isinstance(journal.settle(asked), Accepted)

        assert journal.watermark("load") is None
        assert move("r1", None, "1")
        assert move("r2", "1", "2")
        assert not move("r3", "1", "3")  # a later one was faster
        assert journal.watermark("load") == "2"
        assert move("r4", "2", "2")
        assert move("r5", "2", None)
        assert journal.watermark("load") is None

    def test_of_many_runs_with_one_watermark_exactly_one_wins(
        self, journal: Journal, handles: Callable[[int], list[Journal]]
    ) -> None:
        opened = handles(6)
        for number in range(6):
            start(journal, run_record(f"r{number}"))

        def settle(number: int) -> Accepted | Conflict:
            moved = Watermark("load", None, str(number))
            return opened[number].settle(settlement(f"r{number}", branch=None, watermark=moved))

        answers = race(6, settle)
        won = [n for n, answer in enumerate(answers) if isinstance(answer, Accepted)]
        assert len(won) == 1
        assert journal.watermark("load") == str(won[0])
        assert [run.run_id for run in journal.runs(state="succeeded")] == [f"r{won[0]}"]


# Records with defaults, for tests of stores


def event(
    kind: str = "run.started", *, task: str = "", data: dict[str, Any] | None = None
) -> Event:
    """An event; only the kind matters."""
    return Event(kind, 1_700_000_000_000, task, data=data)


def run_record(
    run_id: str = "r1",
    *,
    workflow: str = "songs",
    reference: str | None = None,
    key: str | None = None,
    started_at: int = 1_700_000_000_000,
) -> RunRecord:
    """A run in its first epoch."""
    return RunRecord(run_id, workflow, reference, key, "running", 1, started_at)


def lease(
    run_id: str = "r1", *, epoch: int = 1, owner: str = "owner", expires_at: int = 4_000
) -> Lease:
    """A lease, long over."""
    return Lease(run_id, epoch, owner, expires_at)


def acceptance(
    *,
    run_id: str = "r1",
    logical_key: str = "k",
    attempt_id: str = "a1",
    token: Token = FIRST,
    result: str = '{"x":1}',
    branch: BranchName | None = BRANCH,
    input_ref: str | None = A,
    output_ref: str | None = B,
    events: list[Event] | None = None,
) -> Acceptance:
    """An attempt that moves songs@main from A to B."""
    return Acceptance(
        run_id=run_id,
        logical_key=logical_key,
        task_id="load",
        attempt_id=attempt_id,
        token=token,
        result=result,
        branch=branch,
        input_ref=input_ref,
        output_ref=output_ref,
        events=events or (),
    )


def settlement(
    run_id: str = "r1",
    *,
    epoch: int = 1,
    state: str = "succeeded",
    reason: str | None = None,
    branch: BranchName | None = BRANCH,
    input_ref: str | None = None,
    output_ref: str | None = None,
    watermark: Watermark | None = None,
) -> Settlement:
    """The end of a run that moves nothing."""
    return Settlement(
        run_id=run_id,
        epoch=epoch,
        state=state,
        events=[event("run.finished")],
        reason=reason,
        branch=branch,
        input_ref=input_ref,
        output_ref=output_ref,
        watermark=watermark,
    )


def start(journal: Journal, record: RunRecord | None = None) -> None:
    """Creates a run, held by `lease()`."""
    record = record or run_record()
    assert journal.create_run(record, lease(record.run_id), [event()]) is None


def start_on(journal: Journal, commit: str) -> Heads:
    """Creates a run and the branch songs@main at `commit`."""
    heads = _heads(journal)
    assert heads.move_head(BRANCH, None, commit)
    start(journal)
    return heads


def begin_and_accept(journal: Journal, asked: Acceptance) -> Accepted | Adopted | Conflict:
    """Takes the token and asks for acceptance."""
    assert journal.begin_attempt(asked.run_id, asked.logical_key, asked.token) is None
    return journal.accept(asked)


def _close(heads: Heads) -> None:
    if isinstance(heads, Journal):
        heads.close()


def _heads(journal: Journal) -> Heads:
    assert isinstance(journal, Heads), "the journal under test must be Heads too"
    return journal
