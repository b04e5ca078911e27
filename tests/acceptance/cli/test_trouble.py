from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.cli.conftest import Call, Start

Go = Callable[[str], None]


def _fails_with_one_line(handrail: Call, *words: str) -> str:
    result = handrail(*words)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_damaged_database_is_told(handrail: Call, folder: Path, go: Go) -> None:
    go("")
    handrail("run", "songs.py")
    (folder / ".handrail" / "handrail.db").write_bytes(b"no database" * 1000)
    for words in (("runs",), ("run", "songs.py")):
        assert "handrail.db" in _fails_with_one_line(handrail, *words)


def test_a_home_of_a_newer_release_is_told(handrail: Call, folder: Path, go: Go) -> None:
    go("")
    handrail("run", "songs.py")
    (folder / ".handrail" / "format").write_text("99\n")
    line = _fails_with_one_line(handrail, "run", "songs.py")
    assert "has format 99" in line
    assert "pip install --upgrade handrail" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_folder_that_may_not_be_written_is_told(handrail: Call, folder: Path) -> None:
    folder.chmod(0o500)
    try:
        line = _fails_with_one_line(handrail, "run", "songs.py")
    finally:
        folder.chmod(0o700)
    assert ".handrail" in line


def test_a_home_that_is_a_file_is_told(handrail: Call, folder: Path) -> None:
    (folder / ".handrail").write_text("")
    assert "is a file" in _fails_with_one_line(handrail, "run", "songs.py")


def test_a_reader_that_has_had_enough_is_no_trouble(start: Start) -> None:
    process = start("doctor")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(30) == 141


def test_help_is_shown_without_the_engine(handrail: Call) -> None:
    code = (
        "import sys, handrail.cli.application; "
        "heavy = {'pydantic', 'cloudpickle', 'handrail.app'} & set(sys.modules); "
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    result = handrail(command=("-c", code))
    assert result.returncode == 0, result.stderr
