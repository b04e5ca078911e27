from __future__ import annotations

import os
import socket
import stat
import unicodedata
from pathlib import Path

import pytest

from handrail.errors import StoreCorruptError, StoreError, UnsupportedFileError
from handrail.keep.base import ObjectInfo, ObjectStore, TreeEntry
from handrail.keep.checkout import MAX_DEPTH, Checkout
from handrail.keep.memory import MemoryObjects
from handrail.keep.objects import FileObjects
from handrail.keep.trees import Trees


class CountingObjects(FileObjects):
    """Remembers the names of the files it was given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reads: list[str] = []

    def put_file(self, path: Path) -> ObjectInfo:
        self.reads.append(path.name)
        return super().put_file(path)


@pytest.fixture(params=["files", "memory"])
def trees(request: pytest.FixtureRequest, tmp_path: Path) -> Trees:
    objects: ObjectStore = (
        FileObjects(tmp_path / "objects") if request.param == "files" else MemoryObjects()
    )
    return Trees(objects)


@pytest.fixture
def empty(trees: Trees, tmp_path: Path) -> Checkout:
    return Checkout.create(trees, trees.empty_tree, tmp_path / "first")


def _again(checkout: Checkout, tmp_path: Path, name: str = "second") -> Checkout:
    return Checkout.create(checkout.trees, checkout.stage(), tmp_path / name)


def _paths(checkout: Checkout, tree: str) -> list[str]:
    return [path for path, _ in checkout.trees.walk(tree)]


def test_files_modes_links_and_empty_folders_come_back(empty: Checkout, tmp_path: Path) -> None:
    (empty.path / "a/b").mkdir(parents=True)
    (empty.path / "a/b/run.sh").write_text("#!/bin/sh")
    (empty.path / "a/b/run.sh").chmod(0o750)
    (empty.path / "a/plain").write_text("plain")
    (empty.path / "a/plain").chmod(0o604)
    (empty.path / "a/up").symlink_to("../a/plain")
    (empty.path / "a/dangling").symlink_to("nowhere")
    (empty.path / "none/deep").mkdir(parents=True)
    again = _again(empty, tmp_path)
    assert (again.path / "a/b/run.sh").read_text() == "#!/bin/sh"
    assert stat.S_IMODE((again.path / "a/b/run.sh").stat().st_mode) == 0o750
    assert stat.S_IMODE((again.path / "a/plain").stat().st_mode) == 0o604
    assert os.readlink(again.path / "a/up") == "../a/plain"
    assert os.readlink(again.path / "a/dangling") == "nowhere"
    assert (again.path / "none/deep").is_dir()
    assert again.stage() == again.tree == empty.stage()


def test_the_folder_is_private(empty: Checkout) -> None:
    assert stat.S_IMODE(empty.path.stat().st_mode) == 0o700


def test_a_folder_with_files_is_refused(empty: Checkout) -> None:
    (empty.path / "x").touch()
    with pytest.raises(StoreError, match="not empty"):
        Checkout.create(empty.trees, empty.trees.empty_tree, empty.path)


def test_a_checkout_that_is_not_touched_keeps_its_digest(empty: Checkout, tmp_path: Path) -> None:
    (empty.path / "a").write_text("1")
    again = _again(empty, tmp_path)
    for _ in range(3):
        assert again.stage() == again.tree


def _same_size(path: Path) -> None:
    path.write_text("2")


def _rename_over(path: Path) -> None:
    path.with_name("beside").write_text("2")
    path.with_name("beside").rename(path)


def _touch_only(path: Path) -> None:
    os.utime(path, (1, 1))


@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize("act", [_same_size, _rename_over])
def test_an_edit_of_the_same_size_is_seen_at_once(
    empty: Checkout, tmp_path: Path, act: object, restore: bool
) -> None:
    """Within the tick of the clock that stamps files, and with the old time put back."""
    assert callable(act)
    (empty.path / "a").write_text("1")
    tree = empty.stage()
    for number in range(30):
        again = Checkout.create(empty.trees, tree, tmp_path / f"again{number}")
        before = (again.path / "a").stat()
        act(again.path / "a")
        if restore:
            os.utime(again.path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
        assert again.stage() != tree


def test_an_edit_right_after_a_stage_is_seen(empty: Checkout) -> None:
    for number in range(50):
        (empty.path / "a").write_text(f"{number:04}")
        entry = empty.trees.find(empty.stage(), "a")
        assert entry is not None
        assert empty.trees.objects.read_bytes(entry.digest) == f"{number:04}".encode()


def test_a_file_of_the_last_tick_is_read_again(empty: Checkout, tmp_path: Path) -> None:
    """Kernels with finer stamps hide what would be missed, so the reading itself is watched."""
    objects = CountingObjects(tmp_path / "counted")
    checkout = Checkout(Trees(objects), empty.trees.empty_tree, empty.path)
    for number in range(50):
        (empty.path / "a").write_text(f"{number:04}")
        checkout.stage()
        checkout.stage()
    assert len(objects.reads) > 50
    objects.reads.clear()
    tree = checkout.stage()
    for number in range(20):
        Checkout.create(checkout.trees, tree, tmp_path / f"again{number}").stage()
    assert len(objects.reads) > 1


def test_a_touched_file_is_read_again_and_is_no_change(empty: Checkout, tmp_path: Path) -> None:
    (empty.path / "a").write_text("1")
    again = _again(empty, tmp_path)
    _touch_only(again.path / "a")
    assert again.stage() == again.tree


def test_deleted_renamed_added_and_emptied_are_seen(empty: Checkout, tmp_path: Path) -> None:
    for name in ("delete", "rename", "keep", "folder/only"):
        (empty.path / name).parent.mkdir(exist_ok=True)
        (empty.path / name).write_text(name)
    again = _again(empty, tmp_path)
    (again.path / "delete").unlink()
    (again.path / "rename").rename(again.path / "renamed")
    (again.path / "folder/only").unlink()
    (again.path / "added").mkdir()
    (again.path / "added/x").write_text("x")
    assert _paths(again, again.stage()) == ["added/x", "folder", "keep", "renamed"]


def test_a_changed_mode_is_a_change(empty: Checkout, tmp_path: Path) -> None:
    (empty.path / "a").write_text("1")
    again = _again(empty, tmp_path)
    (again.path / "a").chmod(0o711)
    entry = again.trees.find(again.stage(), "a")
    assert entry is not None
    assert entry.mode == 0o711


def test_a_link_that_became_a_file_and_back_is_seen(empty: Checkout, tmp_path: Path) -> None:
    (empty.path / "a").write_text("1")
    (empty.path / "l").symlink_to("a")
    again = _again(empty, tmp_path)
    (again.path / "l").unlink()
    (again.path / "l").write_text("1")
    (again.path / "a").unlink()
    (again.path / "a").symlink_to("l")
    kinds = {entry.name: entry.kind for entry in again.trees.entries(again.stage())}
    assert kinds == {"a": "link", "l": "file"}


def test_odd_names_come_back_as_they_are(empty: Checkout, tmp_path: Path) -> None:
    composed = unicodedata.normalize("NFC", "é")
    names = [
        composed,
        unicodedata.normalize("NFD", composed),
        "Case",
        "case",
        "back\\slash",
        "new\nline",
        " space ",
        "-rf",
        "*?[",
        "日本語 🎵",
        "c:",
        "x" * 255,
        ".hidden",
        "owner.json",
    ]
    for number, name in enumerate(names):
        (empty.path / name).write_text(str(number))
    again = _again(empty, tmp_path)
    assert {path.name: path.read_text() for path in again.path.iterdir()} == {
        name: str(number) for number, name in enumerate(names)
    }


def test_a_name_that_is_not_utf8_is_refused(empty: Checkout) -> None:
    (empty.path / os.fsdecode(b"bad\xff")).touch()
    with pytest.raises(UnsupportedFileError, match=r"bad\\udcff.*not UTF-8"):
        empty.stage()


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "..", "../x", "sub/../../x", "sub/up/..", "sub/up/../../etc"]
)
def test_a_link_that_leads_outside_is_refused(empty: Checkout, target: str) -> None:
    (empty.path / "sub").mkdir()
    (empty.path / "sub/up").symlink_to("..")  # leads to the root, and is fine
    (empty.path / "link").symlink_to(target)
    with pytest.raises(UnsupportedFileError, match="Link 'link' ->"):
        empty.stage()


def test_a_kept_link_is_checked_again_when_another_one_comes(
    empty: Checkout, tmp_path: Path
) -> None:
    (empty.path / "a/b").mkdir(parents=True)
    (empty.path / "link").symlink_to("a/b/../x")
    again = _again(empty, tmp_path)
    (again.path / "a/b").rmdir()
    (again.path / "a/b").symlink_to("..")  # now link leads above the root
    with pytest.raises(UnsupportedFileError, match="Link 'link' ->"):
        again.stage()


def test_links_out_of_a_prefix_are_hidden_and_kept(empty: Checkout, tmp_path: Path) -> None:
    (empty.path / "part/in").mkdir(parents=True)
    (empty.path / "secret").write_text("secret")
    (empty.path / "part/out").symlink_to("../secret")
    (empty.path / "part/in/out").symlink_to("../../secret")
    (empty.path / "part/in/fine").symlink_to("../file")
    (empty.path / "part/file").write_text("1")
    part = empty.trees.subtree(empty.stage(), "part")
    again = Checkout.create(empty.trees, part, tmp_path / "again")
    assert sorted(os.listdir(again.path)) == ["file", "in"]
    assert os.listdir(again.path / "in") == ["fine"]
    assert again.stage() == part
    (again.path / "out").write_text("the body's own")
    entry = empty.trees.find(again.stage(), "out")
    assert entry is not None
    assert entry.kind == "file"


def test_what_is_no_file_is_refused(empty: Checkout, tmp_path: Path) -> None:
    os.mkfifo(empty.path / "pipe")
    with pytest.raises(UnsupportedFileError, match="'pipe' is a FIFO"):
        empty.stage()
    (empty.path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(empty.path, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/sock")  # a path of any length
        os.close(here)
        with pytest.raises(UnsupportedFileError, match="'sock' is a socket"):
            empty.stage()


def test_folders_beyond_reason_are_refused(empty: Checkout) -> None:
    (empty.path / ("d/" * (MAX_DEPTH + 1))).mkdir(parents=True)
    with pytest.raises(UnsupportedFileError, match="folders deep"):
        empty.stage()


def test_a_body_cannot_reach_the_stored_objects(trees: Trees, tmp_path: Path) -> None:
    first = Checkout.create(trees, trees.empty_tree, tmp_path / "one")
    (first.path / "a").write_text("1")
    second = _again(first, tmp_path)
    (second.path / "a").write_text("2")
    assert (second.path / "a").stat().st_nlink == 1
    assert (_again(first, tmp_path, "third").path / "a").read_text() == "1"


def test_a_damaged_object_stops_the_checkout(tmp_path: Path) -> None:
    trees = Trees(FileObjects(tmp_path / "objects"))
    info = trees.objects.put_bytes(b"good")
    place = tmp_path / "objects" / info.digest[:2] / info.digest[2:]
    place.chmod(0o600)
    place.write_bytes(b"evil")
    tree = trees.put_tree([TreeEntry("a", "file", 0o644, *info)])
    with pytest.raises(StoreCorruptError, match=info.digest):
        Checkout.create(trees, tree, tmp_path / "out")


def test_unreadable_files_and_folders_are_named(guarded: Path) -> None:
    trees = Trees(MemoryObjects())
    checkout = Checkout.create(trees, trees.empty_tree, guarded / "out")
    (checkout.path / "locked").mkdir(mode=0)
    with pytest.raises(UnsupportedFileError, match="locked may not be read"):
        checkout.stage()


@pytest.mark.parametrize(("workers", "file_count"), [(1, 200), (4, 2000)])
def test_many_files_come_back_and_only_the_changed_is_read(
    tmp_path: Path, workers: int, file_count: int
) -> None:
    objects = CountingObjects(tmp_path / "objects")
    reads = objects.reads
    trees = Trees(objects)
    first = Checkout.create(trees, trees.empty_tree, tmp_path / "first", workers=workers)
    for number in range(file_count):
        folder = first.path / f"d{number % 20}"
        folder.mkdir(exist_ok=True)
        (folder / f"f{number}").write_text(str(number))
    tree = first.stage()
    assert len(reads) == file_count
    again = Checkout.create(trees, tree, tmp_path / "again", workers=workers)
    reads.clear()
    assert again.stage() == tree
    assert len(reads) <= 200  # those of the last tick
    (again.path / "d3/f3").write_text("changed")
    changed = again.stage()
    assert "f3" in reads
    assert [change.path for change in trees.diff(tree, changed)] == ["d3/f3"]
