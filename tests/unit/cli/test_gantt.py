from __future__ import annotations

import re

import pytest

from handrail.cli.gantt import gantt
from handrail.run.history import EpochHistory, RunHistory
from tests.unit.cli.histories import ERROR, a_run, a_task, an_attempt


def bars(chart: str) -> list[tuple[str, float, float]]:
    """State, left and width of each bar."""
    found = re.findall(
        r'<i class="try (\w+)" title="[^"]*" style="left:([\d.]+)%;width:([\d.]+)%"', chart
    )
    return [(state, float(left), float(width)) for state, left, width in found]


def drawn(run: RunHistory, now: int = 0) -> str:
    return gantt(run, now, {task.name: f"t-{task.name}" for task in run.tasks})


def test_bars_stand_where_their_time_is() -> None:
    chart = drawn(a_run(a_task("a", an_attempt(0, 500)), a_task("b", an_attempt(500, 2000))))
    assert bars(chart) == [("succeeded", 0.0, 25.0), ("succeeded", 25.0, 75.0)]
    assert '<a href="#t-a" title="a">a</a>' in chart
    assert "+2.0 s</span>" in chart


def test_what_never_began_has_no_lane() -> None:
    refused = a_task("refused", an_attempt(None, 5, state="failed"))
    assert drawn(a_run(a_task("idle"), refused)) == ""
    assert "idle" not in drawn(a_run(a_task("idle"), a_task("a", an_attempt(0, 5))))


def test_each_try_is_a_bar_with_its_error() -> None:
    first = an_attempt(0, 400, state="failed", error=ERROR)
    chart = drawn(a_run(a_task("a", first, an_attempt(500, 1000, try_number=2))))
    assert [state for state, _, _ in bars(chart)] == ["failed", "succeeded"]
    assert "try 1: failed, 0.4 s, from" in chart
    assert "no &lt;data&gt;" in chart
    assert 'class="wait"' in chart
    assert "between tries" in chart


def test_what_still_runs_goes_on_to_now() -> None:
    chart = drawn(a_run(a_task("a", an_attempt(0, None, state="running"))), now=3000)
    assert bars(chart) == [("running", 0.0, 100.0)]
    assert "3.0 s" in chart


def test_a_gap_in_which_nothing_ran_is_cut_out() -> None:
    day = 86_400_000
    run = a_run(
        a_task("a", an_attempt(0, 1000)),
        a_task("b", an_attempt(day, day + 1000, epoch=2)),
        epochs=(EpochHistory(1, None, 0), EpochHistory(2, None, day - 5)),
    )
    chart = drawn(run)
    assert bars(chart) == [("succeeded", 0.0, 48.8), ("succeeded", 51.2, 48.8)]
    assert 'title="23 h 59 min in which nothing ran"' in chart or "1 d 00 h in which" in chart
    # The resume lies in the gap.
    assert re.search(r'class="epoch" title="resumed [^"]*epoch 2\)" style="left:50.00%"', chart)


def test_items_of_a_mapped_task_share_its_lane() -> None:
    items = [a_task(f"load[{n}]", an_attempt(n * 100, n * 100 + 50)) for n in range(4)]
    chart = drawn(a_run(a_task("load", state="succeeded"), *items))
    assert len(bars(chart)) == 4
    assert chart.count('class="lane"') == 1


def test_bars_too_near_to_be_told_apart_are_one() -> None:
    attempts = [an_attempt(n, n + 1) for n in range(5000)]
    chart = drawn(a_run(a_task("again", *attempts)))
    assert len(bars(chart)) == 1
    assert 'title="5,000 attempts: succeeded"' in chart


def test_of_many_tasks_those_that_took_longest_are_drawn_in_order() -> None:
    tasks = [a_task(f"t{n:04}", an_attempt(0, n + 1)) for n in range(1000)]
    chart = drawn(a_run(*tasks))
    names = re.findall(r'title="(t\d+)"', chart)
    assert names == [f"t{n:04}" for n in range(600, 1000)]
    assert "and 600 shorter tasks" in chart


@pytest.mark.parametrize("length", [20, 90, 3000, 90_000, 86_400_000, 9 * 86_400_000])
def test_times_below_are_round_and_few(length: int) -> None:
    chart = drawn(a_run(a_task("a", an_attempt(0, length))))
    labels = re.findall(r"<span style=[^>]*>\+([^<]*)</span>", chart)
    assert 1 <= len(labels) <= 7
