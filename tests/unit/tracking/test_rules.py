from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime

import pytest

from handrail.tracking import Address, State, rules
from handrail.tracking.rules import EndVerdict, Outcome
from handrail.tracking.wire import EndExecution

SUCCESS = Outcome(State.SUCCEEDED, inserts=5)
FAILURE = Outcome(State.FAILED)


def test_names_are_compared_without_case_and_spaces() -> None:
    assert rules.normalised("  Daily Sales ") == "daily sales"


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.WAITING])
def test_an_open_execution_accepts_an_end(state: State) -> None:
    assert rules.judge_end(state, None, None, SUCCESS, "k") is EndVerdict.ACCEPTED


def test_the_same_end_again_is_a_repeat() -> None:
    verdict = rules.judge_end(State.SUCCEEDED, SUCCESS, "first", SUCCESS, "second")
    assert verdict is EndVerdict.REPEATED


def test_the_same_key_again_is_a_repeat() -> None:
    assert rules.judge_end(State.SUCCEEDED, SUCCESS, "k", FAILURE, "k") is EndVerdict.REPEATED


@pytest.mark.parametrize("told", [FAILURE, Outcome(State.SUCCEEDED, inserts=6)])
def test_another_end_of_a_finished_execution_is_a_conflict(told: Outcome) -> None:
    verdict = rules.judge_end(State.SUCCEEDED, SUCCESS, "first", told, "second")
    assert verdict is EndVerdict.CONFLICT


def test_an_end_after_the_verdict_crashed_is_superseded() -> None:
    assert rules.judge_end(State.CRASHED, None, None, SUCCESS, "k") is EndVerdict.SUPERSEDED
    assert rules.judge_end(State.CRASHED, SUCCESS, "k", SUCCESS, "l") is EndVerdict.REPEATED
    assert rules.judge_end(State.CRASHED, SUCCESS, "k", FAILURE, "l") is EndVerdict.CONFLICT


@pytest.mark.parametrize("state", [State.SKIPPED, State.CANCELLED, State.SUPERSEDED])
def test_an_execution_that_ended_without_running_cannot_end_otherwise(state: State) -> None:
    assert rules.judge_end(state, Outcome(state), None, SUCCESS, "k") is EndVerdict.CONFLICT


def test_the_outcome_of_an_end_tells_its_state() -> None:
    def state(**fields: bool) -> State:
        return rules.outcome(EndExecution(execution_id=1, **fields)).state

    assert state(completed_successfully=True) is State.SUCCEEDED
    assert state(completed_successfully=False) is State.FAILED
    assert state(completed_successfully=False, cancelled=True) is State.CANCELLED


def test_only_a_success_with_a_next_watermark_promotes() -> None:
    assert rules.promotes(State.SUCCEEDED, 7)
    assert not rules.promotes(State.SUCCEEDED, None)
    assert not rules.promotes(State.FAILED, 7)
    assert not rules.promotes(State.CRASHED, 7)


def test_a_compared_promotion_needs_the_watermark_it_started_from() -> None:
    assert rules.promotes(State.SUCCEEDED, 7, compare=True, base=5, current=5)
    assert rules.promotes(State.SUCCEEDED, 7, compare=True, base=None, current=None)
    assert not rules.promotes(State.SUCCEEDED, 7, compare=True, base=5, current=6)
    assert not rules.promotes(State.SUCCEEDED, 7, compare=True, base=5, current="5")
    assert rules.promotes(State.SUCCEEDED, 7, compare=False, base=5, current=6)


def test_a_first_execution_starts_from_nothing_whatever_its_default() -> None:
    assert rules.base_watermark("2024-01-01", None) is None
    assert rules.base_watermark(None, 3) == 3
    assert rules.base_watermark(2, 3) == 2
    same_day = rules.base_watermark(date(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC))
    assert same_day == date(2024, 1, 1)


def test_times_lie_in_the_past_and_in_order() -> None:
    assert rules.settled_start(None, 100) == 100
    assert rules.settled_start(150, 100) == 100
    assert rules.settled_end(50, None, 100) == 100
    assert rules.settled_end(50, 70, 100) == 70
    assert rules.settled_end(50, 170, 100) == 100
    assert rules.settled_end(50, 20, 100) == 50
    assert rules.settled_end(None, 20, 100) == 20


def test_duration_and_throughput_are_unknown_rather_than_wrong() -> None:
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    assert rules.duration_seconds(noon, None) is None
    assert rules.duration_seconds(noon, noon.replace(microsecond=250_000)) == 0.25
    assert rules.throughput(10, 0.25) == 40
    assert rules.throughput(10, 0.0) is None
    assert rules.throughput(None, 1.0) is None
    assert rules.throughput(0, 1.0) == 0


def test_only_open_executions_with_a_lease_are_judged_by_it() -> None:
    assert rules.lease_expired(State.RUNNING, 30, 100, 100)
    assert not rules.lease_expired(State.RUNNING, 30, 101, 100)
    assert not rules.lease_expired(State.RUNNING, None, None, 100)
    assert not rules.lease_expired(State.SUCCEEDED, 30, 50, 100)


def address(name: str = "Sales.Public.Orders", **fields: str) -> Address:
    defaults = {"address_type_name": "Postgres", "address_type_group_name": "Database"}
    return Address.model_validate({"name": name, **defaults, **fields})


def test_a_dotted_name_in_a_database_tells_its_parts() -> None:
    located = rules.located(address())
    assert (located.name, located.address_type_name) == ("sales.public.orders", "postgres")
    parts = (located.database_name, located.schema_name, located.table_name)
    assert parts == ("sales", "public", "orders")


def test_parts_that_are_said_or_cannot_be_told_are_left() -> None:
    assert rules.located(address(table_name="o")).database_name is None
    assert rules.located(address(name="a.b")).table_name is None
    assert rules.located(address(address_type_group_name="file")).table_name is None


def test_the_digest_of_a_lineage_is_the_same_in_every_process() -> None:
    digest = rules.lineage_digest([address()], [address("t")])
    assert digest == rules.lineage_digest([address("SALES.public.orders ")], [address("T")])
    assert digest != rules.lineage_digest([address("t")], [address()])
    assert rules.lineage_digest([], []) == hashlib.sha256(b"[[], []]").hexdigest()
