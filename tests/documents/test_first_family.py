"""What users of the first family of frameworks have written: it runs with the import changed.

The snippets stand here as they were printed for those users, in one folded copy each; names that
the originals left to their readers (`Executable`, a graph) come with the import.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

IMPORTS = """
from handrail import BoundTask as Executable
from handrail import (
    DirectTaskHandler, ExecutionContext, RunFailed, Task, TaskGraph, TaskHandler,
    UnknownHandlerError, WorkflowEngine, chain, parallel, register_handler, task, workflow,
)
"""

#: The handler of "Handler Interface", under the name that later snippets use.
HANDLER = """
from abc import ABC, abstractmethod

class MyHandler(TaskHandler):
    def execute_task(self, task: Executable, context: ExecutionContext) -> None:
        # Execute task and store result
        result = task.run()
        context.set_result(task.task_id, result)

MyCustomHandler = MyHandler
"""

SNIPPETS = {
    "handler interface, registration and selection": HANDLER
    + """
engine = WorkflowEngine()
engine.register_handler("my_handler", MyCustomHandler())

@task(handler_type="direct")
def local_task():
    return "executed locally"

@task(handler_type="my_handler")
def custom_task():
    return "executed by my handler"

with workflow("selection") as ctx:
    local_task >> custom_task

assert ctx.execute(engine=engine) == "executed by my handler"
""",
    "direct, said or left out": """
@task(handler_type="direct")  # or omit (default)
def my_task():
    return "result"

@task
def silent_task():
    return "result"

assert my_task.handler_type == silent_task.handler_type == "direct"
assert my_task() == my_task.run() == silent_task.run() == "result"
""",
    "pattern 1: mixed handlers in one workflow": HANDLER
    + """
register_handler("my_handler", MyHandler)

with workflow("mixed") as ctx:
    @task(handler_type="direct")
    def fast_local():
        return "local"

    @task(handler_type="my_handler")
    def isolated():
        return "elsewhere"

    fast_local >> isolated

assert ctx.execute() == "elsewhere"
""",
    "pattern 2: conditional handler selection": """
import os

handler = "docker" if os.getenv("PRODUCTION") else "direct"

@task(handler_type=handler)
def adaptive_task():
    return "result"

assert adaptive_task.run() == "result"
""",
    "serialization-safe tasks": """
@task(handler_type="process")
def safe_task(data: dict) -> dict:
    # Good: primitive types
    result = {"count": len(data["items"])}
    return result

assert safe_task.run(data={"items": [1, 2, 3]}) == {"count": 3}
""",
    "serialization issues": """
import threading

@task(handler_type="process")
def unsafe_task():
    lock = threading.Lock()  # Cannot serialize!
    return lock

try:
    unsafe_task.run()
except RunFailed as failed:
    assert "lock" in str(failed.cause)
else:
    raise AssertionError("a lock crossed the border")
""",
    "a handler that hands in the error": """
class CarefulHandler(TaskHandler):
    def execute_task(self, task, context):
        try:
            result = task.run()
            context.set_result(task.task_id, result)
        except Exception as e:
            context.set_result(task.task_id, e)

engine = WorkflowEngine()
engine.register_handler("careful", CarefulHandler())
ran = []

with workflow("careful") as ctx:
    @task(handler_type="careful")
    def broken():
        raise ValueError("lost")

    @task
    def after(broken):
        ran.append(broken)

    broken >> after

try:
    ctx.execute(engine=engine)
except RunFailed as failed:
    assert failed.task_id == "broken" and isinstance(failed.cause, ValueError)
else:
    raise AssertionError("a stored exception was taken for a result")
assert ran == []
""",
    "a handler without error handling": """
class CarelessHandler(TaskHandler):
    def execute_task(self, task, context):
        result = task.run()  # What if this fails?
        context.set_result(task.task_id, result)

register_handler("careless", CarelessHandler())

@task(handler_type="careless")
def simple_math(a, b):
    return a + b

assert simple_math.run(a=1, b=2) == 3
try:
    simple_math.run(a=1, b="2")
except RunFailed as failed:
    assert isinstance(failed.cause, TypeError)
""",
    "shared state in one process": """
shared_state = []

@task(handler_type="direct")
def task1():
    shared_state.append(1)  # Modifies in-process state

@task(handler_type="direct")
def task2():
    return len(shared_state)

with workflow("shared") as ctx:
    task1 >> task2

assert ctx.execute() == 1
""",
    "testing a handler in isolation": HANDLER
    + """
graph = TaskGraph()

# Test in isolation
handler = MyCustomHandler()
task = Task("test_task")
context = ExecutionContext.create(graph, "test")

handler.execute_task(task, context)
result = context.get_result("test_task")
print(f"Result: {result}")

assert context.completed_tasks == ["test_task"]
""",
    "an unknown handler says how to register one": """
