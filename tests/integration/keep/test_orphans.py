"""Mounts of attempts whose process is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handrail.errors import StoreError
from handrail.keep.mounts import mounts_below
from handrail.keep.removal import remove_folder
from handrail.keep.sweep import AttemptFolders
from tests.integration.keep.places import Place, place

#: An engine in mid-attempt, with a process of the body's own.
_ENGINE = """
import subprocess, sys, time
from pathlib import Path
from tests.integration.keep.places import Place

here = Place(Path(sys.argv[1]), "overlay")
files = here.check_out(sys.argv[2])
(files.path / "half").write_text("done")
left = subprocess.Popen(["sleep", "600"], cwd=files.path, stdout=subprocess.DEVNULL)
print(files.path, left.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place("overlay", tmp_path) as made:
        yield made


def _tree(here: Place) -> str:
    first = here.check_out()
    (first.path / "folder").mkdir()
    (first.path / "folder/file").write_text("good")
    tree = first.stage()
    here.remove(first)
    return tree


def test_a_sweep_removes_the_mount_of_a_killed_engine_and_nothing_below_it(here: Place) -> None:
    tree = _tree(here)
    command = [sys.executable, "-c", _ENGINE, str(here.home.path.parent), tree]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as engine:
        assert engine.stdout is not None
        workspace, left = engine.stdout.readline().split()
        engine.kill()
    try:
        attempt = Path(workspace).parent
        assert mounts_below(attempt) == [workspace]
        assert (Path(workspace) / "folder/file").read_text() == "good"
        assert here.folders.sweep() == [attempt]
        assert mounts_below(here.home.path) == []
        assert os.listdir(here.home.attempts) == []
    finally:
        os.kill(int(left), signal.SIGKILL)
    assert here.cache.trim(0) >= 1  # its lock ended with it
    files = here.check_out(tree)
    assert (files.path / "folder/file").read_text() == "good"
    assert here.damaged() == []


def test_an_open_attempt_is_not_swept_and_its_tree_not_removed(here: Place) -> None:
    files = here.check_out(_tree(here))
    assert here.folders.sweep() == []
    here.cache.trim(0)
    assert (files.path / "folder/file").read_text() == "good"


def test_what_is_mounted_in_a_folder_outlives_its_removal(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    (ours / "a/b").mkdir(parents=True)
    theirs.mkdir()
    (theirs / "kept").touch()
    for point in ("a/b", "a/b"):  # one upon the other
        mount = ["mount", "--bind", str(theirs), str(ours / point)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting needs root with CAP_SYS_ADMIN")
    remove_folder(ours)
    assert not ours.exists()
    assert (theirs / "kept").exists()


def test_a_workspace_that_was_unmounted_is_not_staged(here: Place) -> None:
    files = here.check_out(_tree(here))
    subprocess.run(["umount", files.path], check=True)
    with pytest.raises(StoreError, match="was unmounted or mounted over"):
        files.stage()


def test_what_was_tried_out_by_a_killed_process_is_removed_at_once(tmp_path: Path) -> None:
    root = tmp_path / "attempts"
    root.mkdir()
    program = (
        "import sys, time; from pathlib import Path; from handrail.keep.removal import trial_folder"
        "\nwith trial_folder(Path(sys.argv[1])): print('there', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        folders = AttemptFolders(root)
        folders.sweep(alive=lambda run_id: False)
        assert len(list(root.iterdir())) == 1
        process.kill()
    folders.sweep(alive=lambda run_id: False)
    assert list(root.iterdir()) == []
