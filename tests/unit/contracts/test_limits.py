from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail import TaskDefinitionError, WorkflowDefinitionError, task, workflow
from handrail.contracts.controls import ExecutionLimits
from handrail.contracts.limits import (
    EXPECTED,
    Limit,
    checked_tags,
    limit_of_task,
    parse_limit,
    parse_limits,
    read_limits,
)
from handrail.errors import RuntimeConfigError


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (2, Limit("db", 2)),
        ("2", Limit("db", 2)),
        ("10/s", Limit("db", None, 10, 1.0)),
        ("100/h", Limit("db", None, 100, 3600.0)),
        (" 5 / 30s ", Limit("db", None, 5, 30.0)),
        ("1/0.5s", Limit("db", None, 1, 0.5)),
        ("6/2min", Limit("db", None, 6, 120.0)),
        ("1/7d", Limit("db", None, 1, 604_800.0)),
        ("4, 10/min", Limit("db", 4, 10, 60.0)),
        ("10/min,4", Limit("db", 4, 10, 60.0)),
    ],
)
def test_a_limit_is_places_or_a_rate_or_both(said: int | str, expected: Limit) -> None:
    assert parse_limit("db", said) == expected


@pytest.mark.parametrize(
    "said",
    ["", "two", "10/", "/s", "10/m", "10/month", "-1", "2.5", "4, 5", "1/s, 2/s", "4,", "1 0/s"],
)
def test_what_is_no_limit_is_refused_with_what_was_expected(said: str) -> None:
    with pytest.raises(ValueError, match="limit of 'db' is") as caught:
        parse_limit("db", said)
    assert repr(said) in str(caught.value)
    assert EXPECTED in str(caught.value)


@pytest.mark.parametrize("said", [None, True, 2.0, ["2"], b"2", {"at_once": 2}, -1])
def test_what_is_neither_number_nor_text_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match="expected a number of places"):
        parse_limit("db", said)


@pytest.mark.parametrize("said", [0, "0", "0/s", "2/0s", "0, 10/s"])
def test_a_limit_under_which_nothing_would_start_is_refused(said: int | str) -> None:
    with pytest.raises(ValueError, match="nothing would ever start"):
        parse_limit("db", said)


@given(
    at_once=st.none() | st.integers(1, 999),
    rate=st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999_999)),
)
def test_a_limit_is_written_as_it_is_read(
    at_once: int | None, rate: tuple[int, int] | None
) -> None:
    count, seconds = rate if rate is not None else (None, None)
    limit = Limit("db", at_once, count, float(seconds) if seconds is not None else None)
    if str(limit):
        assert parse_limit("db", str(limit)) == limit


@pytest.mark.parametrize("said", ["2", "10/s", "100/h", "5/30s", "4, 10/min", "1/d", "1/2h"])
def test_the_usual_spellings_are_shown_as_they_were_written(said: str) -> None:
    assert str(parse_limit("db", said)) == said


@given(count=st.integers(1, 10_000), seconds=st.floats(0.001, 100_000))
def test_so_many_spaces_are_just_longer_than_the_window(count: int, seconds: float) -> None:
    spacing = Limit("db", None, count, seconds).spacing
    window = int(seconds * 1_000_000)
    assert count * spacing > window
    assert count * (spacing - 1) <= window


def test_places_alone_are_not_spaced() -> None:
    assert Limit("db", 2).spacing == 0


@pytest.mark.parametrize("tag", ["", " db", "a b", "db=2", "a,b", "a;b", "ä", "a/b"])
def test_a_malformed_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="is no tag"):
        parse_limit(tag, 1)
    with pytest.raises(ValueError, match="is no tag"):
        checked_tags((tag,))


def test_limits_are_read_by_tag() -> None:
    found = parse_limits({"db": 2, "task:load": "10/s"})
    assert found == {"db": Limit("db", 2), "task:load": Limit("task:load", None, 10, 1.0)}


def test_limits_of_the_settings_are_read_with_their_origin() -> None:
    assert read_limits(("api=10/s", "db=2"), "default")["db"] == Limit("db", 2)
    with pytest.raises(RuntimeConfigError) as caught:
        read_limits(("db=lots",), "environment HANDRAIL_LIMITS")
    assert str(caught.value) == (
        "Setting 'limits' from environment HANDRAIL_LIMITS: limit of 'db' is 'lots'; "
        f"expected {EXPECTED}."
    )


@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        (ExecutionLimits(), None),
        (ExecutionLimits(concurrent_exec_limit=0), None),
        (ExecutionLimits(concurrent_exec_limit=3), Limit("task:load", 3)),
        (
            ExecutionLimits(rate_limit_per_frequency=5, rate_limit_frequency_in_seconds=60),
            Limit("task:load", None, 5, 60.0),
        ),
        (
            ExecutionLimits(
                concurrent_exec_limit=1,
                rate_limit_per_frequency=0,
                rate_limit_frequency_in_seconds=60,
            ),
            Limit("task:load", 1),
        ),
    ],
)
def test_limits_in_controls_are_those_of_the_tasks_own_tag(
    controls: ExecutionLimits, expected: Limit | None
) -> None:
    assert limit_of_task("load", controls) == expected


# Declaring


def test_a_task_may_have_tags() -> None:
    @task(tags=("db", "api", "db"))
    def both() -> None: ...

    @task(tags="db")
    def one() -> None: ...

    @task
    def none() -> None: ...

    assert both.definition.tags == ("db", "api")
    assert one.definition.tags == ("db",)
    assert none.definition.tags == ()


@pytest.mark.parametrize("tags", ["a b", "", ("db", 5), 5, {"db": 2}, ("",), b"db"])
def test_malformed_tags_are_refused_when_declared(tags: Any) -> None:
    with pytest.raises(TaskDefinitionError, match=r"Task 'load': .*(is no tag|expected texts)"):

        @task(tags=tags)
        def load() -> None: ...


def test_a_workflow_may_have_limits() -> None:
    assert workflow("songs", limits={"db": 2}).limits == {"db": Limit("db", 2)}
    assert workflow("songs").limits == {}


@pytest.mark.parametrize("limits", [{"db": "lots"}, {"a b": 2}, "db=2", ["db"]])
def test_malformed_limits_of_a_workflow_are_refused(limits: Any) -> None:
    with pytest.raises(WorkflowDefinitionError, match="Workflow 'songs': "):
        workflow("songs", limits=limits)
