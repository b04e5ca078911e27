"""The workflow of the kept homes. It stays as it is: old journals are resumed with it.

A task of another shape, or of another name, belongs into another program.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from handrail import TaskExecutionContext, WorkspaceSpec, parallel, task, workflow

#: What goes wrong: "", "crash" (in a mapped task of the second round), "fail" (in the last task).
mishap = ""
#: Bodies that ran in this process.
ran: list[str] = []

INPUTS = {"lines": 2, "next_watermark": 7}
RESULT = {
    "squares": [1, 4, 9],
    "tolerant": {"good": "good"},
    "improve": 8,
    "judge": 2,
    "ask": True,
    "channel": [1, 2],
    "page": "page\npage\n",
}


class Page(BaseModel):
    lines: int


with workflow("everything", workspace="pages") as everything:

    @task(inject_context=True)
    def begin(context: TaskExecutionContext) -> list[int]:
        ran.append("begin")
        context.get_channel().append("rounds", context.cycle_count)
        return [1, 2, 3]

    @task(inject_context=True)
    def square(context: TaskExecutionContext, x: int) -> int:
        ran.append(f"square {x}")
        if mishap == "crash" and context.cycle_count == 2 and x == 2:
            time.sleep(0.5)  # until what the others did is in the journal
            os.kill(os.getpid(), signal.SIGKILL)
        return x * x

    @task
    def good() -> str:
        ran.append("good")
        return "good"

    @task
    def broken() -> None:
        ran.append("broken")
        raise ValueError("always")

    @task(inject_context=True)
    def improve(context: TaskExecutionContext, value: int = 1) -> int:
        ran.append(f"improve {value}")
        if value < 8:
            context.next_iteration(value * 2)
        return value

    @task(inject_context=True)
    def judge(context: TaskExecutionContext) -> int:
        ran.append("judge")
        if context.cycle_count < 2:
            context.next_task("begin")
        return int(context.cycle_count)

    @task(workspace=WorkspaceSpec())
    def write(workspace: Path, params: Page) -> Page:
        ran.append("write")
        (workspace / "page").write_text("page\n" * params.lines)
        return params

    @task(inject_context=True)
    def ask(context: TaskExecutionContext) -> bool:
        ran.append("ask")
        return context.request_approval("Publish?")

    @task(workspace=WorkspaceSpec(read_only=True))
    def read(workspace: Path, params: Page) -> Page:
        ran.append("read")
        assert (workspace / "page").read_text() == "page\n" * params.lines
        return params

    @task(inject_context=True)
    def last(context: TaskExecutionContext) -> dict[str, Any]:
        ran.append("last")
        if mishap == "fail":
            raise ValueError("not yet")
        return {
            "squares": context.get_result("squares"),
            "tolerant": context.get_result("tolerant"),
            "improve": context.get_result("improve"),
            "judge": context.get_result("judge"),
            "ask": context.get_result("ask"),
            "channel": context.get_channel().get("rounds"),
            "page": "page\n" * context.get_result("read").lines,
        }

    tolerant = parallel(good, broken, name="tolerant").with_execution(policy="best_effort")
    squares = square.map(begin, task_id="squares")
    begin >> tolerant >> squares >> improve >> judge >> write >> ask >> read >> last
