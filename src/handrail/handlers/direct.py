"""In this process: no isolation, no overhead."""

from __future__ import annotations

import os

from handrail.run.context import ExecutionContext
from handrail.run.handler import BoundTask, TaskHandler


class DirectTaskHandler(TaskHandler):
    """Runs bodies in this process (`handler_type="direct"`, the default).

    A single ready task runs in the engine's own thread, several in threads side by side. A
    body cannot be stopped: past its time limit its result is refused.
    """

    def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
        """Runs the body in the calling thread."""
        context.set_result(task.task_id, task.run())

    def get_name(self) -> str:
        """`"direct"`."""
        return "direct"

    def capacity(self, max_workers: int | None) -> int:
        """As many threads as asked for; by default what the standard library's pools take."""
        return max_workers or min(32, (os.cpu_count() or 1) + 4)
