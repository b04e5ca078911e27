from __future__ import annotations

import pytest

from handrail import task, workflow
from handrail.cli.graphs import _with_groups, is_run


@pytest.mark.parametrize(
    ("text", "is_it"),
    [
        ("1m7z9r3925wmk3gd", True),
        ("1m7", True),
        ("flights", False),
        ("flights.py", False),
        ("2013/flights.py", False),
        ("2013/flights.py:daily", False),
    ],
)
def test_a_run_is_told_from_a_workflow(text: str, is_it: bool) -> None:
    assert is_run(text) is is_it


def test_a_group_is_in_the_state_of_its_worst_member() -> None:
    with workflow("songs") as flow:

        @task
        def a() -> None: ...

        @task
        def b() -> None: ...

        @task
        def c() -> None: ...

        (a | b) >> c

    (group,) = [name for name in flow.graph if name not in "abc"]
    states = _with_groups(flow, {"a": "succeeded", "b": "failed", "c": "queued"})
    assert states[group] == "failed"
    assert _with_groups(flow, {"a": "succeeded", "b": "succeeded"})[group] == "succeeded"
