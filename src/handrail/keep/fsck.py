"""Reading everything that is stored, to find what is missing or damaged and what hangs on it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from handrail.contracts.workspace import BranchName
from handrail.errors import StoreError, UnknownRefError
from handrail.keep.base import Commit, Journal, ObjectStore, TreeEntry
from handrail.keep.objects import PIECE_BYTES
from handrail.keep.scan import WORKERS
from handrail.keep.trees import Trees

#: More runs than any journal holds.
_ALL_RUNS = 1 << 31
#: Digests that are handed to the threads at a time.
_BATCH = 512

_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True, slots=True)
class Damage:
    """One object that is not as it should be, and what hangs on it."""

    digest: str
    #: "commit", "folder", "file", "link", or "object" where nothing refers to it.
    kind: str
    #: What is wrong, as a part of a sentence.
    problem: str
    #: Where it is, from the top of the repository; of one of the commits. Empty: at the top.
    path: str = ""
    #: Commits whose files it is among, or that come right after it.
    commits: tuple[str, ...] = ()
    #: Branches and tags that name one of them, or the object itself; "tag:" stands before tags.
    heads: tuple[str, ...] = ()
    #: Runs that made, started from or left one of them.
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check has read and found."""

    commit_count: int
    folder_count: int
    content_count: int
    #: Objects that nothing refers to, and that were read as well.
    unreferenced_count: int
    size_bytes: int
    damages: tuple[Damage, ...]


@dataclass(slots=True)
class Roots:
    """Commits that must be there, and who says so."""

    #: `{commit: branches and tags that name it}`
    heads: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: `{commit: runs with an accepted attempt that started from it or left it}`
    runs: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @classmethod
    def of(cls, heads: Mapping[BranchName, str], journal: Journal | None) -> Roots:
        """Of heads by repository and branch, and of the ledger."""
        roots = cls()
        for name, ref in heads.items():
            roots.heads[ref].add(str(name))
        if journal is None:
            return roots
        for run in journal.runs(limit=_ALL_RUNS):
            for acceptance in journal.accepted(run.run_id):
                for ref in filter(None, (acceptance.input_ref, acceptance.output_ref)):
                    roots.runs[ref].add(run.run_id)
        return roots

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.heads, *self.runs]))


