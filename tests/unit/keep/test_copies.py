from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from handrail.errors import StoreCorruptError
from handrail.keep.base import TreeEntry
from handrail.keep.checkout import Checkout
from handrail.keep.objects import FileObjects
from handrail.keep.scan import file_clock_ns
from handrail.keep.trees import Trees


def _settle(path: Path) -> None:
    """Waits until the clock that stamps files has gone on."""
    while file_clock_ns() <= path.stat().st_ctime_ns:
        time.sleep(0.001)


@pytest.mark.parametrize("size_bytes", [0, 10, 100_000, 3_000_000])
def test_an_object_that_was_verified_is_copied_right_again(tmp_path: Path, size_bytes: int) -> None:
    objects = FileObjects(tmp_path / "objects")
    content = os.urandom(size_bytes)
    info = objects.put_bytes(content)
    _settle(tmp_path / "objects" / info.digest[:2] / info.digest[2:])
    for number in range(3):
        objects.copy_to(info.digest, tmp_path / str(number), 0o640)
        assert (tmp_path / str(number)).read_bytes() == content


def test_an_object_that_is_damaged_after_it_was_verified_is_found(tmp_path: Path) -> None:
    """Even with its length and its time of change put back."""
    objects = FileObjects(tmp_path / "objects")
    info = objects.put_bytes(b"good")
    place = tmp_path / "objects" / info.digest[:2] / info.digest[2:]
    _settle(place)
    objects.copy_to(info.digest, tmp_path / "first", 0o600)
    before = place.stat()
    place.chmod(0o600)
    place.write_bytes(b"evil")
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(StoreCorruptError, match=info.digest):
        objects.copy_to(info.digest, tmp_path / "second", 0o600)
    assert not (tmp_path / "second").exists()


def test_a_tree_too_deep_is_refused_when_it_is_written(tmp_path: Path) -> None:
    trees = Trees(FileObjects(tmp_path / "objects"))
    tree = trees.empty_tree
    for _ in range(201):
        tree = trees.put_tree([TreeEntry("d", "tree", 0, tree, 0)])
    with pytest.raises(ValueError, match="folders deep"):
        Checkout.create(trees, tree, tmp_path / "out")
