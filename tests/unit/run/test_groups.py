"""Groups as their policies judge them."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from handrail import (
    AtLeastNGroupPolicy,
    BestEffortGroupPolicy,
    CriticalGroupPolicy,
    ExecutionContext,
    GroupExecutionPolicy,
    MemberResult,
    ParallelGroup,
    ParallelGroupError,
    RetryPolicy,
    RunFailed,
    StepLimitExceeded,
    StrictGroupPolicy,
    Task,
    TaskGraph,
    WorkflowDefinitionError,
    WorkflowEngine,
    parallel,
    task,
)
from handrail.contracts.expr import Composable
from handrail.flow.plan import Plan


def run(part: Composable, **more: Any) -> Any:
    graph = TaskGraph()
    graph.include(part)
    with WorkflowEngine() as engine:
        return engine.execute(ExecutionContext(graph, **more))


def good(name: str) -> Task:
    return task(name)(lambda: name)


def bad(name: str) -> Task:
    def body() -> None:
        raise ValueError(f"{name} is broken")

    return task(name)(body)


def group(*members: Composable, policy: Any = None, **more: Any) -> ParallelGroup:
    return parallel(*members, name="g").with_execution(policy=policy, **more)


@task
def after(g: Any) -> Any:
    return g


def test_a_groups_result_is_the_mapping_of_its_members_results() -> None:
    assert run(group(good("a"), good("b")) >> after) == {"a": "a", "b": "b"}


def test_a_strict_group_waits_for_all_and_tells_who_failed_and_who_did_not() -> None:
    with pytest.raises(RunFailed, match="Parallel group g failed: 1 task") as caught:
        run(group(bad("a"), good("b")) >> after)
    cause = caught.value.cause
    assert isinstance(cause, ParallelGroupError)
    assert cause.failed_tasks == [("a", "ValueError: a is broken")]
    assert cause.successful_tasks == ["b"]
    assert isinstance(cause.__cause__, ValueError)


def test_best_effort_accepts_failures_and_leaves_them_out_of_the_result() -> None:
    assert run(group(bad("a"), good("b"), policy="best_effort") >> after) == {"b": "b"}


@pytest.mark.parametrize(("least", "succeeds"), [(1, True), (2, True), (3, False)])
def test_at_least_n_counts_successes(least: int, succeeds: bool) -> None:
    flow = group(bad("a"), good("b"), good("c"), policy=AtLeastNGroupPolicy(least)) >> after
    if succeeds:
        assert run(flow) == {"b": "b", "c": "c"}
    else:
        with pytest.raises(RunFailed, match="2 of at least 3 succeeded"):
            run(flow)


def test_only_critical_tasks_must_succeed() -> None:
    policy = CriticalGroupPolicy(["b"])
    assert run(group(bad("a"), good("b"), policy=policy) >> after) == {"b": "b"}
    with pytest.raises(RunFailed, match="critical task"):
        run(group(good("a"), bad("b"), policy=policy) >> after)


def test_a_policy_of_ones_own_sees_members_and_context() -> None:
    seen: list[Any] = []

    class Own(GroupExecutionPolicy):
        def on_group_finished(
            self,
            group_id: str,
            tasks: Sequence[str],
            results: Mapping[str, MemberResult],
            context: Any,
        ) -> None:
            seen.extend([group_id, list(tasks), results["a"].success, context.get_result("b")])

    assert run(group(bad("a"), good("b"), policy=Own()) >> after) == {"b": "b"}
    assert seen == ["g", ["a", "b"], False, "b"]


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ("critical", "needs to know more"),
        ("at_least_n", "needs to know more"),
        ("lenient", "unknown group policy"),
        (CriticalGroupPolicy(["nobody"]), "names nobody"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_before_anything_runs(policy: Any, text: str) -> None:
    ran: list[str] = []
    first = task("a")(lambda: ran.append("a"))
    with pytest.raises(WorkflowDefinitionError, match=text):
        run(group(first, good("b"), policy=policy))
    assert ran == []


def test_fail_fast_does_not_wait_for_the_others() -> None:
    release = threading.Event()

    def wait() -> None:
        release.wait(20)

    flow = group(bad("a"), task("b")(wait), policy=StrictGroupPolicy(fail_fast=True)) >> after
    try:
        with pytest.raises(RunFailed, match="Parallel group g failed"):
            run(flow)
        assert not release.is_set()
    finally:
        release.set()


def test_a_failure_within_a_members_chain_fails_that_member_only() -> None:
    flow = group(good("a") >> bad("x") >> good("y"), good("b"), policy="best_effort") >> after
    assert run(flow) == {"b": "b"}


def test_a_nested_group_fails_as_a_member_of_the_outer_one() -> None:
    inner = parallel(bad("x"), good("y"), name="inner")
    flow = group(inner, good("b"), policy=BestEffortGroupPolicy()) >> after
    assert run(flow) == {"b": "b"}


def test_retries_of_a_member_come_before_the_groups_verdict() -> None:
    tries: list[int] = []

    @task(id="a", retry_policy=RetryPolicy(max_retries=2, initial_interval=0))
    def flaky() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")
        return len(tries)

    assert run(group(flaky, good("b")) >> after) == {"a": 3, "b": "b"}


def test_max_workers_bounds_how_many_members_run_at_once() -> None:
    lock, running, peak = threading.Lock(), [0], [0]

    def body() -> None:
        with lock:
            running[0] += 1
            peak[0] = max(peak[0], running[0])
        threading.Event().wait(0.02)
        with lock:
            running[0] -= 1

    members = [task(f"t{number}")(body) for number in range(8)]
    run(group(*members, max_workers=2) >> after)
    assert peak[0] <= 2


def test_a_direct_group_runs_its_members_one_after_the_other_in_order() -> None:
    ran: list[str] = []

    def noting(name: str) -> Task:
        return task(name)(lambda: ran.append(name))

    run(group(*map(noting, "abcdef"), backend="direct"))
    assert ran == list("abcdef")


def test_a_limit_of_the_run_is_not_absorbed_by_a_policy() -> None:
    graph = TaskGraph()
    graph.include(group(good("a"), good("b"), good("c"), policy="best_effort") >> after)
    with pytest.raises(StepLimitExceeded):
        WorkflowEngine().execute_plan(Plan(graph), ExecutionContext(graph), max_steps=2)


def test_a_group_runs_its_members_on_the_backend_it_names() -> None:
    def where() -> int:
        return os.getpid()

    flow = group(task("a")(where), task("b")(where), backend="process") >> after
    found = run(flow)
    assert os.getpid() not in found.values()


def test_fail_fast_forgets_retries_of_the_others() -> None:
    tries: list[int] = []

    @task(id="a", retry_policy=RetryPolicy(max_retries=5, initial_interval=3600))
    def flaky() -> None:
        tries.append(1)
        raise ValueError("not yet")

    flow = group(flaky, bad("b"), policy=StrictGroupPolicy(fail_fast=True))
    outer = parallel(flow, good("c"), name="outer").with_execution(policy="best_effort")
    assert run(outer) == {"c": "c"}
    assert tries == [1]
