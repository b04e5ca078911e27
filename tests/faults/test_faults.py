"""Faults, caused. A short form of each here; `make faults` runs more.

How many: `FAULTS_KILLS`, `FAULTS_RACES`, `FAULTS_SHAPES`. Trials have numbers, and a number says
what is done in its trial: with `FAULTS_FIRST` a run that was interrupted is continued.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.faults.kills import Ending, trial, undisturbed
from tests.faults.machine import EngineMachine
from tests.faults.races import process_trial, thread_trial


def count_of(name: str, short: int) -> int:
    return int(os.environ.get(name, short))


def numbers(name: str, short: int) -> range:
    return range(count_of("FAULTS_FIRST", 0), count_of(name, short))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Ending:
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", numbers("FAULTS_KILLS", 6))
def test_a_run_that_is_killed_ends_as_if_nothing_had_been(
    tmp_path: Path, expected: Ending, number: int
) -> None:
    trial(tmp_path, number, expected)


@pytest.mark.parametrize("number", numbers("FAULTS_RACES", 10))
def test_of_resumes_of_one_run_at_once_in_threads_one_wins(tmp_path: Path, number: int) -> None:
    thread_trial(tmp_path, number)


@pytest.mark.parametrize("number", range(max(count_of("FAULTS_RACES", 10) // 5, 1)))
def test_of_resumes_of_one_run_at_once_in_processes_one_wins(tmp_path: Path, number: int) -> None:
    process_trial(tmp_path, number)


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(
    max_examples=count_of("FAULTS_SHAPES", 40),
    stateful_step_count=12,
    deadline=None,
    derandomize="FAULTS_SHAPES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
