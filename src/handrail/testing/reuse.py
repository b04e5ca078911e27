"""What every store of kept results must do, as a test class to inherit.

```python
class TestMyKeptResults(KeptResultsContract):
    def make(self, folder: Path) -> MyKeptResults:
        return MyKeptResults(folder / "kept")
```

`make` is called with an empty folder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

import pytest

from handrail.keep.reuse import Basis, KeptResult, KeptResults
from handrail.testing.stores import race

BASIS = Basis("clean", "c0de", "2", {"level": "a1", "name": "b2"}, "f" * 64)


def kept(
    basis: Basis = BASIS, at: int = 1000, result: str = "1", ref: str | None = None
) -> KeptResult:
    """A result of attempt `r1-1-AT`."""
    return KeptResult(basis, "r1", f"r1-1-{at}", at, result, ref)


class KeptResultsContract(ABC):
    """What a store of kept results must do."""

    @abstractmethod
    def make(self, folder: Path) -> KeptResults:
        """A fresh store."""

    @pytest.fixture
    def results(self, tmp_path: Path) -> KeptResults:
        folder = tmp_path / "store"
        folder.mkdir()
        return self.make(folder)

    def test_what_was_kept_is_found_as_it_was(self, results: KeptResults) -> None:
        with_files = kept(result='{"a":"é\\u0000 \\ud800"}', ref="c" * 64)
        without = kept(Basis("load", "c0de"), result="null")
        results.keep([with_files, without])
        assert results.find(with_files.basis) == with_files
        assert results.find(without.basis) == without

    @pytest.mark.parametrize(
        "other",
        [
            replace(BASIS, task="clean_2"),
            replace(BASIS, code="c0de2"),
            replace(BASIS, version=""),
            replace(BASIS, params={"level": "a1"}),
            replace(BASIS, params={"level": "b2", "name": "a1"}),
            replace(BASIS, files=None),
        ],
        ids=["task", "code", "version", "one less", "exchanged", "files"],
    )
    def test_another_basis_finds_nothing(self, results: KeptResults, other: Basis) -> None:
        results.keep([kept()])
        assert results.find(other) is None

    def test_the_order_of_parameters_does_not_count(self, results: KeptResults) -> None:
        results.keep([kept()])
        turned = replace(BASIS, params=dict(list(BASIS.params.items())[::-1]))
        assert results.find(turned) == kept()

    def test_of_one_basis_the_last_result_stays(self, results: KeptResults) -> None:
        results.keep([kept(at=1), kept(at=2, result="2")])
        results.keep([kept(at=3, result="3", ref="d" * 64)])
        assert results.find(BASIS) == kept(at=3, result="3", ref="d" * 64)
        assert len(results.recent("clean")) == 1

    def test_keeping_again_changes_nothing(self, results: KeptResults) -> None:
        results.keep([kept()])
        results.keep([kept()])
        results.keep([])
        assert results.recent("clean") == [kept().note]

    def test_recent_ones_come_newest_first_and_of_one_task(self, results: KeptResults) -> None:
        many = [kept(replace(BASIS, code=f"c{at}"), at=at) for at in (1, 2, 3)]
        results.keep([*many, kept(replace(BASIS, task="other"), at=9)])
        assert [found.kept_at for found in results.recent("clean")] == [3, 2, 1]
        assert results.recent("clean", limit=1) == [many[2].note]
        assert results.recent("nobody") == []

    def test_results_are_forgotten_by_age_and_by_task(self, results: KeptResults) -> None:
        ages = [kept(replace(BASIS, code=f"c{at}"), at=at) for at in (1, 2, 3)]
        other = kept(replace(BASIS, task="other"), at=1)
        results.keep([*ages, other])
        assert (results.count(), results.count(before=2), results.count(before=1)) == (4, 2, 0)
        assert results.forget(before=2, task="clean") == 1
        assert results.find(ages[0].basis) is None
        assert results.find(other.basis) == other
        assert results.forget(before=3) == 2
        assert results.forget() == 1
        assert results.forget() == 0

    def test_many_may_keep_at_the_same_time(self, results: KeptResults) -> None:
        bases = [replace(BASIS, code=f"c{number}") for number in range(20)]

        def keep(number: int) -> None:
            for _ in range(5):
                results.keep([kept(basis, at=number) for basis in bases[:: 1 - 2 * (number % 2)]])

        race(4, keep)
        found = [results.find(basis) for basis in bases]
        assert all(each is not None and each.kept_at in range(4) for each in found)
