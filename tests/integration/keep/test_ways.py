"""What a body's files are, whichever way they were made: the same everywhere."""

from __future__ import annotations

import errno
import mmap
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from handrail.errors import StoreError, UnsupportedFileError
from handrail.keep.checkout import Checkout
from handrail.keep.faults import storage_faults
from handrail.keep.objects import FileObjects
from handrail.keep.trees import Trees
from tests.integration.keep.places import Place, place

_FILE_COUNT = int(os.environ.get("HANDRAIL_TEST_FILES", "20000"))


@pytest.fixture(params=["overlay", "reflink", "copies"])
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def files(here: Place) -> Checkout:
    """A few files of every kind, checked out for a body to change."""
    first = here.check_out()
    _fill(first.path)
    return here.again(first)


def _fill(root: Path) -> None:
    for path in ("plain", "a/one", "a/two", "a/b/deep", "c/only"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    (root / "plain").chmod(0o640)
    (root / "a/link").symlink_to("b/deep")
    (root / "none/at/all").mkdir(parents=True)


def _shown(root: Path) -> dict[str, object]:
    """What is seen of a folder: content and mode of files, targets of links, empty folders."""
    found: dict[str, object] = {}
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder) / name
            below = str(path.relative_to(root))
            if path.is_symlink():
                found[below] = os.readlink(path)
            elif path.is_file():
                found[below] = (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
            else:
                found[below] = "folder"
    return found


def test_an_untouched_checkout_keeps_its_digest(files: Checkout) -> None:
    assert [files.stage() for _ in range(3)] == [files.tree] * 3


# What a body may do; each is seen, and comes back.


def _nothing(root: Path) -> None:
    pass


def _write_in_place(root: Path) -> None:
    with (root / "a/one").open("r+b") as file:
        file.write(b"A")


def _append(root: Path) -> None:
    with (root / "a/one").open("ab") as file:
        file.write(b"more")


def _truncate(root: Path) -> None:
    os.truncate(root / "a/one", 1)


def _write_by_mmap(root: Path) -> None:
    with (root / "a/one").open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0:1] = b"M"


def _change_mode_only(root: Path) -> None:
    (root / "plain").chmod(0o755)


def _remove(root: Path) -> None:
    (root / "a/one").unlink()


def _remove_and_make_again(root: Path) -> None:
    (root / "a/one").unlink()
    (root / "a/one").write_text("other")


def _replace(root: Path) -> None:
    (root / "beside").write_text("other")
    (root / "beside").replace(root / "a/one")


def _rename(root: Path) -> None:
    (root / "a/one").rename(root / "c/moved")


def _remove_folder(root: Path) -> None:
    shutil.rmtree(root / "a")


def _replace_folder(root: Path) -> None:
    shutil.rmtree(root / "a")
    (root / "a").mkdir()
    (root / "a/fresh").write_text("fresh")


def _folder_becomes_file(root: Path) -> None:
    shutil.rmtree(root / "a")
    (root / "a").write_text("a file now")


def _file_becomes_folder(root: Path) -> None:
    (root / "plain").unlink()
    (root / "plain").mkdir()
    (root / "plain/below").write_text("1")


def _rename_folder(root: Path) -> None:
    (root / "a").rename(root / "renamed")


def _rename_folder_and_change_it(root: Path) -> None:
    (root / "a").rename(root / "c/renamed")
    (root / "c/renamed/one").unlink()
    (root / "c/renamed/b/deep").write_text("changed")
    (root / "c/renamed/b").rename(root / "c/renamed/other")


def _swap_folders(root: Path) -> None:
    (root / "a").rename(root / "x")
    (root / "c").rename(root / "a")
    (root / "x").rename(root / "c")


def _rename_onto_emptied_folder(root: Path) -> None:
    shutil.rmtree(root / "c")
    (root / "c").mkdir()
    (root / "a").rename(root / "c")


def _make_again_where_one_went(root: Path) -> None:
    (root / "a").rename(root / "away")
    (root / "a").mkdir()
    (root / "a/two").write_text("another two")


