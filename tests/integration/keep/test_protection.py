"""Whatever a body does, as root or not, no stored object changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.keep.places import Place, place

#: What a body tries, in its workspace; each act alone may fail.
_BODY = """
import mmap, os, sys
from pathlib import Path

def in_place(path):
    with open(path, "r+b") as file: file.write(b"EVIL")

def append(path):
    with open(path, "ab") as file: file.write(b"EVIL")

def truncate(path):
    os.truncate(path, 2)

def by_mmap(path):
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory: memory[:4] = b"EVIL"

def change_mode(path):
    os.chmod(path, 0o777)
    in_place(path)

def through_a_hard_link(path):
    os.link(path, path + ".twin")
    in_place(path + ".twin")

def through_a_symbolic_link(path):
    os.symlink(os.path.basename(path), path + ".link")
    in_place(path + ".link")

def through_an_open_file(path):
    number = os.open(path, os.O_RDONLY)
    in_place(path)
    in_place(f"/proc/self/fd/{number}")

def by_a_rename(path):
    os.rename(path, path + ".moved")
    in_place(path + ".moved")

def by_a_preallocation(path):
    with open(path, "r+b") as file: os.posix_fallocate(file.fileno(), 0, 100_000)

def by_an_attribute(path):
    os.setxattr(path, "user.evil", b"1")

acts = [in_place, append, truncate, by_mmap, change_mode, through_a_hard_link,
        through_a_symbolic_link, through_an_open_file, by_a_rename, by_a_preallocation,
        by_an_attribute]
files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(".") for name in names)
done = 0
for act, path in zip(acts, files, strict=True):
    try:
        act(path)
        done += 1
    except OSError as error:
        print(act.__name__, error)
print(done)
"""
_FILE_COUNT = 11
_NOBODY = 65534


@pytest.fixture(params=["overlay", "reflink", "copies"])
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place(request.param, tmp_path) as made:
        yield made


def _tree(here: Place) -> str:
    first = here.check_out()
    for number in range(_FILE_COUNT):
        folder = first.path / f"folder{number % 3}"
        folder.mkdir(exist_ok=True)
        # Long enough that their blocks are shared where a disk can do that.
        (folder / f"file{number}").write_bytes(f"good {number} ".encode() * 10_000)
    tree = first.stage()
    here.remove(first)
    return tree


def _contents(root: Path) -> dict[str, bytes]:
    found = (Path(folder) / name for folder, _, names in os.walk(root) for name in names)
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def _run(workspace: Path, *prefix: str) -> str:
    command = [*prefix, sys.executable, "-c", _BODY]
    ended = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=True)
    return ended.stdout


def _check(here: Place, tree: str, before: dict[str, bytes]) -> None:
    assert here.damaged() == []
    second = here.check_out(tree)
    assert _contents(second.path) == before
    assert second.stage() == tree
    # Copies are verified on their way, so this reads the objects as well.
    here.trees.objects.copy_to(next(here.objects.digests()), here.home.path / "copy", 0o600)


def test_a_body_with_our_own_rights_changes_no_object(here: Place) -> None:
    tree = _tree(here)
    files = here.check_out(tree)
    before = _contents(files.path)
    told = _run(files.path)
    assert told.splitlines()[-1] in ("10", "11")  # not every disk has user attributes
    assert files.stage() != tree
    _check(here, tree, before)


def test_a_body_of_another_user_changes_no_object(here: Place) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("becoming another user needs root and setpriv")
    tree = _tree(here)
    files = here.check_out(tree)
    before = _contents(files.path)
    for folder, names, each in os.walk(files.path):
        for name in ["", *names, *each]:
            os.chown(os.path.join(folder, name), _NOBODY, _NOBODY)
    # The folder it works in is entered already: those above it stay private.
    told = _run(files.path, "setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
    assert int(told.splitlines()[-1]) >= 8
    _check(here, tree, before)
