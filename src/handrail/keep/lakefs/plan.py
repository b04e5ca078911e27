"""What a body changed in a checkout from LakeFS, as work to do there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from handrail.errors import UnsupportedFileError
from handrail.keep.base import TreeEntry
from handrail.keep.checkout import Checkout
from handrail.keep.files import OpenFiles
from handrail.keep.lakefs.tree import MAX_PATH_BYTES, ArrivedObjects, Listing, folder_of

#: Where LakeFS looks for hooks.
_HOOKS = "_lakefs_actions/"


@dataclass(slots=True)
class LakeFSCheckout(OpenFiles):
    """A folder of a commit, checked out."""

    ref: str
    prefix: str
    path: Path
    checkout: Checkout
    objects: ArrivedObjects
    listing: Listing


@dataclass(slots=True)
class Plan:
    """What has to be done to a staging branch."""

    #: Files and links to upload: path in the checkout and its entry.
    uploads: list[tuple[str, TreeEntry]] = field(default_factory=list)
    #: Files of which only the mode changed.
    modes: list[tuple[str, TreeEntry]] = field(default_factory=list)
    #: Folders that became empty.
    markers: list[str] = field(default_factory=list)
    #: Paths of objects, relative to the checkout.
    deletes: list[str] = field(default_factory=list)

    def is_empty(self) -> bool:
        return not (self.uploads or self.modes or self.markers or self.deletes)


def plan_of(files: LakeFSCheckout) -> Plan:
    """What the body changed. Files that only look changed are left out.

    Raises:
        UnsupportedFileError: a path is too long for LakeFS, or what a workspace cannot hold.
        StoreError: a file changed while it was read.
    """
    checkout, trees = files.checkout, files.checkout.trees
    before, after = checkout.tree, checkout.stage()
    plan = Plan()
    for change in trees.diff(before, after):
        old, fresh = change.before, change.after
        if fresh is None:
            if old is not None and old.kind != "tree":
                plan.deletes.append(change.path)
        elif fresh.kind == "tree":
            marker = f"{folder_of(files.prefix)}{change.path}/"
            # There it would be taken for a hook without a name, and every commit refused.
            if change.path not in files.listing.markers and not marker.startswith(_HOOKS):
                plan.markers.append(change.path)
        elif old is None or not files.objects.is_same(old, fresh):
            plan.uploads.append((change.path, fresh))
        elif old.mode != fresh.mode:
            plan.modes.append((change.path, fresh))
    written = {path for path, _ in plan.uploads}
    plan.deletes = [path for path in plan.deletes if path not in written]
    for path in sorted(files.listing.markers):
        entry = trees.find(after, path)
        if entry is None or entry.kind != "tree":
            plan.deletes.append(f"{path}/")
    inner = folder_of(files.prefix)
    for path in (*written, *(f"{marker}/" for marker in plan.markers)):
        _check_length(inner + path)
    return plan


def _check_length(path: str) -> None:
    if len(path.encode()) > MAX_PATH_BYTES:
        raise UnsupportedFileError(
            f"'{path[:80]}…' is longer than the {MAX_PATH_BYTES} bytes that LakeFS allows for a "
            f"path. Use shorter names."
        )
