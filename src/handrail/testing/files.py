"""What every store of versioned files must do, as a test class to inherit.

```python
class TestMyFiles(VersionedFilesContract):
    def make(self, folder: Path) -> MyFiles:
        return MyFiles(folder / "store", "songs")

    def intrude(self, files: VersionedFiles, branch: BranchName) -> None:
        ...
```

`make` is called with an empty folder. Where several handles on one store are possible,
override `another` too, and the races run between handles.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from handrail.contracts.workspace import BranchName
from handrail.errors import StoreError, UnknownRefError, UnsupportedFileError
from handrail.keep.base import Adopted, Conflict
from handrail.keep.files import Claim, Claimed, Draft, OpenFiles, VersionedFiles
from handrail.testing.stores import race

_AT = 1_700_000_000_123
_RACERS = 8


class VersionedFilesContract(ABC):
    """See the top of this module."""

    @abstractmethod
    def make(self, folder: Path) -> VersionedFiles:
        """A store with an empty repository, or one that `create` makes."""

    @abstractmethod
    def intrude(self, files: VersionedFiles, branch: BranchName) -> str:
        """Moves a branch as somebody else would, with a file `foreign.txt`; returns its head."""

    def another(self, files: VersionedFiles) -> VersionedFiles:
        """Another handle on the same repository."""
        return files

    @pytest.fixture
    def files(self, tmp_path: Path) -> VersionedFiles:
        """The store under test."""
        folder = tmp_path / "store"
        folder.mkdir()
        return self.make(folder)

    @pytest.fixture
    def branch(self, files: VersionedFiles) -> BranchName:
        """Its branch main, which exists."""
        branch = BranchName(files.repository)
        files.create(branch)
        return branch

    # Branches

    def test_a_branch_that_nobody_made_has_no_head(self, files: VersionedFiles) -> None:
        assert files.head(BranchName(files.repository, "nothing")) is None

    def test_creating_a_branch_again_changes_nothing(
        self, files: VersionedFiles, branch: BranchName
    ) -> None:
        assert files.create(branch) == files.create(branch) == files.head(branch)

    def test_a_branch_starts_from_what_the_default_branch_published(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        published = publish(files, branch, tmp_path / "a", {"a.txt": "1"})
        dev = BranchName(files.repository, "dev")

        assert files.create(dev) == published
        assert files.branches() == {"dev": published, "main": published}

    @pytest.mark.parametrize("name", ["~run-01", "team/x", "v1.2", "a_b", "é"])
    def test_names_of_branches_are_kept(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path, name: str
    ) -> None:
        other = BranchName(files.repository, name)
        files.create(other)
        published = publish(files, other, tmp_path / "a", {"a.txt": "1"})

        assert files.head(other) == published
        assert files.head(branch) != published
        assert (name in files.branches()) is not name.startswith("~")

    def test_branches_have_chains_of_their_own(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        dev = BranchName(files.repository, "dev")
        assert files.create(dev) == files.head(branch)
        one = publish(files, branch, tmp_path / "a", {"a.txt": "1"})
        other = publish(files, dev, tmp_path / "b", {"a.txt": "2"})

        assert (files.head(branch), files.head(dev)) == (one, other)

    def test_a_dropped_branch_is_gone_and_its_commits_stay_where_they_were_published(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        work = BranchName(files.repository, "~run-02")
        files.create(work)
        publish(files, work, tmp_path / "a", {"a.txt": "1"})
        done = publish(files, work, tmp_path / "b", {"b.txt": "2"})

        assert files.claim(Claim(branch, begin, done, "the run", "1")) == Claimed(done)
        files.drop(work)
        files.drop(work)

        assert files.head(work) is None
        assert files.head(branch) == done
        assert content(files, done) == {"a.txt": b"1", "b.txt": b"2"}

    # Checkout and staging

    @pytest.mark.parametrize("ref", ["main", "abc", "A" * 64, ""])
    def test_only_a_commit_id_is_checked_out(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path, ref: str
    ) -> None:
        with pytest.raises(UnknownRefError):
            files.checkout(ref, "/", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_an_unknown_commit_is_refused(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        with pytest.raises(UnknownRefError):
            files.checkout("0" * 64, "/", tmp_path / "out")

    def test_a_folder_that_holds_something_is_refused(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("1")
        with pytest.raises(StoreError):
            files.checkout(head(files, branch), "/", tmp_path / "out")
        assert sorted(os.listdir(tmp_path / "out")) == ["mine"]

    def test_what_was_staged_comes_back(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        opened = files.checkout(head(files, branch), "/", tmp_path / "a")
        fill(opened.path)
        ref = stage(files, opened)
        again = files.checkout(ref, "/", tmp_path / "b")

        assert picture(again.path) == picture(opened.path)
        assert stage(files, again) == ref
        assert os.stat(again.path).st_mode & 0o777 == 0o700

    def test_what_was_staged_is_listed(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        opened = files.checkout(head(files, branch), "/", tmp_path / "a")
        fill(opened.path)
        ref = stage(files, opened)

        found = {path: (entry.kind, entry.mode) for path, entry in files.entries(ref)}
        assert list(found) == sorted(found)
        assert found["sub/run.sh"] == ("file", 0o755)
        assert found["sub/link"] == ("link", 0)
        assert found["hollow/inner"] == ("tree", 0)
        assert "sub" not in found
        assert [path for path, _ in files.entries(ref, "sub")] == ["sub/link", "sub/run.sh"]

    def test_without_a_change_the_input_ref_is_returned(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        ref = publish(files, branch, tmp_path / "a", {"a.txt": "1", "b.txt": "2"})
        opened = files.checkout(ref, "/", tmp_path / "b")
        (opened.path / "a.txt").write_text("1")  # written, and the same
        (opened.path / "b.txt").touch()

        assert stage(files, opened) == ref

    def test_each_kind_of_change_is_staged(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        opened = files.checkout(head(files, branch), "/", tmp_path / "a")
        for name in ("same", "edited", "gone", "chmod", "to-link", "to-folder", "f/only"):
            (opened.path / name).parent.mkdir(exist_ok=True)
            (opened.path / name).write_text(name)
        (opened.path / "hollow").mkdir()
        first = stage(files, opened)
        opened = files.checkout(first, "/", tmp_path / "b")
        (opened.path / "edited").write_text("other")
        (opened.path / "gone").unlink()
        (opened.path / "chmod").chmod(0o755)
        (opened.path / "to-link").unlink()
        (opened.path / "to-link").symlink_to("same")
        (opened.path / "to-folder").unlink()
        (opened.path / "to-folder").mkdir()
        (opened.path / "to-folder" / "x").write_text("x")
        (opened.path / "f" / "only").unlink()  # leaves an empty folder
        (opened.path / "hollow").rmdir()
        (opened.path / "added").write_text("")
        second = stage(files, opened)

        again = files.checkout(second, "/", tmp_path / "c")
        assert picture(again.path) == picture(opened.path)
        kinds = {change.path: change.kind for change in files.diff(first, second)}
        assert kinds["edited"] == kinds["chmod"] == "changed"
        assert kinds["gone"] == "removed"
        assert kinds["added"] == "added"
        assert "same" not in kinds

    def test_a_folder_that_was_filled_and_removed_is_gone(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        opened = files.checkout(head(files, branch), "/", tmp_path / "a")
        (opened.path / "hollow").mkdir()
        opened = files.checkout(stage(files, opened), "/", tmp_path / "b")
        (opened.path / "hollow" / "x").write_text("x")
        opened = files.checkout(stage(files, opened), "/", tmp_path / "c")
        assert picture(opened.path).keys() == {"hollow", "hollow/x"}
        (opened.path / "hollow" / "x").unlink()
        (opened.path / "hollow").rmdir()
        opened = files.checkout(stage(files, opened), "/", tmp_path / "d")

        assert picture(opened.path) == {}

    def test_a_task_sees_and_changes_its_prefix_only(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = {"top.txt": "t", "a/x.txt": "x", "a/b/y.txt": "y", "ab/z.txt": "z"}
        ref = publish(files, branch, tmp_path / "a", begin)
        opened = files.checkout(ref, "a", tmp_path / "b")
        assert picture(opened.path).keys() == {"x.txt", "b", "b/y.txt"}
        (opened.path / "x.txt").unlink()
        (opened.path / "new.txt").write_text("n")

        assert content(files, stage(files, opened)) == {
            "top.txt": b"t",
            "a/b/y.txt": b"y",
            "a/new.txt": b"n",
            "ab/z.txt": b"z",
        }

    def test_a_prefix_that_is_missing_is_an_empty_folder(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        opened = files.checkout(head(files, branch), "deep/er", tmp_path / "a")
        assert picture(opened.path) == {}
        assert stage(files, opened) == opened.ref
        (opened.path / "x").write_text("x")
        assert content(files, stage(files, opened)) == {"deep/er/x": b"x"}

    def test_what_a_workspace_cannot_hold_is_refused(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        opened = files.checkout(head(files, branch), "/", tmp_path / "a")
        os.mkfifo(opened.path / "pipe")
        with pytest.raises(UnsupportedFileError, match="pipe"):
            stage(files, opened)

    def test_what_is_staged_is_not_published(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        opened = files.checkout(begin, "/", tmp_path / "a")
        (opened.path / "a.txt").write_text("1")
        assert stage(files, opened) != begin
        assert files.head(branch) == begin

    # Claims

    def test_a_claim_publishes(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        ref = staged(files, branch, tmp_path / "a", {"a.txt": "1"})

        assert files.claim(Claim(branch, begin, ref, "load", '{"n":1}')) == Claimed(ref)
        assert files.head(branch) == ref
        assert self.another(files).head(branch) == ref
        assert [found for found, _ in files.log(ref)][:2] == [ref, begin]

    def test_the_same_claim_again_adopts(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        ref = staged(files, branch, tmp_path / "a", {"a.txt": "1"})
        claim = Claim(branch, begin, ref, "load", '{"n":1}', "attempt-1")
        assert files.claim(claim) == Claimed(ref)

        assert files.claim(claim) == Adopted("attempt-1", ref, '{"n":1}')
        assert self.another(files).claim(claim) == Adopted("attempt-1", ref, '{"n":1}')

    def test_the_same_work_adopts_what_its_first_attempt_left(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        first = staged(files, branch, tmp_path / "a", {"a.txt": "1"})
        second = staged(files, branch, tmp_path / "b", {"a.txt": "2"})
        files.claim(Claim(branch, begin, first, "load", '"one"', "attempt-1"))

        answer = files.claim(Claim(branch, begin, second, "load", '"two"', "attempt-2"))
        assert answer == Adopted("attempt-1", first, '"one"')
        assert files.head(branch) == first

    def test_other_work_from_the_same_input_is_a_conflict_that_says_who_won(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        first = staged(files, branch, tmp_path / "a", {"a.txt": "1"})
        second = staged(files, branch, tmp_path / "b", {"b.txt": "2"})
        files.claim(Claim(branch, begin, first, "load", "1"))

        answer = files.claim(Claim(branch, begin, second, "clean", "2"))
        assert isinstance(answer, Conflict)
        assert (answer.expected, answer.found) == (begin, first)
        assert "load" in answer.what
        assert content(files, head(files, branch)) == {"a.txt": b"1"}

    def test_a_task_that_changed_nothing_moves_nothing(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        first = publish(files, branch, tmp_path / "a", {"a.txt": "1"})

        assert files.claim(Claim(branch, begin, begin, "look", "2")) == Claimed(begin)
        assert files.head(branch) == first

    def test_a_zombie_is_refused_after_its_successors(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        stale = staged(files, branch, tmp_path / "z", {"a.txt": "stale"})
        publish(files, branch, tmp_path / "a", {"a.txt": "1"})
        last = publish(files, branch, tmp_path / "b", {"b.txt": "2"})

        answer = files.claim(Claim(branch, begin, stale, "old work", "0"))
        assert isinstance(answer, Conflict)
        assert files.head(branch) == last
        assert content(files, last) == {"a.txt": b"1", "b.txt": b"2"}

    def test_a_commit_that_was_never_published_is_no_input(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        publish(files, branch, tmp_path / "a", {"a.txt": "1"})
        aside = staged(files, branch, tmp_path / "b", {"b.txt": "2"})
        opened = files.checkout(aside, "/", tmp_path / "c")
        (opened.path / "c.txt").write_text("3")
        after = stage(files, opened)

        assert isinstance(files.claim(Claim(branch, aside, after, "x", "1")), Conflict)

    def test_a_branch_never_goes_back(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        ref = publish(files, branch, tmp_path / "a", {"a.txt": "1"})
        with pytest.raises(StoreError, match="come"):
            files.claim(Claim(branch, ref, begin, "undo", "1"))
        assert files.head(branch) == ref

    def test_a_long_result_is_adopted_whole(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        ref = staged(files, branch, tmp_path / "a", {"a.txt": "1"})
        result = '"' + "é" * 300_000 + '"'
        files.claim(Claim(branch, begin, ref, "load", result))

        found = self.another(files).recall(branch, begin, "load")
        assert found is not None
        assert found.result == result
        assert content(files, ref) == {"a.txt": b"1"}

    def test_of_many_claims_one_wins(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        refs = self._staged(files, branch, tmp_path)
        handles = [self.another(files) for _ in refs]

        answers = race(
            _RACERS,
            lambda one: handles[one].claim(Claim(branch, begin, refs[one], f"work {one}", "1")),
        )
        won = [answer.ref for answer in answers if isinstance(answer, Claimed)]
        assert won == [files.head(branch)]
        lost = [answer for answer in answers if isinstance(answer, Conflict)]
        assert len(lost) == _RACERS - 1
        assert {answer.found for answer in lost} == set(won)

    def test_of_many_attempts_of_one_work_one_wins_and_the_others_adopt(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        refs = self._staged(files, branch, tmp_path)
        handles = [self.another(files) for _ in refs]

        answers = race(
            _RACERS,
            lambda one: handles[one].claim(
                Claim(branch, begin, refs[one], "work", str(one), f"attempt-{one}")
            ),
        )
        won = [one for one, answer in enumerate(answers) if isinstance(answer, Claimed)]
        assert len(won) == 1
        adopted = Adopted(f"attempt-{won[0]}", refs[won[0]], str(won[0]))
        assert [answer for answer in answers if answer == adopted] == [adopted] * (_RACERS - 1)
        assert files.head(branch) == refs[won[0]]

    def _staged(self, files: VersionedFiles, branch: BranchName, tmp_path: Path) -> list[str]:
        return [
            staged(files, branch, tmp_path / f"w{one}", {f"{one}.txt": str(one)})
            for one in range(_RACERS)
        ]

    def test_what_was_published_is_recalled_by_the_same_work_alone(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        ref = staged(files, branch, tmp_path / "a", {"a.txt": "1"})
        assert files.recall(branch, begin, "load") is None
        files.claim(Claim(branch, begin, ref, "load", "[1]", "attempt-1"))

        assert files.recall(branch, begin, "load") == Adopted("attempt-1", ref, "[1]")
        assert files.recall(branch, begin, "clean") is None
        assert files.recall(branch, ref, "load") is None

    # Others on the branch

    def test_a_branch_that_others_moved_is_a_conflict(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        publish(files, branch, tmp_path / "a", {"a.txt": "1"})
        begin = head(files, branch)
        ref = staged(files, branch, tmp_path / "b", {"b.txt": "2"})
        foreign = self.intrude(files, branch)

        answer = files.claim(Claim(branch, begin, ref, "load", "1"))
        assert isinstance(answer, Conflict)
        assert (answer.expected, answer.found) == (begin, foreign)
        assert content(files, foreign).keys() == {"a.txt", "foreign.txt"}

    # What is left

    def test_a_released_commit_leaves_nothing(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        ref = staged(files, branch, tmp_path / "a", {"a.txt": "1"})
        files.release(ref)
        files.release(ref)
        files.release("0" * 64)
        assert files.sweep(older_than_seconds=-60) == []

    def test_nothing_is_left_of_what_was_published_or_refused(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        first = staged(files, branch, tmp_path / "a", {"a.txt": "1"})
        second = staged(files, branch, tmp_path / "b", {"b.txt": "2"})
        files.claim(Claim(branch, begin, first, "load", "1"))
        files.claim(Claim(branch, begin, second, "clean", "1"))
        assert files.sweep(older_than_seconds=-60) == []

    def test_the_dead_are_swept_and_the_living_and_the_young_are_not(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        refs = [
            staged(files, branch, tmp_path / run, {"a.txt": run}, run=run)
            for run in ("dead", "alive")
        ]
        assert files.sweep() == []
        swept = files.sweep(lambda owner: owner == "alive", older_than_seconds=-60)
        assert len(swept) <= 1  # a store may have nothing to sweep before it collects garbage
        begin = head(files, branch)
        assert files.claim(Claim(branch, begin, refs[1], "load", "1")) == Claimed(refs[1])

    # Looking

    def test_a_file_is_opened_anywhere_in_it(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        ref = publish(files, branch, tmp_path / "a", {"a/x.txt": "0123456789"})
        with files.open(ref, "a/x.txt") as file:
            file.seek(4)
            assert file.read(3) == b"456"

    def test_a_path_that_is_no_file_is_not_opened(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        opened = files.checkout(head(files, branch), "/", tmp_path / "a")
        fill(opened.path)
        ref = stage(files, opened)
        for path in ("missing", "sub", "sub/link"):
            with pytest.raises(UnknownRefError):
                files.open(ref, path)

    def test_a_commit_tells_who_made_it(
        self, files: VersionedFiles, branch: BranchName, tmp_path: Path
    ) -> None:
        begin = head(files, branch)
        ref = staged(files, branch, tmp_path / "a", {"a.txt": "1"}, run="run-7")
        found = dict(files.log(ref))[ref]

        assert (found.parents, found.message, found.at) == ((begin,), "staged", _AT)
        assert found.made_by["run"] == "run-7"


# Doing what tests need


def head(files: VersionedFiles, branch: BranchName) -> str:
    """The head of a branch that exists."""
    found = files.head(branch)
    assert found is not None
    return found


def stage(files: VersionedFiles, opened: OpenFiles, run: str = "run-1") -> str:
    """Stages what a checkout holds now."""
    return files.stage(opened, Draft(opened.ref, "staged", _AT, {"run": run}))


def staged(
    files: VersionedFiles,
    branch: BranchName,
    folder: Path,
    content: dict[str, str],
    *,
    run: str = "run-1",
) -> str:
    """A commit after the head of a branch, with these files added."""
    opened = files.checkout(head(files, branch), "/", folder)
    for path, text in content.items():
        (opened.path / path).parent.mkdir(parents=True, exist_ok=True)
        (opened.path / path).write_text(text)
    return stage(files, opened, run)


def publish(
    files: VersionedFiles, branch: BranchName, folder: Path, content: dict[str, str]
) -> str:
    """Adds these files to a branch; returns the commit."""
    begin = head(files, branch)
    ref = staged(files, branch, folder, content)
    assert files.claim(Claim(branch, begin, ref, f"publish {folder.name}", "null")) == Claimed(ref)
    return ref


def content(files: VersionedFiles, ref: str) -> dict[str, bytes]:
    """The files of a commit."""
    found = {}
    for path, entry in files.entries(ref):
        if entry.kind == "file":
            with files.open(ref, path) as file:
                found[path] = file.read()
    return found


def fill(folder: Path) -> None:
    """Writes one of everything that a workspace may hold."""
    (folder / "empty").write_bytes(b"")
    (folder / "empty too").write_bytes(b"")
    (folder / "binary").write_bytes(bytes(range(256)) * 5000)
    (folder / "ünï ✓ #?%&+=.txt").write_text("odd")
    (folder / "e\u0301").write_text("decomposed")
    (folder / ".hidden").write_text("h")
    (folder / "back\\slash").write_text("b")
    (folder / "sub").mkdir()
    (folder / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "sub" / "run.sh").chmod(0o755)
    (folder / "sub" / "link").symlink_to("../ünï ✓ #?%&+=.txt")
    (folder / "secret").write_text("s")
    (folder / "secret").chmod(0o600)
    (folder / "hollow" / "inner").mkdir(parents=True)


def picture(folder: Path) -> dict[str, object]:
    """All that a folder holds, by path."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = None
        else:
            found[name] = (path.stat().st_mode & 0o777, path.read_bytes())
    return found
