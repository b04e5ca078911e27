"""Where bodies run: handlers of your own, on one engine or for the whole process.

A handler decides only where and how a body runs. Retries, time limits, groups, the journal and
the publication of files stay the same, whichever handler it is.
"""

from __future__ import annotations

import time
from typing import ClassVar

from pydantic import BaseModel

from handrail import (
    BoundTask,
    ExecutionContext,
    RetryPolicy,
    RunFailed,
    TaskDefinitionError,
    TaskHandler,
    UnknownHandlerError,
    WorkflowEngine,
    parallel,
    register_handler,
    task,
    workflow,
)


class TimingHandler(TaskHandler):
    """Runs the body here and tells how long it took."""

    def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
        began = time.perf_counter()
        result = task.run()
        quick = time.perf_counter() - began < 1
        print(f"[timing] {task.task_id}: {'quick' if quick else 'slow'}")
        context.set_result(task.task_id, result)


class QueueOptions(BaseModel):
    """What `@task` may say as `queue_<option>`."""

    name: str = "default"
    priority: int = 0


class QueueHandler(TaskHandler):
    """Stands for a system elsewhere; two bodies at a time."""

    options_model: ClassVar[type[BaseModel] | None] = QueueOptions

    def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
        options = QueueOptions(**task.options())
        print(f"[queue {options.name}] {task.task_id} {dict(task.arguments)}")
        try:
            context.set_result(task.task_id, task.run())
        except ConnectionError as error:
            # Handing in an error fails the attempt, just as raising it does.
            context.set_result(task.task_id, error)

    def capacity(self, max_workers: int | None) -> int:
        return max_workers or 2


with workflow("mixed") as mixed:

    @task(handler_type="direct")
    def fetch() -> int:
        return 20

    @task(handler_type="timing")
    def double(fetch: int) -> int:
        return fetch * 2

    @task(
        handler_type="queue",
        queue_name="slow",
        retry_policy=RetryPolicy(max_retries=2, initial_interval=0.01),
    )
    def unreliable(fetch: int) -> int:
        calls.append(fetch)
        if len(calls) < 2:
            raise ConnectionError("busy")
        return fetch + 1

    @task
    def report(double: int, unreliable: int) -> str:
        return f"{double} and {unreliable}"

    fetch >> parallel(double, unreliable, name="both") >> report

calls: list[int] = []


def main() -> None:
    try:
        mixed.execute()
    except UnknownHandlerError as error:
        print("refused before anything ran:", type(error).__name__)

    engine = WorkflowEngine()
    engine.register_handler("timing", TimingHandler())
    engine.register_handler("queue", QueueHandler())
    print("on an engine:", mixed.execute(engine=engine))

    # Registered for the process it is known everywhere, and options are checked at once.
    register_handler("timing", TimingHandler)
    register_handler("queue", QueueHandler)
    print("everywhere:", mixed.execute())
    try:
        task(handler_type="queue", queue_nme="slow")(fetch.fn)
    except TaskDefinitionError as error:
        print("refused:", error)

    class Forgetful(TaskHandler):
        def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
            task.run()

    engine.register_handler("timing", Forgetful())
    try:
        mixed.execute(engine=engine)
    except RunFailed as failed:
        print("failed:", failed.cause)
    engine.close()


if __name__ == "__main__":
    main()
