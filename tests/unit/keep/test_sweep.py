from __future__ import annotations

import logging
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from handrail.errors import StoreError
from handrail.keep.owner import Owner
from handrail.keep.sweep import AttemptFolders

OWNER = Owner(pid=7, host="here", started=1, boot_id="boot", pid_namespace="1")


class World:
    """A clock, and who is known to have ended."""

    def __init__(self, root: Path) -> None:
        self.now = 1_000_000
        self.gone: bool | None = False
        self.folders = AttemptFolders(
            root,
            lease_seconds=30,
            now=lambda: self.now,
            owner=lambda: OWNER,
            is_gone=lambda owner: self.gone if owner == OWNER else None,
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "attempts")


def test_an_attempt_has_a_private_folder_with_our_mark_outside_of_its_own(world: World) -> None:
    folder = world.folders.create("a1", "r1")
    assert folder == world.folders.root / "a1"
    assert {path.name for path in folder.iterdir()} == {"workspace", "owner.json"}
    assert list((folder / "workspace").iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    mark = world.folders.mark(folder)
    assert mark is not None
    assert (mark.attempt_id, mark.run_id, mark.owner) == ("a1", "r1", OWNER)
    assert mark.expires_at == 1_030_000


def test_an_attempt_id_is_used_once(world: World) -> None:
    folder = world.folders.create("a1", "r1")
    with pytest.raises(StoreError, match="a1"):
        world.folders.create("a1", "r2")
    mark = world.folders.mark(folder)
    assert mark is not None
    assert mark.run_id == "r1"


def test_a_removed_folder_is_gone_and_may_be_removed_again(world: World) -> None:
    folder = world.folders.create("a1", "r1")
    (folder / "workspace" / "x").touch()
    world.folders.remove(folder)
    world.folders.remove(folder)
    assert list(world.folders.root.iterdir()) == []


def test_a_live_owners_folder_is_never_removed(world: World) -> None:
    folder = world.folders.create("a1", "r1")
    world.now += 10_000_000
    assert world.folders.sweep() == []
    assert folder.exists()


def test_a_dead_owners_folder_is_removed_at_once(world: World) -> None:
    folder = world.folders.create("a1", "r1")
    world.gone = True
    # Its run may have been taken over by another process; this folder is nobody's all the same.
    assert world.folders.sweep(lambda run_id: True) == [folder]
    assert list(world.folders.root.iterdir()) == []


def test_an_owner_out_of_sight_has_time_until_its_lease_ends(world: World) -> None:
    folder = world.folders.create("a1", "r1")
    world.gone = None
    assert world.folders.sweep() == []
    world.now += 30_000
    assert world.folders.sweep(lambda run_id: run_id == "r1") == []
    world.folders.renew(folder)
    assert world.folders.sweep() == []
    world.now += 30_000
    assert world.folders.sweep() == [folder]


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"run_id": 1}', b"\xff"])
def test_a_folder_without_a_readable_mark_is_removed_when_it_is_old(
    world: World, content: bytes | None
) -> None:
    folder = world.folders.create("a1", "r1")
    (folder / "owner.json").unlink()
    if content is not None:
        (folder / "owner.json").write_bytes(content)
    world.now = os.stat(folder).st_mtime_ns // 1_000_000
    assert world.folders.sweep() == []
    world.now += 30_000
    assert world.folders.sweep() == [folder]


def test_what_was_half_removed_is_removed(world: World) -> None:
    folder = world.folders.create("a1", "r1")
    folder.rename(world.folders.root / ".removing-1")
    world.now = 0
    (world.folders.root / ".removing-1" / "owner.json").unlink()
    assert len(world.folders.sweep()) == 1
    assert list(world.folders.root.iterdir()) == []


def test_one_folder_that_cannot_be_removed_does_not_stop_the_sweep(
    guarded: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(guarded / "attempts")
    first = world.folders.create("a1", "r1")
    world.gone = True
    root = world.folders.root
    root.chmod(0o500)
    try:
        with caplog.at_level(logging.WARNING):
            assert world.folders.sweep() == []
    finally:
        root.chmod(0o700)
    assert "a1 was not removed" in caplog.text
    assert world.folders.sweep() == [first]


def test_a_sweep_without_a_folder_finds_nothing(tmp_path: Path) -> None:
    assert AttemptFolders(tmp_path / "missing").sweep() == []


def test_the_real_owner_is_this_process(tmp_path: Path) -> None:
    folders = AttemptFolders(tmp_path)
    folder = folders.create("a1", "r1")
    mark = folders.mark(folder)
    assert mark is not None
    assert mark.owner == Owner.current()
    assert folders.sweep() == []
    folders = AttemptFolders(tmp_path, owner=lambda: replace(Owner.current(), started=1))
    folders.renew(folder)
    assert folders.sweep() == [folder]
