from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import RESULTS, main
from benchmarks.cases import CASES
from benchmarks.report import HEADER


def test_names_are_unique_and_the_first_contender_is_handrail() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.contenders[0].name for case in CASES} == {"handrail"}


def test_every_case_has_something_to_be_held_against() -> None:
    assert all(len(case.contenders) > 1 for case in CASES)


def test_names_fit_into_a_table() -> None:
    names = [contender.name for case in CASES for contender in case.contenders]
    figures = [figure for case in CASES for figure in case.figures]
    shown = [*names, *(figure.name + figure.unit + figure.budget for figure in figures)]
    assert not any("|" in text for text in shown)


def test_the_page_of_results_can_be_written() -> None:
    page = RESULTS.read_text()
    for name in ("machine", "table"):
        assert page.count(f"<!-- {name}: begin -->") == page.count(f"<!-- {name}: end -->") == 1
    assert f"| {' | '.join(HEADER)} |" in page


def test_an_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["chain_of_fools"])
    assert stopped.value.code == 2
    assert "no case is called chain_of_fools" in capsys.readouterr().err


def test_a_quick_run_prints_a_table_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "seen.json"
    assert main(["append_rate", "--quick", "--json", str(file)]) == 0
    assert "one commit per event" in capsys.readouterr().out
    (case,) = json.loads(file.read_text())["cases"]
    assert [len(contender["rounds"]) for contender in case["contenders"]] == [1, 1, 1]
