from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_NOBODY = 65534


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Path]:
    """A folder in which permissions bind this test, even when it is run by root.

    setfsuid(2) changes the rights of this thread, and of threads it starts, on files alone.
    """
    if os.geteuid() != 0:
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="handrail-test-"))
    os.chown(folder, _NOBODY, _NOBODY)
    system = ctypes.CDLL(None)
    system.setfsuid(_NOBODY)
    try:
        yield folder
    finally:
        system.setfsuid(0)
        shutil.rmtree(folder)
