from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from handrail.contracts.reuse import CachePolicy
from handrail.contracts.task import Task, task
from handrail.contracts.workspace import WorkspaceSpec
from handrail.errors import TaskDefinitionError


class Params(BaseModel):
    level: int = 1


def declared(said: object) -> CachePolicy | None:
    def work(x: int, y: int = 2) -> int:
        return x + y

    declare: Any = task
    made: Task = declare(cache=said)(work)
    return made.definition.cache


@pytest.mark.parametrize(
    ("said", "policy"),
    [
        (None, None),
        (False, None),
        (True, CachePolicy()),
        (60, CachePolicy(ttl_seconds=60)),
        (0.5, CachePolicy(ttl_seconds=0.5)),
        (timedelta(hours=2), CachePolicy(ttl_seconds=7200)),
        (CachePolicy(version="3", ignore=("y",)), CachePolicy(version="3", ignore=("y",))),
    ],
)
def test_a_cache_is_said_in_several_ways(said: object, policy: CachePolicy | None) -> None:
    assert declared(said) == policy


@pytest.mark.parametrize(
    "said", [0, -1, float("nan"), float("inf"), timedelta(0), "yes", [], CachePolicy]
)
def test_what_is_no_policy_is_refused(said: object) -> None:
    with pytest.raises(TaskDefinitionError, match=r"Task 'work': cache="):
        declared(said)


@pytest.mark.parametrize("ttl_seconds", [0, -1, float("nan")])
def test_a_policy_refuses_lengths_of_time_that_are_none(ttl_seconds: float) -> None:
    with pytest.raises(ValidationError):
        CachePolicy(ttl_seconds=ttl_seconds)


def test_an_ignored_parameter_must_be_one() -> None:
    with pytest.raises(TaskDefinitionError, match=r"ignores 'z', which is no .* It has: x, y\."):
        declared(CachePolicy(ignore=("z",)))


def test_an_ignored_parameter_of_a_typed_task_is_a_field() -> None:
    def work(params: Params) -> Params:
        return params

    policy = CachePolicy(ignore=("level",))
    assert task(cache=policy)(work).definition.cache == policy
    with pytest.raises(TaskDefinitionError, match="It has: level"):
        task(cache=CachePolicy(ignore=("params",)))(work)


def test_an_open_ended_function_may_ignore_any_name() -> None:
    @task(cache=CachePolicy(ignore=("anything",)))
    def work(**others: int) -> int:
        return len(others)

    assert work.definition.cache is not None


def test_a_context_and_a_cache_are_refused_together() -> None:
    with pytest.raises(TaskDefinitionError, match="do not go together"):

        @task(cache=True, inject_context=True)
        def work(context: object) -> None: ...


def test_a_context_without_a_cache_is_fine() -> None:
    @task(cache=False, inject_context=True)
    def work(context: object) -> None: ...

    assert work.definition.cache is None


def test_a_task_with_files_may_have_a_cache() -> None:
    @task(cache=True, workspace=WorkspaceSpec())
    def work(workspace: Path, params: Params) -> Params:
        return params

    assert work.definition.cache == CachePolicy()
    assert work.instance("other", level=2).definition.cache == CachePolicy()
