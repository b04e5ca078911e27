"""A store of versioned files as a state machine, against a small model of it.

Branches are made, files of a commit are opened, changed and staged, staged commits are claimed
(again, late, twice, by another handle), recalled, released and dropped, and somebody else moves a
branch behind the store's back. The model knows for each branch the chain of what was published
and, for each commit in it, which claim came after it.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from handrail.contracts.workspace import BranchName
from handrail.errors import PublishFenceError, StoreError, UnknownRefError
from handrail.keep.base import Adopted, Claim, Claimed, Conflict
from handrail.keep.files import Draft, VersionedFiles
from handrail.testing.files import content

NAMES = ("main", "dev", "~run-1")
PATHS = ("a", "b", "sub/a", "sub/b")


@dataclass(frozen=True, slots=True)
class Staged:
    """A commit that was staged, and what it holds."""

    ref: str
    input_ref: str
    files: tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class Branch:
    """What the model knows of a branch."""

    head: str
    #: By the commit that it came after, the claim that won.
    claims: dict[str, Claim] = field(default_factory=dict)
    #: Has somebody else moved it?
    is_foreign: bool = False


class FilesMachine(RuleBasedStateMachine):
    """One repository. Subclasses say where it is."""

    staged = Bundle("staged")

    def make(self, folder: Path) -> VersionedFiles:
        """A store with an empty repository, or one that `create` makes."""
        raise NotImplementedError

    def another(self) -> VersionedFiles:
        """Another handle on it."""
        return self.files

    def intrude(self, branch: BranchName) -> None:
        """Moves a branch as somebody else would."""
        raise NotImplementedError

    #: Can anybody else reach it?
    has_intruders = True
    #: Is a branch anybody's until something is published there?
    is_open_at_first = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="handrail-files-"))
        self.files = self.make(self.folder)
        self.handles = [self.files]
        self.branches: dict[str, Branch] = {}
        self.contents: dict[str, dict[str, bytes]] = {}
        #: Keys of claims that lost or were never made with a commit: such a commit may be gone.
        self.released: set[str] = set()
        self.numbers = itertools.count()

    def teardown(self) -> None:
        """Removes it."""
        for handle in self.handles:
            handle.close()
        shutil.rmtree(self.folder)

    def name(self, branch: str) -> BranchName:
        """The branch's whole name."""
        return BranchName(self.files.repository, branch)

    # What may happen

    @initialize()
    def begin(self) -> None:
        """There is a branch main."""
        self.create("main")

    @rule(branch=st.sampled_from(NAMES))
    def create(self, branch: str) -> None:
        """A branch is made from main, or is there already."""
        known = self.branches.get(branch)
        source = self.branches.get("main")
        if (known or source) and (known or source).is_foreign:  # type: ignore[union-attr]
            self._refused(lambda: self.files.create(self.name(branch)))
            return
        head = self.files.create(self.name(branch))
        if known is not None:
            assert head == known.head
            return
        if source is not None:
            assert head == source.head
        else:
            self.contents[head] = {}
        self.branches[branch] = Branch(head)

    @rule(target=staged, data=st.data())
    def stage(self, data: st.DataObject) -> object:
        """Files of some commit that was published are changed and staged."""
        refs = sorted({ref for known in self.branches.values() for ref in self._chain(known)})
        input_ref = data.draw(st.sampled_from(refs), "input ref")
        changes = data.draw(
            st.dictionaries(st.sampled_from(PATHS), st.none() | st.binary(max_size=3), min_size=1),
            "changes",
        )
        opened = self.files.checkout(input_ref, "/", self.folder / f"{next(self.numbers)}")
        files = dict(self.contents[input_ref])
        for path, text in changes.items():
            place = opened.path / path
            if text is None:
                place.unlink(missing_ok=True)
                files.pop(path, None)
                if place.parent != opened.path and place.parent.is_dir():
                    self._remove_if_empty(place.parent)
            else:
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(text)
                files[path] = text
        draft = Draft(input_ref, "staged", 1_700_000_000_000, {"run": f"{next(self.numbers)}"})
        ref = self.files.stage(opened, draft)
        shutil.rmtree(opened.path)
        assert (ref == input_ref) is (files == self.contents[input_ref])
        if ref == input_ref:
            return multiple()
        self.contents[ref] = files
        return Staged(ref, input_ref, tuple(sorted(files.items())))

    @rule(
        one=staged,
        branch=st.sampled_from(NAMES),
        key=st.sampled_from(["k1", "k2", "k3"]),
        is_other_handle=st.booleans(),
    )
    def claim(self, one: Staged, branch: str, key: str, is_other_handle: bool) -> None:
        """A staged commit is to be published: for the first time, again, late, or elsewhere."""
        known = self.branches.get(branch)
        files = self._handle(is_other_handle)
        claim = Claim(self.name(branch), one.input_ref, one.ref, key, f'"{key}"', f"a {one.ref}")
        if one.ref in self.released:
            return
        if known is None:
            self._refused(lambda: self._told(files.claim(claim)))
            self.released.add(one.ref)
            return
        won = known.claims.get(one.input_ref)
        answer = files.claim(claim)
        if won is not None and won.logical_key == key:
            assert isinstance(answer, Adopted)
            assert (answer.ref, answer.result) == (won.output_ref, won.result)
            assert answer.attempt_id == won.attempt_id
        elif won is None and one.input_ref == known.head and not known.is_foreign:
            assert answer == Claimed(one.ref)
            known.claims[one.input_ref] = claim
            known.head = one.ref
            return
        else:
            assert isinstance(answer, Conflict)
        if one.ref not in self._published():
            self.released.add(one.ref)

    @rule(one=staged, branch=st.sampled_from(NAMES), key=st.sampled_from(["k1", "k2", "k3"]))
    def recall(self, one: Staged, branch: str, key: str) -> None:
        """What was published after a commit is asked for."""
        known = self.branches.get(branch)
        won = known.claims.get(one.input_ref) if known is not None else None
        found = self.files.recall(self.name(branch), one.input_ref, key)
        if won is None or won.logical_key != key:
            assert found is None
        else:
            assert found == Adopted(won.attempt_id, won.output_ref, won.result)

    @rule(one=consumes(staged))
    def release(self, one: Staged) -> None:
        """A staged commit is let go; what was published stays."""
        self.files.release(one.ref)
        if one.ref not in self._published():
            self.released.add(one.ref)

    @rule(branch=st.sampled_from(NAMES[1:]))
    def drop(self, branch: str) -> None:
        """A branch is removed with its claims, or was not there."""
        known = self.branches.pop(branch, None)
        self.files.drop(self.name(branch))
        if known is not None:
            self.released |= {ref for ref in known.claims if ref not in self._published()}
            self.released |= {known.head} - self._published()

    @precondition(lambda self: self.has_intruders)
    @rule(branch=st.sampled_from(NAMES[1:]))
    def move_behind_its_back(self, branch: str) -> None:
        """Somebody else moves a branch."""
        known = self.branches.get(branch)
        if known is None or known.is_foreign or (self.is_open_at_first and not known.claims):
            return
        self.intrude(self.name(branch))
        known.is_foreign = True

    @rule(branch=st.sampled_from(NAMES))
    def repair(self, branch: str) -> None:
        """It is looked whether a branch shows what was published."""
        if branch in self.branches:
            said = self.files.repair(self.name(branch))
            assert bool(said) is self.branches[branch].is_foreign, said

    # What always holds

    @invariant()
    def heads_are_as_the_model_has_them(self) -> None:
        """Each branch is at the last commit that was published there."""
        for name in NAMES:
            known = self.branches.get(name)
            if known is not None and known.is_foreign:
                self._refused(lambda: self.files.head(self.name(name)))  # noqa: B023
            else:
                head = self.files.head(self.name(name))
                assert head == (known.head if known is not None else None)

    @invariant()
    def what_was_published_is_there(self) -> None:
        """Each branch's last commit holds what was staged, and its log is its chain."""
        for known in self.branches.values():
            assert content(self.files, known.head) == self.contents[known.head]
            log = [ref for ref, _ in self.files.log(known.head)]
            chain = self._chain(known)
            assert log[: len(chain)] == chain[::-1]

    # Parts

    def _handle(self, is_other: bool) -> VersionedFiles:
        if not is_other:
            return self.files
        if len(self.handles) == 1:
            self.handles.append(self.another())
        return self.handles[-1]

    def _chain(self, known: Branch) -> list[str]:
        """Its commits since it was made, oldest first."""
        found = [known.head]
        before = {claim.output_ref: ref for ref, claim in known.claims.items()}
        while found[0] in before:
            found.insert(0, before[found[0]])
        return found

    def _published(self) -> set[str]:
        return {ref for known in self.branches.values() for ref in self._chain(known)}

    def _remove_if_empty(self, folder: Path) -> None:
        if not any(folder.iterdir()):
            folder.rmdir()

    def _told(self, answer: object) -> None:
        """An answer that says no is as good as an error."""
        if isinstance(answer, Conflict):
            raise StoreError(str(answer))

    def _refused(self, act: object) -> None:
        assert callable(act)
        try:
            found = act()
        except (PublishFenceError, UnknownRefError, StoreError):
            return
        raise AssertionError(f"it was not refused: {found}")
