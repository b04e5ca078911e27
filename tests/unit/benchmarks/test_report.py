from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.case import Case, Contender, Figure
from benchmarks.runner import Measured, Outcome

PAGE = """# Results
<!-- machine: begin -->
<!-- machine: end -->
<!-- table: begin -->
<!-- table: end -->
Prose.
"""


def _outcome(name: str, *values: float, peer: float = 10.0) -> Outcome:
    figures = (Figure("run", "µs per task", "≤ 3 µs", at_most=3.0),)
    ours, other = Contender("handrail", dict), Contender("peer", dict)
    return Outcome(
        Case(name, "About.", figures, (ours, other)),
        [
            Measured(ours, [{"run": value} for value in values]),
            Measured(other, [{"run": peer} for _ in values]),
        ],
        (0.5, 0.7),
    )


def test_a_row_shows_median_spread_budget_and_verdict() -> None:
    ours, peer = report.rows([_outcome("chain", 2.0, 1.0, 4.0)], "2026-11-21")
    assert ours.cells == (
        "chain", "handrail", "run, µs per task", "2.00", "1.00 to 4.00", "≤ 3 µs", "yes", "",
        "2026-11-21, 3 rounds, load 0.7",
    )  # fmt: skip
    assert peer.cells[5:8] == ("", "", "0.20")


def test_a_budget_that_is_missed_is_seen() -> None:
    (ours, _) = report.rows([_outcome("chain", 3.5)], "2026-11-21")
    assert ours.cells[6] == "**no**"


def test_a_contender_without_figures_says_why() -> None:
    outcome = _outcome("chain", 1.0)
    outcome.measured[1] = Measured(outcome.case.contenders[1], problem="peer is not installed")
    (_, peer) = report.rows([outcome], "2026-11-21")
    assert peer.cells[:3] == ("chain", "peer", "peer is not installed")
    assert len(peer.cells) == len(report.HEADER)


def test_numbers_keep_three_digits() -> None:
    values = [0, 0.954, 12.345, 1234.5, 68_000_000]
    assert [report.number(value) for value in values] == [
        "0",
        "0.95",
        "12.3",
        "1,234",
        "68,000,000",
    ]


def _page(page: str, about: str, *outcomes: Outcome) -> str:
    return report.updated(page, report.rows(outcomes, "day"), ["a", "b"], about)


def _medians(page: str) -> list[str]:
    lines = [line.split(" | ") for line in page.splitlines() if line.startswith(("| a |", "| b |"))]
    return [line[3] for line in lines if line[1] == "handrail"]


def test_the_page_keeps_the_rows_of_cases_that_were_not_measured() -> None:
    page = _page(PAGE, "first", _outcome("a", 1.0), _outcome("b", 2.0))
    page = _page(page, "second", _outcome("a", 3.0))
    assert _medians(page) == ["3.00", "2.00"]
    assert "second" in page
    assert "first" not in page
    assert page.endswith("Prose.\n")


def test_the_page_has_cases_in_their_order_whenever_they_were_measured() -> None:
    page = _page(_page(PAGE, "", _outcome("b", 2.0)), "", _outcome("a", 1.0))
    assert _medians(page) == ["1.00", "2.00"]


def test_the_page_drops_cases_that_there_are_no_longer() -> None:
    page = _page(PAGE, "", _outcome("a", 1.0), _outcome("b", 2.0))
    page = report.updated(page, [], ["b"], "")
    assert _medians(page) == ["2.00"]


def test_writing_the_same_twice_changes_nothing() -> None:
    page = _page(PAGE, "machine", _outcome("a", 1.0))
    assert _page(page, "machine", _outcome("a", 1.0)) == page


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no marks"):
        _page("# Results\n", "machine", _outcome("a", 1.0))


def test_json_holds_every_round() -> None:
    seen = report.as_json([_outcome("a", 1.0, 2.0)], "machine")
    (case,) = seen["cases"]
    assert case["contenders"][0]["rounds"] == [{"run": 1.0}, {"run": 2.0}]
    assert case["contenders"][1]["ratios"] == {"run": 0.15000000000000002}


def test_the_machine_is_described_without_its_name(tmp_path: Path) -> None:
    import platform

    described = report.machine(tmp_path)
    assert platform.python_version() in described
    assert platform.node() not in described
    assert str(tmp_path) not in described
