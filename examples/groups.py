"""One verdict on many tasks: strict, best effort, at least n, critical ones, and your own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handrail import (
    AtLeastNGroupPolicy,
    CriticalGroupPolicy,
    GroupExecutionPolicy,
    MemberResult,
    ParallelGroupError,
    RunFailed,
    StrictGroupPolicy,
    parallel,
    task,
    workflow,
)


@task
def database() -> str:
    return "database ok"


@task
def cache() -> str:
    raise ConnectionError("cache is down")


@task
def search() -> str:
    return "search ok"


@task
def deploy(services: dict[str, str]) -> str:
    return f"deployed with {', '.join(services)}"


class Majority(GroupExecutionPolicy):
    """More than half of the members must succeed."""

    def on_group_finished(
        self,
        group_id: str,
        tasks: Sequence[str],
        results: Mapping[str, MemberResult],
        context: Any,
    ) -> None:
        up = [name for name in tasks if results[name].success]
        if len(up) * 2 <= len(tasks):
            raise RuntimeError(f"{group_id}: only {', '.join(up) or 'nobody'} is up")


def checked(name: str, policy: GroupExecutionPolicy | str) -> workflow:
    """The same three checks and a deployment, judged by a policy."""
    with workflow(name) as flow:
        services = parallel(database, cache, search, name="services")
        services.with_execution(policy=policy, max_workers=2) >> deploy
    return flow


def main() -> None:
    policies: dict[str, GroupExecutionPolicy | str] = {
        "strict": "strict",
        "fail fast": StrictGroupPolicy(fail_fast=True),
        "best effort": "best_effort",
        "at least two": AtLeastNGroupPolicy(2),
        "at least three": AtLeastNGroupPolicy(3),
        "critical database": CriticalGroupPolicy(["database"]),
        "critical cache": CriticalGroupPolicy(["cache"]),
        "majority": Majority(),
    }
    for name, policy in policies.items():
        try:
            print(f"{name}: {checked(name, policy).execute()}")
        except RunFailed as failed:
            verdict = failed.cause
            assert isinstance(verdict, ParallelGroupError)
            lost = "; ".join(f"{member}: {why}" for member, why in verdict.failed_tasks)
            print(f"{name}: refused. {lost}")


if __name__ == "__main__":
    main()
