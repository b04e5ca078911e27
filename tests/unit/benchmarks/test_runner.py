from __future__ import annotations

from collections.abc import Mapping

import pytest

from benchmarks.case import Case, Contender, Figure, Figures
from benchmarks.runner import Measured, Outcome, Unmeasured, in_child, run_case


def _case(*names: str) -> Case:
    return Case(
        "case",
        "About it.",
        (Figure("run", "µs"),),
        tuple(Contender(name, dict) for name in names),
    )


class _Scripted:
    """Measures by reading from a script, and remembers who was asked."""

    def __init__(self, script: Mapping[str, list[float | str]]) -> None:
        self._script = {name: iter(values) for name, values in script.items()}
        self.asked: list[str] = []

    def __call__(self, case: Case, contender: Contender) -> Figures:
        self.asked.append(contender.name)
        value = next(self._script[contender.name])
        if isinstance(value, str):
            raise Unmeasured(value)
        return {"run": value}


def _run(case: Case, measure: _Scripted, repeats: int, warm_up: bool = True) -> Outcome:
    return run_case(case, repeats=repeats, warm_up=warm_up, measure=measure, tell=lambda line: None)


def test_contenders_take_turns_and_the_first_round_is_thrown_away() -> None:
    measure = _Scripted({"ours": [99, 1, 2], "peer": [99, 10, 20]})
    outcome = _run(_case("ours", "peer"), measure, repeats=2)
    assert measure.asked == ["ours", "peer"] * 3
    assert [measured.values("run") for measured in outcome.measured] == [[1, 2], [10, 20]]


def test_without_warming_up_every_round_counts() -> None:
    outcome = _run(_case("ours"), _Scripted({"ours": [7]}), repeats=1, warm_up=False)
    assert outcome.measured[0].values("run") == [7]


def test_a_contender_that_is_missing_is_reported_and_the_others_go_on() -> None:
    measure = _Scripted({"ours": [1, 2, 3], "peer": ["peer is not installed"]})
    outcome = _run(_case("ours", "peer"), measure, repeats=2)
    assert outcome.measured[1].problem == "peer is not installed"
    assert outcome.measured[0].values("run") == [2, 3]
    assert measure.asked.count("peer") == 1


def test_the_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    # The ratio of the medians would be 3 / 6.
    measure = _Scripted({"ours": [0, 3, 2, 9], "peer": [0, 1, 8, 6]})
    outcome = _run(_case("ours", "peer"), measure, repeats=3)
    assert outcome.ratio("run", outcome.measured[1]) == 1.5


@pytest.mark.parametrize("theirs", [[{}], [{"run": 0.0}], []])
def test_there_is_no_ratio_without_something_to_divide_by(theirs: list[Figures]) -> None:
    ours, peer = (
        Measured(Contender("ours", dict), [{"run": 1.0}]),
        Measured(Contender("peer", dict), theirs),
    )
    assert Outcome(_case("ours", "peer"), [ours, peer]).ratio("run", peer) is None


@pytest.mark.parametrize(
    ("figure", "value", "met"),
    [
        (Figure("run", "µs", at_most=3.0), 3.0, True),
        (Figure("run", "µs", at_most=3.0), 3.1, False),
        (Figure("rate", "1/s", at_least=10.0), 9.0, False),
        (Figure("run", "µs"), 3.1, None),
    ],
)
def test_a_budget_is_met_up_to_its_limit(figure: Figure, value: float, met: bool | None) -> None:
    assert figure.is_met(value) is met


def test_a_child_measures_in_a_process_of_its_own() -> None:
    from benchmarks.cases import case_of

    case = case_of("chain_1000")
    figures = in_child(case, case.contender("loop of plain calls"))
    assert 0 < figures["run"] < 1000
    assert 5 < figures["peak memory"] < 500


def test_a_contender_that_fails_in_its_process_says_why() -> None:
    unknown = _case("ours")
    with pytest.raises(Unmeasured, match="failed: KeyError: 'case'"):
        in_child(unknown, unknown.contender("ours"))
