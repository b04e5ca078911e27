"""Publications under faults. A short form of each here; `make faults` runs more.

How many: `FAULTS_PUBLICATIONS`. Trials have numbers, as in `test_faults.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import killed_publications
from tests.faults.test_faults import numbers


@pytest.fixture(scope="module")
def undisturbed_seconds(tmp_path_factory: pytest.TempPathFactory) -> float:
    return killed_publications.undisturbed_seconds(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", numbers("FAULTS_PUBLICATIONS", 8))
def test_a_killed_run_publishes_each_of_its_works_once_and_leaves_nothing(
    tmp_path: Path, undisturbed_seconds: float, number: int
) -> None:
    print(killed_publications.trial(tmp_path / "home", number, undisturbed_seconds))
