from __future__ import annotations

import stat
from pathlib import Path

import pytest

from handrail.errors import (
    StoreCorruptError,
    StoreError,
    StoreReadOnlyError,
    StoreVersionError,
)
from handrail.keep.home import Home
from handrail.testing.stores import race


def test_a_home_is_made_with_its_layout_and_private(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "deep" / ".handrail")
    assert {path.name for path in home.path.iterdir()} == {
        "format",
        ".gitignore",
        "objects",
        "attempts",
        "runs",
    }
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert (home.path / "format").read_text() == "1\n"
    assert (home.path / ".gitignore").read_text() == "*\n"
    assert home.database == home.path / "handrail.db"
    assert home.tracking_database == home.path / "tracking.db"
    assert home.run_log("r1") == home.path / "runs" / "r1" / "log.jsonl"


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    home = Home.open(tmp_path / ".handrail")
    (home.path / "format").chmod(0o400)
    before = home.path.stat().st_mtime_ns
    assert Home.open(tmp_path / ".handrail") == home
    assert home.path.stat().st_mtime_ns == before


def test_an_existing_empty_folder_becomes_a_home(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    home = Home.open(tmp_path / "home")
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700


def test_a_half_made_home_is_completed(tmp_path: Path) -> None:
    home = Home.open(tmp_path / ".handrail")
    (home.path / "format").unlink()
    (home.path / "runs").rmdir()
    (home.path / ".format-left-over").touch()
    Home.open(home.path)
    assert home.runs.is_dir()
    assert (home.path / "format").exists()


def test_many_openers_at_once_all_succeed(tmp_path: Path) -> None:
    homes = race(8, lambda _: Home.open(tmp_path / "deep" / ".handrail"))
    assert len(set(homes)) == 1
    assert not list(homes[0].path.glob(".format-*"))


def test_a_folder_with_other_files_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"thesis\.tex.*HANDRAIL_HOME"):
        Home.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(StoreError, match="is a file"):
        Home.open(tmp_path / "home")


def test_a_missing_home_is_named_when_it_may_not_be_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"No Handrail home at .*\.handrail"):
        Home.open(tmp_path / ".handrail", create=False)
    assert not list(tmp_path.iterdir())


def test_a_home_of_a_newer_handrail_is_refused(tmp_path: Path) -> None:
    home = Home.open(tmp_path / ".handrail")
    (home.path / "format").write_text("2\n")
    with pytest.raises(StoreVersionError, match=r"\.handrail has format 2.*knows up to 1"):
        Home.open(home.path)


@pytest.mark.parametrize("content", [b"", b"0", b"-1", b"one", b"\xff\xfe\x00", b"1.5", b"1 2"])
def test_a_format_that_is_no_number_is_refused(tmp_path: Path, content: bytes) -> None:
    home = Home.open(tmp_path / ".handrail")
    (home.path / "format").write_bytes(content)
    with pytest.raises(StoreCorruptError, match="where a number is expected"):
        Home.open(home.path)


def test_a_format_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    home = Home.open(tmp_path / ".handrail")
    (home.path / "format").unlink()
    (home.path / "format").mkdir()
    with pytest.raises(StoreCorruptError):
        Home.open(home.path)


def test_a_read_only_parent_is_named(guarded: Path) -> None:
    guarded.chmod(0o500)
    with pytest.raises(StoreReadOnlyError, match=r"may not write .*\.handrail.*HANDRAIL_HOME"):
        Home.open(guarded / ".handrail")


def test_a_read_only_home_is_opened(guarded: Path) -> None:
    home = Home.open(guarded / ".handrail")
    home.path.chmod(0o500)
    try:
        assert Home.open(home.path) == home
    finally:
        home.path.chmod(0o700)
