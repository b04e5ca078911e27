"""Looking after what a home keeps: collected, checked, carried elsewhere, shown as it once was."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from handrail.app import Runtime
from handrail.errors import StoreError
from handrail.keep.base import ObjectStore
from handrail.keep.collect import Collected, collect_garbage, collecting, commits_in_use, storing
from handrail.keep.faults import storage_faults
from handrail.keep.fsck import Checked, Roots, check
from handrail.keep.objects import FileObjects
from handrail.keep.packs import Imported, Manifest, read_pack, write_pack
from handrail.keep.ref import Ref
from handrail.keep.sql import milliseconds
from handrail.run.files import FilesOf, left_by, seen_by

#: What is younger is never collected.
GRACE_SECONDS = 3600.0
#: Kept results that are older are forgotten.
RESULTS_SECONDS = 90 * 86_400.0
#: More runs than any journal holds.
_ALL_RUNS = 1 << 31
#: What a check of shared objects has on this disk at a time, so that it reads the shared ones.
_CHECK_CACHE_BYTES = 1_000_000_000

Told = Callable[[int], None]


def _nothing(count: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a collection of a home did, or would do."""

    objects: Collected
    #: Results that were kept for reuse and are forgotten.
    forgotten_count: int
    #: Files of puts and imports that never ended.
    abandoned_count: int
    #: Objects stored since then (milliseconds since 1970, UTC) are left alone.
    keep_newer_than: int


def collect(
    runtime: Runtime,
    *,
    grace_seconds: float = GRACE_SECONDS,
    results_seconds: float = RESULTS_SECONDS,
    dry_run: bool = False,
    told: Told = _nothing,
) -> Swept:
    """Removes what no branch, tag or accepted attempt needs, and forgets old kept results.

    What is younger than the grace period is left alone, and so is all that was stored since
    the oldest run that is at work was started.

    Args:
        results_seconds: age at which a result that was kept for reuse is forgotten.
        dry_run: changes nothing and tells what it would do.
        told: called with 1 for each object that was looked at.

    Raises:
        UnknownRefError: something in use is missing; nothing is removed then.
        StoreError: somebody imports or commits at this moment.
    """
    runtime.check_own_store()
    now = milliseconds()
    keep_newer_than = now - int(grace_seconds * 1000)
    results_before = now - int(results_seconds * 1000)
    kept = runtime.kept_results
    with collecting(runtime.home.path):
        # Runs before roots: what a run accepts in between was stored after its start.
        keep_newer_than = min([keep_newer_than, *_starts_of_live_runs(runtime)])
        collected = collect_garbage(
            runtime.trees,
            runtime.objects,
            commits_in_use(runtime.journal, runtime.journal),
            keep_newer_than,
            dry_run=dry_run,
            told=told,
        )
        if dry_run:
            return Swept(collected, kept.count(before=results_before), 0, keep_newer_than)
        abandoned = FileObjects(runtime.home.objects).delete_abandoned(keep_newer_than)
        return Swept(collected, kept.forget(before=results_before), abandoned, keep_newer_than)


def _starts_of_live_runs(runtime: Runtime) -> Iterator[int]:
    for record in runtime.journal.runs(state="running", limit=_ALL_RUNS):
        if runtime.is_alive(record.run_id):
            yield record.started_at


def check_home(
    runtime: Runtime,
    repository: str | None = None,
    *,
    is_all: bool = False,
    told: Told = _nothing,
) -> Checked:
    """Reads what branches, tags and accepted attempts need, and compares it with its names.

    Args:
        repository: only what its branches and tags need; by default of all, and the ledger.
        is_all: objects that nothing refers to as well.
        told: called with the length of each object that was read.
    """
    runtime.check_own_store()
    journal = runtime.journal
    heads = journal.heads(repository)
    if repository is not None and not heads:
        runtime.repository(repository).head()
    roots = Roots.of(heads, journal if repository is None else None)
    with _as_stored(runtime) as objects:
        return check(objects, roots, is_all=is_all, told=told)


@contextmanager
def _as_stored(runtime: Runtime) -> Iterator[ObjectStore]:
    """The objects, without what this machine's cache has of them."""
    if runtime.settings.objects_url is None:
        yield runtime.objects
        return
    from handrail.keep.bucket import Bucket
    from handrail.keep.object_cache import ObjectCache
    from handrail.keep.shared_objects import SharedObjects

    with tempfile.TemporaryDirectory(dir=runtime.home.path, prefix="fsck-") as folder:
        cache = ObjectCache(Path(folder), _CHECK_CACHE_BYTES)
        objects = SharedObjects(Bucket.at(runtime.settings.objects_url.get_secret_value()), cache)
        try:
            yield objects
        finally:
            objects.close()


# Carrying


def export_repository(
    runtime: Runtime,
    name: str,
    path: Path,
    *,
    replace: bool = False,
    begun: Told = _nothing,
    told: Told = _nothing,
) -> Manifest:
    """Writes a repository to a file, whole or not at all; see `handrail.keep.packs`.

    Args:
        replace: a file that is there; else it is refused.

    Raises:
        StoreError: the file is there, or cannot be written.
    """
    if path.exists() and not replace:
        raise StoreError(f"{path} exists. Choose another name, or replace it with --force.")
    with storage_faults(path):
        number, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(number, "wb") as file:
                manifest = export_to(runtime, name, file, begun=begun, told=told)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise
    return manifest


def export_to(
    runtime: Runtime, name: str, file: IO[bytes], *, begun: Told = _nothing, told: Told = _nothing
) -> Manifest:
    """Writes a repository to an open file or a pipe."""
    repository = runtime.repository(name)
    return write_pack(repository, runtime.trees, file, begun=begun, told=told)


def import_from(
    runtime: Runtime,
    file: IO[bytes],
    place: str,
    *,
    name: str | None = None,
    begun: Told = _nothing,
    told: Told = _nothing,
) -> Imported:
    """Takes in what `export_repository` wrote; see `handrail.keep.packs.read_pack`."""
    runtime.check_own_store()
    scratch = runtime.home.objects / "incoming"
    with storage_faults(scratch):
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with storing(runtime.home.path):
        return read_pack(
            file,
            place,
            runtime.trees,
            runtime.journal,
            name=name,
            scratch=scratch,
            begun=begun,
            told=told,
        )


# As it once was


def files_at(
    runtime: Runtime,
    run_id: str,
    task: str | None = None,
    *,
    attempt: str | None = None,
    after: bool = False,
) -> tuple[FilesOf, Ref]:
    """The files as an attempt of a run saw them, or left them; without a task, as the run did.

    Args:
        run_id: or its beginning.
        attempt: its id, or the end of it; the task's last one by default.
        after: as it left them.

    Returns:
        What they are of, and the ref; its top is the folder that the attempt worked in.

    Raises:
        RunNotFound, UnknownTaskError: there is no such run or task.
        UnknownRefError: it saw no files, or left none.
    """
    runtime.check_own_store()
    run = runtime.history(run_id)
    if after:
        found = left_by(run, task, attempt, last=_last_accepted(runtime, run.run_id))
    else:
        found = seen_by(run, task, attempt)
    ref = Ref(found.repository, found.commit_id, runtime.trees)
    if found.prefix != "/":
        # A folder that was not there yet was an empty workspace.
        ref = Ref(found.repository, found.commit_id, runtime.trees, folder=found.prefix)
    return found, ref


def _last_accepted(runtime: Runtime, run_id: str) -> str | None:
    refs = [each.output_ref for each in runtime.journal.accepted(run_id) if each.output_ref]
    return refs[-1] if refs else None
