"""Objects with somebody who is told how much has passed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from handrail.keep.base import ObjectInfo, ObjectStore


class WatchedObjects(ObjectStore):
    """The same objects; `told` is given the length of each file that was put or copied.

    Args:
        told: may be called by several threads at the same time.
    """

    def __init__(self, objects: ObjectStore, told: Callable[[int], None]) -> None:
        self._objects = objects
        self._told = told

    def put_bytes(self, content: bytes) -> ObjectInfo:
        return self._objects.put_bytes(content)

    def put_file(self, path: Path) -> ObjectInfo:
        info = self._objects.put_file(path)
        self._told(info.size_bytes)
        return info

    def flush(self) -> None:
        self._objects.flush()

    def open(self, digest: str) -> BinaryIO:
        return self._objects.open(digest)

    def copy_to(self, digest: str, path: Path, mode: int) -> None:
        self._objects.copy_to(digest, path, mode)
        self._told(os.lstat(path).st_size)

    def __contains__(self, digest: str) -> bool:
        return digest in self._objects

    def digests(self) -> Iterator[str]:
        return self._objects.digests()

    def delete(self, digest: str, stored_before: int) -> bool:
        return self._objects.delete(digest, stored_before)

    def read_bytes(self, digest: str) -> bytes:
        return self._objects.read_bytes(digest)