@task(handler_type="my_handler")
def lost():
    return 1

try:
    lost.run()
except UnknownHandlerError as error:
    assert str(error).startswith("Unknown handler type: my_handler")
    assert "engine.register_handler('my_handler'" in str(error)
else:
    raise AssertionError("it ran somewhere")
""",
    "logging of handlers": """
import logging

logging.basicConfig(level=logging.DEBUG)
logger = logging.getLogger("graflow.handlers")

@task
def quiet():
    logger.debug("at work")
    return 1

assert quiet.run() == 1
""",
    "operators, chains and groups": """
@task("extract")
def fetch():
    return [3, 1, 2]

@task
def largest(extract):
    return max(extract)

@task
def smallest(extract):
    return min(extract)

@task
def spread(largest, smallest):
    return largest - smallest

with workflow("operators") as ctx:
    fetch >> (largest | smallest) >> spread
assert ctx.execute() == 2

with workflow("functions") as ctx:
    chain(fetch, parallel(largest, smallest), spread)
assert ctx.execute() == 2

with workflow("left") as ctx:
    spread << (largest | smallest).set_group_name("both") << fetch
""",
    "instances, inputs and the context": """
with workflow("instances") as ctx:
    @task
    def scale(value, factor=1):
        return value * factor

    @task(inject_context=True)
    def total(context):
        return sum(context.get_result(name) for name in ("double", "triple"))

    (scale(task_id="double", factor=2) | scale(task_id="triple", factor=3)) >> total

assert ctx.execute(initial_channel={"value": 10}) == 50
result, context = ctx.execute(value=1, ret_context=True)
assert (result, context.get_result("triple")) == (5, 3)
""",
    "groups with policies": """
from handrail import BestEffortGroupPolicy, CriticalGroupPolicy

@task
def good():
    return 1

@task
def bad():
    raise RuntimeError("no")

@task
def after(context_free=True):
    return "went on"

for policy in ("best_effort", BestEffortGroupPolicy(), CriticalGroupPolicy(["good"])):
    with workflow("policies") as ctx:
        (good | bad).with_execution(policy=policy) >> after
    assert ctx.execute() == "went on"

with workflow("strict") as ctx:
    (good | bad).with_execution(backend="threading", policy="strict") >> after
try:
    ctx.execute()
except RunFailed as failed:
    assert failed.cause.failed_tasks == [("bad", "RuntimeError: no")]
    assert failed.cause.successful_tasks == ["good"]
else:
    raise AssertionError("a failed member was counted as done")
""",
    "loops, jumps and early ends": """
with workflow("loop") as ctx:
    @task(inject_context=True, max_cycles=10)
    def optimize(context, params=None):
        params = params or {"accuracy": 0.5}
        if params["accuracy"] >= 0.9:
            return params["accuracy"]
        context.next_iteration({"accuracy": params["accuracy"] + 0.25})

    @task
    def deploy(optimize):
        return f"deployed at {optimize:.1f}"

    optimize >> deploy
assert ctx.execute() == "deployed at 1.0"

with workflow("early") as ctx:
    @task(inject_context=True)
    def check(context):
        context.terminate_workflow("already processed")

    @task
    def process():
        raise AssertionError("it went on")

    check >> process
assert ctx.execute() is None
""",
    "a graph and an engine by hand": """
graph = TaskGraph()
graph.add_node(Task("a"))
graph.add_node(Task("b"))
graph.add_edge("a", "b")
assert graph.get_start_nodes() == ["a"]
assert graph.successors("a") == ["b"] and graph.predecessors("b") == ["a"]

context = ExecutionContext.create(graph, "a")
WorkflowEngine().execute(context)
assert context.completed_tasks == ["a", "b"]
""",
}


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_runs_with_only_its_import_changed(name: str, tmp_path: Path) -> None:
    program = tmp_path / "snippet.py"
    program.write_text(textwrap.dedent(IMPORTS + SNIPPETS[name]), "utf-8")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HANDRAIL_")}
    inherited.pop("PRODUCTION", None)
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=tmp_path,
        env=inherited,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


CONTAINER_SNIPPETS = """
@task(handler_type="docker")
def container_task():
    return "executed in container"

@task(handler_type="docker", docker_image="python:3.11-slim")
def isolated_task():
    return "result from container"

@task(
    handler_type="docker",
    docker_image="python:3.11-slim",
    docker_volumes={"/host/path": "/container/path"},
    docker_environment={"API_KEY": "secret"}
)
def configured_task():
    return "result"

assert configured_task.handler_type == "docker"
assert isolated_task() == "result from container"
with workflow("containers") as ctx:
    container_task >> isolated_task >> configured_task
"""


def test_tasks_for_containers_are_declared_and_composed(tmp_path: Path) -> None:
    program = tmp_path / "snippet.py"
    program.write_text(IMPORTS + CONTAINER_SNIPPETS, "utf-8")
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