def _hard_link(root: Path) -> None:
    os.link(root / "a/one", root / "twin")
    (root / "twin").write_text("both")


def _link_instead_of_file(root: Path) -> None:
    (root / "a/one").unlink()
    (root / "a/one").symlink_to("two")


def _empty_a_folder(root: Path) -> None:
    (root / "c/only").unlink()


def _fill_an_empty_folder(root: Path) -> None:
    (root / "none/at/all/file").touch()


def _write_while_open(root: Path) -> None:
    with (root / "a/one").open("rb") as reading:
        reading.read(1)
        (root / "a/one").write_text("written while open")


def _touch(root: Path) -> None:
    os.utime(root / "a/one", (1, 1))


_ACTS = [
    _nothing,
    _write_in_place,
    _append,
    _truncate,
    _write_by_mmap,
    _change_mode_only,
    _remove,
    _remove_and_make_again,
    _replace,
    _rename,
    _remove_folder,
    _replace_folder,
    _folder_becomes_file,
    _file_becomes_folder,
    _rename_folder,
    _rename_folder_and_change_it,
    _swap_folders,
    _rename_onto_emptied_folder,
    _make_again_where_one_went,
    _hard_link,
    _link_instead_of_file,
    _empty_a_folder,
    _fill_an_empty_folder,
    _write_while_open,
    _touch,
]
#: Acts that leave nothing else than before.
_CHANGELESS = {_nothing, _touch}


@pytest.mark.parametrize("way", ["overlay", "copies"])
def test_every_act_of_a_body_is_seen_and_comes_back(way: str, tmp_path: Path) -> None:
    with place(way, tmp_path) as here:
        first = here.check_out()
        _fill(first.path)
        tree = first.stage()
        for act in _ACTS:
            files = here.check_out(tree)
            act(files.path)
            staged = files.stage()
            assert (staged == tree) == (act in _CHANGELESS), act
            assert files.stage() == staged, act
            again = here.check_out(staged)
            assert _shown(again.path) == _shown(files.path), act
            assert again.stage() == staged, act
            # Files and all, as somebody sees them who knows nothing of mounts.
            assert Checkout(here.trees, tree, files.path).stage() == staged, act
            here.remove(files)
            here.remove(again)
        assert here.damaged() == []


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_done_to_a_mount_its_changes_are_found(seed: int, tmp_path: Path) -> None:
    """Random acts; what lies in the upper folder must tell what a look at every file tells."""
    chance = random.Random(seed)
    with place("overlay", tmp_path) as here:
        first = here.check_out()
        _fill(first.path)
        tree = first.stage()
        for _ in range(12):
            files = here.check_out(tree)
            for _ in range(chance.randrange(1, 15)):
                _act_at_random(files.path, chance)
            staged = files.stage()
            assert Checkout(here.trees, tree, files.path).stage() == staged
            here.remove(files)
            tree = staged


def _act_at_random(root: Path, chance: random.Random) -> None:
    folders = [Path(folder) for folder, _, _ in os.walk(root)]
    everything = sorted(path for folder in folders for path in folder.iterdir())
    here = chance.choice(folders) / chance.choice(["a", "b", "one", "two"])
    there = chance.choice(everything) if everything else here
    act = chance.randrange(5)
    with suppress(OSError):  # a full folder in the way, a folder into itself, and the like
        if act == 0:
            here.write_text(str(chance.random()))
        elif act == 1:
            here.mkdir()
        elif act == 2:
            there.rename(here)
        elif act == 3:
            (shutil.rmtree if there.is_dir() and not there.is_symlink() else os.unlink)(there)
        else:
            there.chmod(0o700, follow_symlinks=True)


def test_a_body_sees_what_it_wrote(files: Checkout) -> None:
    _write_by_mmap(files.path)
    _change_mode_only(files.path)
    shown = _shown(files.path)
    assert shown["a/one"] == (b"M/one", 0o644)
    assert shown["plain"] == (b"plain", 0o755)


# What is refused


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/{path.name}")  # a path of any length
        os.close(folder)


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device needs root")


