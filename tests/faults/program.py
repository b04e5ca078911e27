"""A workflow of some sixty attempts with one of everything, whose result is always the same.

Each body leaves a line in the file `effects` of the working folder: its idempotency key and its
attempt, or its name where it cannot know them. It is started and killed by `kills.py`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from handrail import TaskExecutionContext, WorkspaceSpec, parallel, task, workflow
from handrail.contracts.controls import RetryPolicy

#: How long a body works, in seconds.
WORK_SECONDS = 0.004

EFFECTS = "effects"
SOON = RetryPolicy(count=2, delay_seconds=0.005, backoff_factor=1.0, jitter=False)


def effect(context: TaskExecutionContext) -> None:
    """Leaves the line."""
    leave(f"{context.idempotency_key}\t{context.attempt_id}\n")


def leave(line: str) -> None:
    """Writes a line at once, and takes its time."""
    file = os.open(EFFECTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
    time.sleep(WORK_SECONDS)


class Pages(BaseModel):
    lines: int


with workflow("everything", workspace="pages") as everything:

    @task(inject_context=True)
    def first(context: TaskExecutionContext) -> int:
        effect(context)
        context.get_channel().set("started", True)
        return 1

    @task(inject_context=True)
    def unit(context: TaskExecutionContext, add: int) -> int:
        effect(context)
        channel = context.get_channel()
        channel.set(f"unit {context.task_id}", add)
        channel.append("seen", context.task_id)
        return add + 1

    @task(inject_context=True, retry_policy=SOON)
    def shaky(context: TaskExecutionContext, add: int) -> int:
        effect(context)
        if context.retry_count == 0:
            raise OSError("the first try fails")
        return add + 100

    @task(inject_context=True, retry_policy=SOON)
    def broken(context: TaskExecutionContext) -> int:
        effect(context)
        raise ValueError("every try fails")

    @task(inject_context=True, handler_type="process")
    def elsewhere(context: TaskExecutionContext, add: int) -> int:
        effect(context)
        context.get_channel().set(f"elsewhere {context.task_id}", add)
        return add * 2

    @task(inject_context=True)
    def numbers(context: TaskExecutionContext) -> list[int]:
        effect(context)
        return [2, 3, 5, 7, 11]

    @task(inject_context=True, retry_policy=SOON)
    def square(context: TaskExecutionContext, x: int) -> int:
        effect(context)
        if x == 3 and context.retry_count == 0:
            raise OSError("the first try fails")
        return x * x

    @task(inject_context=True)
    def improve(context: TaskExecutionContext, value: int = 1) -> int:
        effect(context)
        if value < 16:
            context.next_iteration(value * 2)
        return value

    @task(inject_context=True)
    def work(context: TaskExecutionContext) -> str:
        effect(context)
        return f"work {context.cycle_count}"

    @task(inject_context=True)
    def left(context: TaskExecutionContext, work: str) -> str:
        effect(context)
        return f"left of {work}"

    @task(inject_context=True)
    def right(context: TaskExecutionContext, work: str) -> str:
        effect(context)
        return f"right of {work}"

    @task(inject_context=True, max_cycles=3)
    def judge(context: TaskExecutionContext, left: str, right: str) -> str:
        effect(context)
        if context.cycle_count < 3:
            context.next_task("work")
        return f"{left}, {right}"

    @task(inject_context=True)
    def spawn(context: TaskExecutionContext) -> str:
        effect(context)
        context.next_task(unit(task_id="spawned", add=1000))
        return "spawned"

    @task(workspace=WorkspaceSpec())
    def write_one(workspace: Path, params: Pages) -> Pages:
        leave("write_one\t\n")
        (workspace / "one").write_text("one\n" * params.lines)
        return Pages(lines=params.lines + 1)

    @task(workspace=WorkspaceSpec())
    def write_two(workspace: Path, params: Pages) -> Pages:
        leave("write_two\t\n")
        (workspace / "two").write_text((workspace / "one").read_text() + "two\n")
        return Pages(lines=params.lines + 1)

    @task(workspace=WorkspaceSpec(), handler_type="process")
    def write_three(workspace: Path, params: Pages) -> Pages:
        leave("write_three\t\n")
        (workspace / "three").write_text((workspace / "two").read_text() + "three\n")
        return Pages(lines=params.lines + 1)

    @task(workspace=WorkspaceSpec(read_only=True))
    def read(workspace: Path, params: Pages) -> Pages:
        leave("read\t\n")
        return Pages(lines=len((workspace / "three").read_text().splitlines()))

    @task(inject_context=True)
    def last(context: TaskExecutionContext) -> dict[str, Any]:
        effect(context)
        # Nobody waits for the task that `spawn` asked for.
        names = sorted({*context.execution.completed_tasks} - {"spawned", "last"})
        channel = context.get_channel()
        kept = {key: channel.get(key) for key in sorted(channel.keys())}
        kept["seen"] = sorted({*kept["seen"]} - {"spawned"})
        kept.pop("unit spawned", None)
        return {"results": {name: context.get_result(name) for name in names}, "channel": kept}

    strict = parallel(*[unit(task_id=f"strict_{n}", add=n) for n in range(6)], name="strict")
    nested = unit(task_id="inner_a", add=1) >> parallel(
        unit(task_id="inner_b", add=2), shaky(task_id="inner_c", add=3), name="inner"
    )
    tolerant = parallel(
        broken, nested, unit(task_id="tolerant_1", add=1), shaky(task_id="tolerant_2", add=2),
        name="tolerant",
    ).with_execution(policy="best_effort", max_workers=3)  # fmt: skip
    links = [unit(task_id=f"link_{n}", add=n) for n in range(8)]
    chained = links[0]
    for link in links[1:]:
        chained = chained >> link
    every = parallel(
        strict,
        tolerant,
        chained,
        numbers >> square.map(numbers, task_id="squares"),
        unit.map(list(range(6)), task_id="more"),
        improve,
        work >> parallel(left, right, name="sides") >> judge,
        write_one >> write_two >> write_three >> read,
        elsewhere(task_id="far_1", add=1) >> elsewhere(task_id="far_2", add=2),
        spawn,
        name="every",
    )
    first >> every >> last
