from __future__ import annotations

from pathlib import Path

from handrail.keep.removal import remove_folder


def test_a_folder_is_removed_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").touch()
    remove_folder(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_missing_folder_is_fine(tmp_path: Path) -> None:
    remove_folder(tmp_path / "a")


def test_permissions_that_were_taken_away_do_not_matter(guarded: Path) -> None:
    (guarded / "a/b/c").mkdir(parents=True)
    (guarded / "a/b/c/file").touch(mode=0)
    for folder in ("a/b/c", "a/b", "a"):
        (guarded / folder).chmod(0)
    remove_folder(guarded / "a")
    assert not (guarded / "a").exists()


def test_links_are_removed_and_not_followed(guarded: Path) -> None:
    (guarded / "mine").mkdir(mode=0o500)
    (guarded / "a").mkdir()
    (guarded / "a/link").symlink_to(guarded / "mine")
    (guarded / "a/locked").mkdir(mode=0)
    remove_folder(guarded / "a")
    assert (guarded / "mine").stat().st_mode & 0o777 == 0o500
