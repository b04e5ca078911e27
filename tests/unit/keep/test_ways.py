from __future__ import annotations

import errno
from pathlib import Path

import pytest

from handrail.keep import overlay
from handrail.keep.checkout import Checkout
from handrail.keep.objects import FileObjects
from handrail.keep.sweep import AttemptFolders
from handrail.keep.tree_cache import TreeCache
from handrail.keep.trees import Trees
from handrail.keep.ways import Ways


def test_without_a_cache_there_are_no_mounts_and_it_is_said(tmp_path: Path) -> None:
    ways = Ways(tmp_path / "attempts", None)
    report = {way.name: way.problem for way in ways.report()}
    assert list(report) == ["overlay", "reflink", "copies"]
    assert report["overlay"] == "trees are not cached here"
    assert report["copies"] is None
    assert ways.best in ("reflink", "copies")
    assert list((tmp_path / "attempts").iterdir()) == []


def test_a_way_that_is_asked_for_is_used_without_rights_as_well(guarded: Path) -> None:
    ways = Ways(guarded / "attempts", TreeCache(guarded / "trees"), only="copies")
    assert ways.report()[0].problem == "not asked for"
    trees = Trees(FileObjects(guarded / "objects"))
    folders = AttemptFolders(guarded / "attempts", ways=ways)
    folder = folders.create("a1", "r1")
    checkout = folders.check_out(trees, trees.empty_tree, folder)
    assert (checkout.way, checkout.path) == ("copies", folder / "workspace")
    folders.remove(folder)
    assert not folder.exists()


def test_a_mount_that_fails_after_all_is_replaced_by_copies_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> Checkout:
        raise OSError(errno.ENOSPC, "too many mounts")

    monkeypatch.setattr(overlay, "why_not", lambda folder: None)
    monkeypatch.setattr(overlay.OverlayCheckout, "mount", fail)
    ways = Ways(tmp_path / "attempts", TreeCache(tmp_path / "trees", boot="this"))
    trees = Trees(FileObjects(tmp_path / "objects"))
    folders = AttemptFolders(tmp_path / "attempts", ways=ways)
    checkout = folders.check_out(trees, trees.empty_tree, folders.create("a1", "r1"))
    assert checkout.way == "copies"
    assert "too many mounts" in caplog.text


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EPERM, "only root may mount"),
        (errno.ENODEV, "no overlay file system"),
        (errno.EINVAL, "file system of the home cannot"),
        (errno.ENOMEM, "mounting failed"),
    ],
)
def test_a_refused_mount_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(overlay, "mount_overlay", refuse)
    reason = overlay.why_not(tmp_path)
    assert reason is not None
    assert told in reason
    assert list(tmp_path.iterdir()) == []
