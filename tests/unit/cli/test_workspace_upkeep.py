from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrail.app import Runtime

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call


def data(handrail: Call, *words: str) -> Any:
    return json.loads(handrail("workspace", *words, "--json").stdout)


def path_of(runtime: Runtime, digest: str) -> Path:
    return runtime.home.objects / digest[:2] / digest[2:]


def test_a_repository_is_carried_to_another_home(
    handrail: Call, songs: str, tmp_path: Path
) -> None:
    pack, there = tmp_path / "songs.pack", str(tmp_path / "there")
    handrail("workspace", "tag", "songs", "v1")
    written = handrail("workspace", "export", "songs", str(pack))
    assert (written.exit_code, written.stdout) == (0, "")
    assert "Wrote songs: 1 branch, 1 tag, " in written.stderr
    taken = handrail("--home", there, "workspace", "import", str(pack))
    assert taken.exit_code == 0
    assert taken.stdout == "made: songs@main, songs@v1\n"
    log = json.loads(handrail("--home", there, "workspace", "log", "songs", "--json").stdout)
    assert log == data(handrail, "log", "songs")
    again = json.loads(handrail("--home", there, "workspace", "import", str(pack), "--json").stdout)
    assert (again["kept"], again["stored_count"]) == (["songs@main", "songs@v1"], 0)


def test_a_file_that_is_there_is_replaced_only_if_asked(
    handrail: Call, songs: str, tmp_path: Path
) -> None:
    pack = tmp_path / "songs.pack"
    pack.write_text("mine")
    refused = handrail("workspace", "export", "songs", str(pack))
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert pack.read_text() == "mine"
    assert handrail("workspace", "export", "songs", str(pack), "--force").exit_code == 0
    assert pack.stat().st_size > 1000
    assert handrail("workspace", "export", "nope", str(tmp_path / "nope")).exit_code == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["songs.pack"]


def test_what_is_no_pack_is_refused(handrail: Call, songs: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine" * 1000)
    for path, code in ((file, 1), (tmp_path / "nowhere", 2)):
        result = handrail("workspace", "import", str(path))
        assert (result.exit_code, len(result.stderr.splitlines())) == (code, 1)


def test_a_pack_passes_through_a_pipe(handrail: Call, songs: str, tmp_path: Path) -> None:
    pack = tmp_path / "songs.pack"
    handrail("workspace", "export", "songs", str(pack))
    assert handrail("workspace", "export", "songs", "-").stdout_bytes == pack.read_bytes()


def test_what_nothing_needs_is_removed(handrail: Call, songs: str, runtime: Runtime) -> None:
    old = runtime.objects.put_bytes(b"left by an attempt that was killed").digest
    young = runtime.objects.put_bytes(b"staged by one at work").digest
    os.utime(path_of(runtime, old), (1, 1))
    dry = handrail("workspace", "gc", "--dry-run")
    assert dry.exit_code == 0
    assert "would remove: 1 object (34 B) that nothing needs" in dry.stdout
    assert path_of(runtime, old).exists()
    found = data(handrail, "gc")
    assert (found["removed_count"], found["removed_bytes"], found["dry_run"]) == (1, 34, False)
    assert found["spared_count"] >= 1
    assert not path_of(runtime, old).exists()
    assert path_of(runtime, young).exists()
    assert handrail("workspace", "gc", "--grace", "0").exit_code == 0
    assert not path_of(runtime, young).exists()
    assert handrail("workspace", "cat", "songs", "songs.txt").stdout == "Anchor\nTide\n"


def test_a_home_that_is_sound_is_told_to_be(handrail: Call, songs: str) -> None:
    for words in (("fsck",), ("fsck", "songs"), ("fsck", "--all")):
        result = handrail("workspace", *words)
        assert result.exit_code == 0
        assert "2 commits, 2 folders, 1 content" in result.stdout
        assert "all of them sound" in result.stdout
    assert data(handrail, "fsck")["ok"] is True
    assert handrail("workspace", "fsck", "nope").exit_code == 2


def test_damage_is_named_with_the_run_that_it_touches(
    handrail: Call, songs: str, runtime: Runtime
) -> None:
    digest = runtime.repository("songs").at().find("songs.txt")[1].digest
    path = path_of(runtime, digest)
    path.unlink()
    path.write_bytes(b"Xnchor\nTide\n")
    result = handrail("workspace", "fsck")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("file songs.txt is damaged")
    assert lines[1] == "  branches and tags: songs@main"
    assert lines[3] == f"  runs: {songs}"
    (damage,) = data(handrail, "fsck")["damages"]
    assert (damage["digest"], damage["runs"]) == (digest, [songs])
