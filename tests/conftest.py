"""What every test finds around it: a private home, no settings from outside, its own ids."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from handrail.ids import Ids
from handrail.keep.mounts import mounts_below, unmount

#: Servers for tests: `postgres_url`, `redis_url`, and others.
pytest_plugins = ["tests.services.fixtures"]

# A busy machine is slow at times; the time-out of each test is the limit.
settings.register_profile("handrail", deadline=None)
settings.load_profile("handrail")


def require(service_available: bool, reason: str) -> None:
    """Skips the test when a service it needs is missing; in CI (`CI=true`) fails it instead.

    Raises:
        pytest.skip.Exception, pytest.fail.Exception: as said above; `reason` is shown.
    """
    if service_available:
        return
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"missing in CI: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A private, empty `.handrail` folder of this test alone."""
    folder = tmp_path / ".handrail"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def nothing_stays_mounted(tmp_path: Path) -> Iterator[None]:
    """Takes away the mounts of engines that a test killed and no later run swept."""
    yield
    for point in mounts_below(tmp_path):
        unmount(point)


@pytest.fixture(autouse=True)
def settings_from_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the caller's `HANDRAIL_*` settings and sends what needs a home to a temporary one."""
    for name in [name for name in os.environ if name.startswith("HANDRAIL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HANDRAIL_HOME", str(tmp_path / ".handrail"))


@pytest.fixture
def ids() -> Ids:
    """Ids from a clock that moves one millisecond with each id, and from counted chance."""
    clock: Iterator[int] = itertools.count(1_700_000_000_000)
    chance: Iterator[int] = itertools.count()
    return Ids(lambda: next(clock), lambda length: next(chance).to_bytes(length, "big"))