@pytest.mark.parametrize(
    ("make", "kind"), [(os.mkfifo, "FIFO"), (_socket, "socket"), (_device, "device")]
)
def test_what_is_no_file_is_refused_by_name(
    files: Checkout, make: Callable[[Path], None], kind: str
) -> None:
    make(files.path / "a/odd")
    with pytest.raises(UnsupportedFileError, match=f"'a/odd' is a {kind}"):
        files.stage()


def test_a_name_that_is_not_utf8_is_refused(files: Checkout) -> None:
    (files.path / "a" / os.fsdecode(b"bad\xff")).touch()
    with pytest.raises(UnsupportedFileError, match=r"bad\\udcff.*not UTF-8"):
        files.stage()


def test_a_link_that_leads_outside_is_refused(files: Checkout) -> None:
    (files.path / "a/out").symlink_to("../../x")
    with pytest.raises(UnsupportedFileError, match="Link 'a/out' ->"):
        files.stage()


def test_a_link_that_leads_outside_since_its_folder_was_renamed_is_refused(
    here: Place,
) -> None:
    first = here.check_out()
    (first.path / "a/b").mkdir(parents=True)
    (first.path / "a/b/link").symlink_to("../../top")
    files = here.again(first)
    (files.path / "a/b").rename(files.path / "b")
    with pytest.raises(UnsupportedFileError, match="Link 'b/link' ->"):
        files.stage()


def test_a_mount_of_the_body_is_refused_and_not_followed(files: Checkout, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "kept").touch()
    mount = ["mount", "--bind", str(theirs), str(files.path / "c")]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root with CAP_SYS_ADMIN")
    with pytest.raises(UnsupportedFileError, match="'c' is a mount"):
        files.stage()


# Names, sizes, and links out of a part


def test_names_are_kept_byte_for_byte(here: Place) -> None:
    composed = unicodedata.normalize("NFC", "é")
    names = [composed, unicodedata.normalize("NFD", composed), "Case", "case"]
    names += ["con.txt", "a:b", "back\\slash", "trailing.", "new\nline", "x" * 255, ".wh.gone"]
    first = here.check_out()
    for number, name in enumerate(names):
        (first.path / name).mkdir()
        (first.path / name / name).write_text(str(number))
    again = here.again(first)
    assert sorted(os.listdir(again.path)) == sorted(names)
    (again.path / names[0] / names[0]).write_text("changed")
    third = here.again(again)
    assert (third.path / names[1] / names[1]).read_text() == "1"
    assert (third.path / names[0] / names[0]).read_text() == "changed"


def test_empty_files_and_holes_come_back(here: Place) -> None:
    first = here.check_out()
    (first.path / "empty").touch()
    with (first.path / "holes").open("wb") as file:
        file.truncate(3_000_000)
    again = here.again(first)
    assert (again.path / "empty").stat().st_size == 0
    assert (again.path / "holes").read_bytes() == bytes(3_000_000)
    assert again.stage() == again.tree


def test_links_out_of_a_part_are_hidden_and_kept(here: Place) -> None:
    first = here.check_out()
    (first.path / "part/in").mkdir(parents=True)
    (first.path / "secret").write_text("secret")
    (first.path / "part/out").symlink_to("../secret")
    (first.path / "part/in/out").symlink_to("../../secret")
    (first.path / "part/in/fine").symlink_to("../file")
    (first.path / "part/file").write_text("1")
    part = here.trees.subtree(first.stage(), "part")
    files = here.check_out(part)
    assert sorted(os.listdir(files.path)) == ["file", "in"]
    assert files.stage() == part
    (files.path / "file").write_text("2")
    (files.path / "in/more").touch()
    staged = files.stage()
    changed = {change.path for change in here.trees.diff(part, staged)}
    assert changed == {"file", "in/more"}
    again = here.check_out(staged)
    assert sorted(os.listdir(again.path / "in")) == ["fine", "more"]
    (again.path / "out").write_text("the body's own")
    entry = here.trees.find(again.stage(), "out")
    assert entry is not None
    assert entry.kind == "file"


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, if there is one: many files take long on a disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.mark.parametrize("way", ["overlay", "copies"])
def test_many_files_come_back_and_only_the_changed_ones_are_stored(way: str, memory: Path) -> None:
    with place(way, memory) as here:
        first = here.check_out()
        for number in range(_FILE_COUNT):
            folder = first.path / f"d{number % 100}"
            folder.mkdir(exist_ok=True)
            (folder / f"f{number}").write_text(str(number))
        tree = first.stage()
        here.remove(first)
        files = here.check_out(tree)
        (files.path / "d7/f7").write_text("changed")
        (files.path / "d8/f8").unlink()
        staged = files.stage()
        assert {change.path for change in here.trees.diff(tree, staged)} == {"d7/f7", "d8/f8"}
        again = here.check_out(staged)
        assert (again.path / "d7/f7").read_text() == "changed"
        assert sum(len(names) for _, _, names in os.walk(again.path)) == _FILE_COUNT - 1


