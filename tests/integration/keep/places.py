"""A home of each kind of disk, with its way to make the files of attempts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from handrail.keep.checkout import Checkout
from handrail.keep.home import Home
from handrail.keep.objects import FileObjects
from handrail.keep.sweep import AttemptFolders
from handrail.keep.tree_cache import TreeCache
from handrail.keep.trees import Trees
from handrail.keep.ways import Ways

#: The least that mkfs.xfs and mkfs.btrfs make a file system of, and some.
_DISK_BYTES = 400_000_000


class Place:
    """A home in which files of attempts are made one way."""

    def __init__(self, folder: Path, way: str) -> None:
        self.way = way
        self.home = Home.open(folder / "home")
        self.objects = FileObjects(self.home.objects)
        self.trees = Trees(self.objects)
        self.cache = TreeCache(self.home.trees)
        ways = Ways(self.home.attempts, self.cache, only=way)
        self.folders = AttemptFolders(self.home.attempts, ways=ways)
        self._numbers = count(1)
        self._open: dict[Checkout, Path] = {}

    def check_out(self, tree: str | None = None) -> Checkout:
        """Files of a tree, by default of none, in the folder of an attempt."""
        folder = self.folders.create(f"a{next(self._numbers)}", "r1")
        checkout = self.folders.check_out(
            self.trees, self.trees.empty_tree if tree is None else tree, folder
        )
        self._open[checkout] = folder
        assert checkout.way == self.way
        return checkout

    def remove(self, checkout: Checkout) -> None:
        """Removes an attempt's folder."""
        self.folders.remove(self._open.pop(checkout))

    def again(self, checkout: Checkout) -> Checkout:
        """What the first one staged, checked out again."""
        return self.check_out(checkout.stage())

    def damaged(self) -> list[str]:
        """Objects that do not have the content that their name says."""
        import hashlib

        return [
            digest
            for digest in self.objects.digests()
            if hashlib.sha256(self.objects.read_bytes(digest)).hexdigest() != digest
        ]

    def close(self) -> None:
        """Removes what is left of attempts."""
        for checkout in list(self._open):
            self.remove(checkout)


@contextmanager
def place(way: str, folder: Path) -> Iterator[Place]:
    """A home with that way; skips the test where it is not possible."""
    with _disk(way, folder) as disk:
        made = Place(disk, way)
        problems = {each.name: each.problem for each in made.folders.ways.report()}
        if problems[way] is not None:
            pytest.skip(f"{way}: {problems[way]}")
        try:
            yield made
        finally:
            made.close()


@contextmanager
def _disk(way: str, folder: Path) -> Iterator[Path]:
    """A folder on a disk that may share blocks if the way needs it: an XFS or btrfs in a file."""
    if way != "reflink":
        yield folder
        return
    maker = shutil.which("mkfs.xfs") or shutil.which("mkfs.btrfs")
    if os.geteuid() != 0 or maker is None:
        pytest.skip("a disk for reflink needs root and mkfs.xfs or mkfs.btrfs")
    image, disk = folder / "image", folder / "disk"
    disk.mkdir()
    with image.open("wb") as file:
        file.truncate(_DISK_BYTES)
    subprocess.run([maker, "-q", image], check=True)
    mount = ["mount", "-o", "loop", str(image), str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk in a file is not possible here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
