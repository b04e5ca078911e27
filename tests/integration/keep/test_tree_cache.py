from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from handrail.errors import StoreCorruptError
from handrail.keep.checkout import Checkout
from handrail.keep.tree_cache import MAX_LAYERS, TreeCache
from tests.integration.keep.places import Place, place


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place("overlay", tmp_path) as made:
        yield made


def _names(here: Place) -> list[str]:
    return sorted(name for name in os.listdir(here.home.trees) if not name.startswith("."))


def _tree(here: Place, tmp_path: Path, number: int, count: int = 100) -> str:
    """A tree of many files, of which one depends on `number`."""
    folder = tmp_path / f"source{number}"
    for each in range(count):
        path = folder / f"d{each % 10}/f{each}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number if each == 7 else each))
    return Checkout(here.trees, here.trees.empty_tree, folder).stage()


def test_a_tree_is_written_once_and_found_again(here: Place, tmp_path: Path) -> None:
    tree = _tree(here, tmp_path, 1)
    first = here.cache.open(here.trees, tree)
    inode = os.stat(first.layers[0]).st_ino
    first.close()
    second = TreeCache(here.home.trees).open(here.trees, tree)
    assert os.stat(second.layers[0]).st_ino == inode
    second.close()
    assert _names(here) == [tree]


def test_a_tree_that_differs_little_is_written_as_the_difference(
    here: Place, tmp_path: Path
) -> None:
    one, two = _tree(here, tmp_path, 1), _tree(here, tmp_path, 2)
    here.remove(here.check_out(one))
    files = here.check_out(two)
    cached = here.cache.open(here.trees, two)
    assert len(cached.layers) == 2
    assert [name for _, _, names in os.walk(cached.layers[0]) for name in names] == ["f7"]
    cached.close()
    assert (files.path / "d7/f7").read_text() == "2"
    assert (files.path / "d8/f8").read_text() == "8"


def test_layers_do_not_pile_up(here: Place, tmp_path: Path) -> None:
    depths = []
    for number in range(2 * MAX_LAYERS):
        tree = _tree(here, tmp_path, number)
        files = here.check_out(tree)
        assert (files.path / "d7/f7").read_text() == str(number)
        assert files.stage() == tree
        here.remove(files)
        cached = here.cache.open(here.trees, tree)
        depths.append(len(cached.layers))
        cached.close()
    assert max(depths) == MAX_LAYERS
    assert depths.count(1) == 1  # the first; later ones lie upon what is there


def test_the_least_recently_used_tree_goes_first(here: Place, tmp_path: Path) -> None:
    # Too different to lie upon each other.
    trees = [_tree(here, tmp_path, number, count) for number, count in ((1, 1), (2, 90), (3, 300))]
    cache = TreeCache(here.home.trees, limit_bytes=100 * 4096)
    for number, tree in enumerate(trees):
        cache.open(here.trees, tree).close()
        os.utime(here.home.trees / tree, (number + 10, number + 10))
    cache.open(here.trees, trees[0]).close()  # used again
    cache.trim(4096)
    assert _names(here) == [trees[0]]


def test_a_tree_stays_while_another_one_lies_upon_it(here: Place, tmp_path: Path) -> None:
    one, two = _tree(here, tmp_path, 1), _tree(here, tmp_path, 2)
    here.cache.open(here.trees, one).close()
    using = here.cache.open(here.trees, two)
    here.cache.trim(0)
    assert _names(here) == sorted([one, two])
    using.close()
    here.cache.trim(0)
    assert _names(here) == []


def test_a_tree_of_an_earlier_boot_is_written_again(here: Place, tmp_path: Path) -> None:
    tree = _tree(here, tmp_path, 1)
    before = TreeCache(here.home.trees, boot="before").open(here.trees, tree)
    (before.layers[0] / "d7/f7").write_text("")  # what a power cut leaves of it
    before.close()
    after = here.cache.open(here.trees, tree)
    assert (after.layers[0] / "d7/f7").read_text() == "1"
    after.close()
    assert _names(here) == [tree]


def test_what_a_killed_process_left_is_removed(here: Place, tmp_path: Path) -> None:
    (here.home.trees / ".making-1-2-3/files").mkdir(parents=True)
    (here.home.trees / ("f" * 64)).mkdir()
    here.cache.open(here.trees, _tree(here, tmp_path, 1)).close()
    assert not (here.home.trees / ".making-1-2-3").exists()
    assert len(_names(here)) == 1


def test_one_of_many_at_once_writes_a_tree(here: Place, tmp_path: Path) -> None:
    tree = _tree(here, tmp_path, 1)
    copies: list[str] = []
    copy_to = here.objects.copy_to

    def counted(digest: str, path: Path, mode: int) -> None:
        copies.append(digest)
        copy_to(digest, path, mode)

    here.objects.copy_to = counted  # type: ignore[method-assign]
    threads = [
        threading.Thread(target=lambda: here.cache.open(here.trees, tree).close()) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(copies) == 100
    assert [name for name in os.listdir(here.home.trees) if name.startswith(".build")] == []


def test_a_damaged_object_is_found_and_no_tree_kept(here: Place, tmp_path: Path) -> None:
    tree = _tree(here, tmp_path, 1)
    entry = here.trees.find(tree, "d7/f7")
    assert entry is not None
    place_of_object = here.home.objects / entry.digest[:2] / entry.digest[2:]
    place_of_object.chmod(0o600)
    place_of_object.write_text("X")
    with pytest.raises(StoreCorruptError, match=entry.digest):
        here.cache.open(here.trees, tree)
    assert _names(here) == []


def test_a_link_in_the_place_of_a_file_is_right_in_a_difference(
    here: Place, tmp_path: Path
) -> None:
    """Of a part: the link leads out of it, so nothing is seen where the file was."""
    first = here.check_out()
    (first.path / "part").mkdir()
    for number in range(100):
        (first.path / f"part/f{number}").write_text(str(number))
    before = here.trees.subtree(first.stage(), "part")
    here.remove(here.check_out(before))
    (first.path / "part/f7").unlink()
    (first.path / "part/f7").symlink_to("../elsewhere")
    (first.path / "part/f8").unlink()
    (first.path / "part/f8").symlink_to("f9")
    after = here.trees.subtree(first.stage(), "part")
    files = here.check_out(after)
    assert len(here.cache.open(here.trees, after).layers) == 2
    assert not os.path.lexists(files.path / "f7")
    assert (files.path / "f8").read_text() == "9"
    assert files.stage() == after