_LONG = int(os.environ.get("HANDRAIL_TEST_LONG_BYTES", "150000000"))
_PROGRAM = """
import os, sys
from pathlib import Path
from tests.integration.keep.places import Place

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024

here = Place(Path(sys.argv[1]), sys.argv[2])
first = here.check_out()
(first.path / "little").touch()
here.remove(here.again(first))
before = peak()
with open(first.path / "long", "wb") as file:
    file.truncate(int(sys.argv[3]))
files = here.again(first)
with open(files.path / "long", "r+b") as file:
    file.write(b"changed")
files.stage()
here.close()
print(peak() - before)
"""


def test_a_long_file_takes_no_more_memory(here: Place, tmp_path: Path) -> None:
    size_bytes = min(_LONG, 100_000_000) if here.way == "reflink" else _LONG
    folder = here.home.path.parent / "other"
    folder.mkdir()
    command = [sys.executable, "-c", _PROGRAM, str(folder), here.way, str(size_bytes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=100, env=environment
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 64_000_000


def test_a_file_that_grows_while_it_is_read_is_refused(here: Place) -> None:
    """The reading itself lets the file grow, so nothing has to be timed."""
    files = here.check_out()
    place_of_file = files.path / "growing"
    place_of_file.write_bytes(bytes(3_000_000))
    put_file = here.objects.put_file

    def grow_and_put(path: Path) -> object:
        info = put_file(path)
        with place_of_file.open("ab") as file:
            file.write(b"more")
        return info

    here.objects.put_file = grow_and_put  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreError, match="'growing' changed while it was being read"):
        files.stage()


def test_a_process_that_is_left_over_is_no_hindrance_and_changes_nothing(here: Place) -> None:
    first = here.check_out()
    (first.path / "file").write_text("1" * 100)
    files = here.again(first)
    left = subprocess.Popen(
        ["sh", "-c", "exec 3<>file; echo; read line; echo changed >&3; echo changed > other"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=files.path,
    )
    with left:
        assert left.stdout is not None
        left.stdout.readline()
        staged = files.stage()
        here.remove(files)
        again = here.check_out(staged)
        left.communicate(b"\n")
    assert (again.path / "file").read_text() == "1" * 100
    assert os.listdir(again.path) == ["file"]
    assert again.stage() == staged
    assert here.damaged() == []


class _FoldingDisk(FileObjects):
    """Writes files as to a disk that keeps names as given, and does not tell capitals apart."""

    def copy_to(self, digest: str, path: Path, mode: int) -> None:
        with storage_faults(path):
            if path.name.casefold() in map(str.casefold, os.listdir(path.parent)):
                raise FileExistsError(errno.EEXIST, "File exists", str(path))
        super().copy_to(digest, path, mode)


def test_names_that_a_disk_takes_for_one_are_named(tmp_path: Path) -> None:
    trees = Trees(_FoldingDisk(tmp_path / "objects"))
    first = Checkout.create(trees, trees.empty_tree, tmp_path / "first")
    (first.path / "sub").mkdir()
    (first.path / "sub/Name").touch()
    (first.path / "sub/name").touch()
    with pytest.raises(UnsupportedFileError, match="'name' and 'Name' in sub are one name"):
        Checkout.create(trees, first.stage(), tmp_path / "out")