def check(
    objects: ObjectStore,
    roots: Roots,
    *,
    is_all: bool = False,
    workers: int = WORKERS,
    told: Callable[[int], None] = lambda size_bytes: None,
) -> Checked:
    """Reads every object that the roots need, in parallel, and compares it with its name.

    Args:
        is_all: reads the objects that nothing refers to, too.
        told: called with the length of each object that was read.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="handrail-fsck") as pool:
        return _Check(objects, roots, pool, told).run(is_all=is_all)


class _Check:
    def __init__(
        self,
        objects: ObjectStore,
        roots: Roots,
        pool: ThreadPoolExecutor,
        told: Callable[[int], None],
    ) -> None:
        self._objects = objects
        self._trees = Trees(objects)
        self._roots = roots
        self._pool = pool
        self._told = told
        self._size_bytes = 0
        self._commits: dict[str, Commit | None] = {}
        self._folders: dict[str, tuple[TreeEntry, ...] | None] = {}
        self._contents: dict[str, TreeEntry] = {}
        #: By digest: its kind and what is wrong.
        self._problems: dict[str, tuple[str, str]] = {}

    def run(self, *, is_all: bool) -> Checked:
        self._read_commits()
        self._read_folders()
        self._read_contents(self._contents, lambda digest: self._contents[digest])
        unreferenced: list[str] = []
        if is_all:
            unreferenced = [d for d in self._objects.digests() if not self._knows(d)]
            self._read_contents(unreferenced, lambda digest: None)
        return Checked(
            len(self._commits),
            len(self._folders),
            len(self._contents),
            len(unreferenced),
            self._size_bytes,
            tuple(self._damages()) if self._problems else (),
        )

    def _knows(self, digest: str) -> bool:
        return digest in self._commits or digest in self._folders or digest in self._contents

    # Reading

    def _read_commits(self) -> None:
        waiting = set(self._roots)
        while waiting:
            for digest, problem in self._looked_at(waiting):
                commit = None if problem else self._parsed("commit", digest, self._trees.commit)
                self._commits[digest] = commit
                self._note(digest, "commit", problem)
            parents = {p for each in waiting for p in self._parents(each)}
            waiting = parents - self._commits.keys()

    def _parents(self, digest: str) -> tuple[str, ...]:
        commit = self._commits[digest]
        return commit.parents if commit is not None else ()

    def _read_folders(self) -> None:
        waiting = {commit.tree for commit in self._commits.values() if commit is not None}
        while waiting:
            for digest, problem in self._looked_at(waiting):
                entries = None if problem else self._parsed("folder", digest, self._trees.entries)
                self._folders[digest] = entries
                self._note(digest, "folder", problem)
            entries_found = [e for each in waiting for e in self._folders[each] or ()]
            waiting = {e.digest for e in entries_found if e.kind == "tree"} - self._folders.keys()
            self._contents.update((e.digest, e) for e in entries_found if e.kind != "tree")

    def _parsed(self, kind: str, digest: str, read: Callable[[str], _Parsed]) -> _Parsed | None:
        try:
            return read(digest)
        except (StoreError, KeyError, TypeError, ValueError, AttributeError) as error:
            self._problems[digest] = (kind, f"cannot be understood: {error}")
            return None

    def _read_contents(
        self, digests: Iterable[str], entry_of: Callable[[str], TreeEntry | None]
    ) -> None:
        sizes: dict[str, int] = {}
        for digest, problem in self._looked_at(digests, sizes):
            entry = entry_of(digest)
            if problem is None and entry is not None and sizes[digest] != entry.size_bytes:
                problem = f"has {sizes[digest]} bytes where its folder says {entry.size_bytes}"
            self._note(digest, entry.kind if entry is not None else "object", problem)

    def _note(self, digest: str, kind: str, problem: str | None) -> None:
        if problem is not None:
            self._problems[digest] = (kind, problem)

    def _looked_at(
        self, digests: Iterable[str], sizes: dict[str, int] | None = None
    ) -> Iterator[tuple[str, str | None]]:
        """Each digest with what is wrong with its object, read in parallel."""
        waiting = list(digests)
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            for digest, (size_bytes, problem) in zip(
                batch, self._pool.map(self._look, batch), strict=True
            ):
                self._size_bytes += size_bytes
                self._told(size_bytes)
                if sizes is not None:
                    sizes[digest] = size_bytes
                yield digest, problem

    def _look(self, digest: str) -> tuple[int, str | None]:
        hashing = hashlib.sha256()
        size_bytes = 0
        try:
            with self._objects.open(digest) as file:
                while piece := file.read(PIECE_BYTES):
                    hashing.update(piece)
                    size_bytes += len(piece)
        except UnknownRefError:
            return 0, "is missing"
        except (StoreError, OSError) as error:
            return size_bytes, f"cannot be read: {error}"
        if hashing.hexdigest() != digest:
            return size_bytes, "is damaged: its content is not what its name says"
        return size_bytes, None

    # What hangs on it

    def _damages(self) -> Iterator[Damage]:
        commits: dict[str, dict[str, str]] = {digest: {} for digest in self._problems}
        within: dict[str, dict[str, str]] = {}
        for commit_id, commit in self._commits.items():
            if commit is None:
                continue
            for parent in commit.parents:
                if parent in commits:
                    commits[parent][commit_id] = ""
            for digest, path in self._damaged_in(commit.tree, within).items():
                commits[digest][commit_id] = path
        for digest, (kind, problem) in sorted(self._problems.items(), key=lambda item: item[1]):
            yield self._damage(digest, kind, problem, commits[digest])

    def _damage(self, digest: str, kind: str, problem: str, commits: Mapping[str, str]) -> Damage:
        touched = [digest, *commits]
        heads = {name for commit in touched for name in self._roots.heads.get(commit, ())}
        runs = {run for commit in touched for run in self._roots.runs.get(commit, ())}
        for commit_id in commits:
            commit = self._commits[commit_id]
            if commit is not None and commit.made_by.get("run"):
                runs.add(commit.made_by["run"])
        return Damage(
            digest,
            kind,
            problem,
            next(iter(commits.values()), ""),
            tuple(sorted(commits)),
            tuple(sorted(heads)),
            tuple(sorted(runs)),
        )

    def _damaged_in(self, tree: str, known: dict[str, dict[str, str]]) -> dict[str, str]:
        """`{damaged object: path}` within a folder; of several paths one."""
        if tree in known:
            return known[tree]
        found = {tree: ""} if tree in self._problems else {}
        for entry in self._folders.get(tree) or ():
            if entry.kind == "tree":
                below = self._damaged_in(entry.digest, known)
                found.update((d, f"{entry.name}/{path}".rstrip("/")) for d, path in below.items())
            elif entry.digest in self._problems:
                found[entry.digest] = entry.name
        known[tree] = found
        return found
