from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handrail.contracts.controls import RetryPolicy
from handrail.contracts.event import Event
from handrail.contracts.expr import Composable, chain, parallel
from handrail.contracts.task import Task, task
from handrail.errors import (
    AttemptTimeout,
    CycleLimitExceeded,
    RunFailed,
    StepLimitExceeded,
    TaskFailed,
    TaskTerminalError,
)
from handrail.flow.graph import TaskGraph
from handrail.flow.plan import Plan
from handrail.flow.workflow import workflow
from handrail.run.context import ExecutionContext, TaskExecutionContext
from handrail.run.engine import WorkflowEngine
from handrail.run.handler import BoundTask, TaskHandler
from handrail.tracking import ETLResults

#: Longest wait for something that is about to happen, in seconds.
SOON = 10


def graph_of(*parts: Composable) -> TaskGraph:
    graph = TaskGraph()
    for part in parts:
        graph.include(part)
    return graph


def run(*parts: Composable, **inputs: Any) -> Any:
    return WorkflowEngine().execute(ExecutionContext.create(graph_of(*parts), None, **inputs))


def run_plan(*parts: Composable, **more: Any) -> Any:
    graph = graph_of(*parts)
    return WorkflowEngine().execute_plan(Plan(graph), ExecutionContext(graph), **more)


class Diary:
    """Tasks that write down when they ran."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def task(self, name: str, body: Callable[[], Any] = lambda: None, **keywords: Any) -> Task:
        def write() -> Any:
            self.lines.append(name)
            return body()

        declare: Any = task
        made: Task = declare(name, **keywords)(write)
        return made

    def tasks(self, names: str) -> list[Task]:
        return [self.task(name) for name in names]


def fail() -> None:
    raise OSError("broken")


# Order


def test_a_diamond_runs_its_sink_once() -> None:
    diary = Diary()
    a, b, c, d = diary.tasks("abcd")
    run(a >> b >> d, a >> c >> d)
    assert (diary.lines[0], sorted(diary.lines[1:3]), diary.lines[3:]) == ("a", ["b", "c"], ["d"])


def test_a_sequence_around_a_group_finds_its_start_and_runs_its_end_once() -> None:
    diary = Diary()
    a, b, c, d = diary.tasks("abcd")
    with workflow("flow") as flow:
        _ = a >> (b | c) >> d
    WorkflowEngine().execute(ExecutionContext.create(flow.graph))
    assert (diary.lines[0], sorted(diary.lines[1:3]), diary.lines[3:]) == ("a", ["b", "c"], ["d"])


def test_what_follows_a_group_waits_for_the_ends_of_its_members() -> None:
    diary = Diary()
    a, b, c, d, e = diary.tasks("abcde")
    run(parallel(a >> b, parallel(c, d, name="inner"), name="outer") >> e)
    assert sorted(diary.lines) == [*"abcde"]
    assert diary.lines[-1] == "e"
    assert diary.lines.index("a") < diary.lines.index("b")


def test_several_starts_all_run() -> None:
    diary = Diary()
    a, b, c = diary.tasks("abc")
    run(a >> c, b)
    assert sorted(diary.lines) == ["a", "b", "c"]


dags = st.integers(1, 12).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.sets(
            st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(
                lambda edge: edge[0] < edge[1]
            ),
            max_size=25,
        ),
    )
)


@settings(max_examples=40)
@given(dags)
def test_any_graph_runs_each_task_once_after_all_its_parents(
    dag: tuple[int, set[tuple[int, int]]],
) -> None:
    size, edges = dag
    diary = Diary()
    graph = TaskGraph()
    for number in range(size):
        graph.add_node(diary.task(f"t{number}", lambda number=number: number))  # type: ignore[misc]
    for before, after in edges:
        graph.add_edge(f"t{before}", f"t{after}")
    result = WorkflowEngine().execute(ExecutionContext.create(graph))
    assert sorted(diary.lines) == sorted(f"t{number}" for number in range(size))
    for before, after in edges:
        assert diary.lines.index(f"t{before}") < diary.lines.index(f"t{after}")
    sinks = [number for number in range(size) if number not in {before for before, _ in edges}]
    expected = {f"t{number}": number for number in sinks}
    assert result == (expected if len(sinks) > 1 else sinks[0])


def test_many_tasks_run() -> None:
    links = [task(f"t{number}")(lambda: None) for number in range(3000)]
    assert run(chain(*links)) is None
    fan = [task(f"f{number}")(lambda number=number: number) for number in range(300)]
    assert sum(run(Task("start") >> parallel(*fan)).values()) == sum(range(300))


# Side by side


def test_parallel_bodies_that_wait_for_each_other_all_run() -> None:
    together = threading.Barrier(4, timeout=SOON)
    members = [task(f"t{number}")(lambda: together.wait() >= 0) for number in range(4)]
    assert run(parallel(*members)) == dict.fromkeys(["t0", "t1", "t2", "t3"], True)


def test_bodies_of_a_custom_handler_run_side_by_side() -> None:
    class Own(TaskHandler):
        def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
            context.set_result(task.task_id, task.run())

    together = threading.Barrier(4, timeout=SOON)
    engine = WorkflowEngine()
    engine.register_handler("own", Own())
    members = [task(f"t{n}", handler="own")(lambda: together.wait() >= 0) for n in range(3)]
    members.append(task("direct")(lambda: together.wait() >= 0))
    graph = graph_of(parallel(*members))
    assert engine.execute(ExecutionContext.create(graph))["t0"]


def test_no_more_bodies_run_at_once_than_were_asked_for() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def body() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.005)
        with lock:
            now[0] -= 1

    run_plan(parallel(*(task(f"t{n}")(body) for n in range(12))), max_workers=2)
    assert most[0] <= 2


def test_async_bodies_run_beside_sync_ones() -> None:
    together = threading.Barrier(3, timeout=SOON)

    async def later() -> str:
        await asyncio.to_thread(together.wait)
        return "later"

    def now() -> str:
        together.wait()
        return "now"

    first, second, third = task("a")(later), task("b")(later), task("c")(now)
    assert run(first | second | third) == {"a": "later", "b": "later", "c": "now"}


def test_a_workflow_runs_where_an_event_loop_runs() -> None:
    async def later() -> int:
        await asyncio.sleep(0)
        return 5

    async def main() -> Any:
        return run(Task("first") >> task(later))

    assert asyncio.run(main()) == 5


def test_one_task_runs_in_several_workflows_at_once() -> None:
    together = threading.Barrier(4, timeout=SOON)

    @task(inject_context=True)
    def shared(context: TaskExecutionContext, x: int) -> tuple[str, int]:
        together.wait()
        return context.session_id, x

    found: list[tuple[str, int]] = []

    def execute(number: int) -> None:
        context = ExecutionContext.create(graph_of(Task("first") >> shared), x=number)
        run_id, x = WorkflowEngine().execute(context)
        assert (run_id, x) == (context.run_id, number)
        found.append((run_id, x))

    threads = [threading.Thread(target=execute, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert len({run_id for run_id, _ in found}) == 4
    assert sorted(x for _, x in found) == [0, 1, 2, 3]


def test_parallel_tasks_lose_no_update_of_a_channel() -> None:
    together = threading.Barrier(8, timeout=SOON)

    def body(context: TaskExecutionContext) -> None:
        together.wait()
        for _ in range(50):
            context.get_channel().atomic_add("count")
            context.get_channel().append("list", context.task_id)

    members = [task(f"t{n}", inject_context=True)(body) for n in range(8)]

    @task(inject_context=True)
    def last(context: TaskExecutionContext, count: int) -> tuple[int, int]:
        return count, len(context.get_channel().get("list"))

    assert run_plan(parallel(*members) >> last, max_workers=8) == (400, 400)


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_context_variables_of_the_caller_reach_the_bodies() -> None:
    def found() -> str:
        return variable.get()

    def execute() -> Any:
        variable.set("mine")
        return run(task("inline")(found), parallel(task("a")(found), task("b")(found), name="g"))

    assert contextvars.copy_context().run(execute) == {
        "inline": "mine",
        "g": {"a": "mine", "b": "mine"},
    }


# Retries


def test_a_failed_attempt_is_repeated() -> None:
    seen: list[tuple[int, str]] = []

    @task(inject_context=True, retry_policy=RetryPolicy(max_retries=3, initial_interval=0.001))
    def shaky(context: TaskExecutionContext) -> str:
        seen.append((context.retry_count, context.idempotency_key))
        if len(seen) < 3:
            raise OSError
        return "done"

    assert run(shaky >> task("after")(lambda shaky: shaky)) == "done"
    assert [retry for retry, _ in seen] == [0, 1, 2]
    assert len({key for _, key in seen}) == 1


def test_when_retries_are_used_up_the_last_error_is_told() -> None:
    tries: list[int] = []

    def body() -> None:
        tries.append(1)
        raise OSError(f"try {len(tries)}")

    policy = RetryPolicy(max_retries=2, initial_interval=0.001)
    with pytest.raises(RunFailed, match="task 'shaky' failed: OSError: try 3"):
        run(task("shaky", retry_policy=policy)(body))
    assert len(tries) == 3


def test_errors_that_cannot_get_better_are_not_repeated() -> None:
    diary = Diary()

    def body() -> None:
        raise TaskTerminalError("no use")

    with pytest.raises(RunFailed, match="no use"):
        run(diary.task("a", body, max_retries=3))
    assert diary.lines == ["a"]


def test_waiting_for_a_retry_holds_nobody_up() -> None:
    diary = Diary()

    def once() -> None:
        if diary.lines.count("shaky") == 1:
            raise TaskFailed("once")

    policy = RetryPolicy(max_retries=1, initial_interval=0.2)
    shaky = diary.task("shaky", once, retry_policy=policy)
    b, c, d = diary.tasks("bcd")
    run(shaky, b >> c >> d)
    assert diary.lines.count("shaky") == 2
    assert diary.lines[-1] == "shaky"


# Failures


def test_a_failure_names_run_task_and_cause() -> None:
    context = ExecutionContext.create(graph_of(Task("a") >> task("b")(fail)))
    with pytest.raises(RunFailed, match="task 'b' failed: OSError: broken") as caught:
        WorkflowEngine().execute(context)
    error = caught.value
    assert (error.run_id, error.task_id) == (context.run_id, "b")
    assert isinstance(error.cause, OSError)
    assert error.__cause__ is error.cause
    assert context.completed_tasks == ["a"]


def test_nothing_starts_after_a_failure_and_what_runs_is_awaited() -> None:
    failing, diary = threading.Event(), Diary()

    def slow() -> str:
        assert failing.wait(SOON)
        time.sleep(0.01)
        return "kept"

    def breaking() -> None:
        failing.set()
        raise OSError

    b, c, d = diary.task("b", slow), diary.task("c"), diary.task("d")
    context = ExecutionContext.create(graph_of(b >> c, diary.task("a", breaking) >> d))
    with pytest.raises(RunFailed):
        WorkflowEngine().execute(context)
    assert sorted(diary.lines) == ["a", "b"]
    assert context.get_result("b") == "kept"


def test_a_waiting_retry_is_given_up_after_a_failure() -> None:
    diary = Diary()
    policy = RetryPolicy(max_retries=1, initial_interval=30)
    shaky = diary.task("shaky", fail, retry_policy=policy)
    started = time.monotonic()
    with pytest.raises(RunFailed):
        run(shaky, diary.task("a") >> diary.task("b", fail))
    assert time.monotonic() - started < SOON
    assert diary.lines.count("shaky") == 1


@pytest.mark.parametrize("is_beside", [False, True])
def test_a_body_that_ends_the_program_fails_its_task_only(is_beside: bool) -> None:
    ends = task("ends")(lambda: sys.exit(3))
    with pytest.raises(RunFailed) as caught:
        run(ends, *([Task("other")] if is_beside else []))
    assert isinstance(caught.value.cause, SystemExit)


def test_an_interrupt_goes_through() -> None:
    def body() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(task("a")(body))


def test_a_result_that_reports_a_failure_is_one() -> None:
    diary = Diary()

    def report() -> ETLResults:
        return ETLResults(completed_successfully=False, inserts=3)

    first = diary.task("first", report, max_retries=3)
    with pytest.raises(RunFailed, match="completed_successfully=False"):
        run(first >> diary.task("after"))
    assert diary.lines == ["first"]
    done = ETLResults(completed_successfully=True)
    assert run(task("first")(lambda: done)) is done


def test_a_missing_value_of_the_channel_fails_the_task() -> None:
    writer = task("writer", inject_context=True)(lambda context: None)
    with pytest.raises(RunFailed, match="'wants' needs 'x', and neither an upstream"):
        run(writer >> task("wants", max_retries=5)(lambda x: x))


# Limits


def test_reaching_the_step_limit_is_an_error() -> None:
    diary = Diary()
    a, b, c = diary.tasks("abc")
    with pytest.raises(StepLimitExceeded, match="max_steps=2") as caught:
        run_plan(a >> b >> c, max_steps=2)
    assert caught.value.max_steps == 2
    assert diary.lines == ["a", "b"]
    run_plan(a >> b >> c, max_steps=3)


def test_a_loop_that_goes_round_too_often_is_an_error() -> None:
    diary = Diary()
    a, b = diary.task("a", max_cycles=3), diary.task("b")
    with pytest.raises(CycleLimitExceeded, match="'a' exceeded max_cycles=3") as caught:
        run(a >> b >> a)
    assert caught.value.max_cycles == 3
    assert diary.lines == ["a", "b"] * 3


def test_a_join_within_a_loop_runs_each_time_round() -> None:
    diary = Diary()
    first, s, y = diary.task("first"), diary.task("s"), diary.task("y")
    a = diary.task("a", max_cycles=3)
    with pytest.raises(CycleLimitExceeded, match="'a' exceeded max_cycles=3"):
        run(first >> a >> y >> a, first >> s >> y)
    assert [diary.lines.count(name) for name in ("first", "s", "a", "y")] == [1, 1, 3, 3]
    assert diary.lines.index("s") < diary.lines.index("y")


def test_each_time_round_a_loop_is_work_of_its_own() -> None:
    keys: list[str] = []

    @task(inject_context=True)
    def b(context: TaskExecutionContext) -> None:
        keys.append(context.idempotency_key)

    a = task("a", max_cycles=3)(lambda: None)
    with pytest.raises(CycleLimitExceeded, match="'a' exceeded max_cycles=3"):
        run(a >> b >> a)
    assert len(keys) == len(set(keys)) == 3


def test_a_handler_that_cannot_stop_a_body_does_not_hang_the_run() -> None:
    release = threading.Event()

    class Own(TaskHandler):
        def execute_task(self, task: BoundTask, context: ExecutionContext) -> None:
            release.wait(SOON)
            context.set_result(task.task_id, None)

        def stop(self, attempt_id: str) -> bool:
            raise OSError("no connection")

    engine = WorkflowEngine()
    engine.register_handler("own", Own())
    graph = graph_of(task("slow", handler="own", timeout=0.02)(lambda: None))
    found: list[BaseException] = []

    def execute() -> None:
        try:
            engine.execute(ExecutionContext.create(graph))
        except RunFailed as error:
            found.append(error)

    runs = threading.Thread(target=execute, daemon=True)
    runs.start()
    runs.join(1)
    release.set()
    assert len(found) == 1
    assert isinstance(found[0].__cause__, AttemptTimeout)


def test_a_body_past_its_time_is_fenced() -> None:
    release = threading.Event()
    late: list[str] = []

    def hang() -> str:
        release.wait(SOON)
        late.append("back")
        return "late"

    context = ExecutionContext.create(graph_of(task("slow", timeout=0.02)(hang)))
    with pytest.raises(RunFailed, match=r"timeout of 0\.02 s; stop unconfirmed") as e:
        WorkflowEngine().execute(context)
    assert isinstance(e.value.cause, AttemptTimeout)
    assert isinstance(e.value.cause, TimeoutError)
    assert not e.value.cause.stopped
    release.set()
    assert context.completed_tasks == []


def test_what_a_fenced_body_brings_is_refused() -> None:
    first_may_end, first_ended = threading.Event(), threading.Event()
    tries: list[int] = []

    def body() -> str:
        tries.append(1)
        if len(tries) > 1:
            first_may_end.set()
            assert first_ended.wait(SOON)
            return "second"
        first_may_end.wait(SOON)
        first_ended.set()
        return "first"

    policy = RetryPolicy(max_retries=1, initial_interval=0.001)
    slow = task("slow", timeout=0.1, retry_policy=policy)(body)
    events: list[Event] = []
    graph = graph_of(slow)
    context = ExecutionContext(graph)
    result = WorkflowEngine().execute_plan(Plan(graph), context, watch=events.append)
    assert result == "second"
    assert [event.kind for event in events] == [
        "task.queued",
        "task.started",
        "task.retried",
        "task.queued",
        "task.started",
        "task.succeeded",
    ]


def test_a_time_limit_that_was_kept_costs_nothing() -> None:
    started = time.monotonic()
    assert run(task("quick", timeout=2)(lambda: 1)) == 1
    assert time.monotonic() - started < 1.5


# Watching


def test_watchers_hear_of_every_attempt() -> None:
    events: list[Event] = []
    policy = RetryPolicy(max_retries=1, initial_interval=0.001)
    with pytest.raises(RunFailed):
        run_plan(Task("a") >> task("b", retry_policy=policy)(fail), watch=events.append)
    assert [(event.kind, event.task) for event in events] == [
        ("task.queued", "a"),
        ("task.started", "a"),
        ("task.succeeded", "a"),
        ("task.queued", "b"),
        ("task.started", "b"),
        ("task.retried", "b"),
        ("task.queued", "b"),
        ("task.started", "b"),
        ("task.failed", "b"),
    ]
    attempts = [event.attempt for event in events if event.kind != "task.queued"]
    assert len(set(attempts)) == 3
    assert all(event.data is not None for event in events)


# Bodies that compose


def test_a_run_within_a_workflow_block_leaves_the_workflow_alone() -> None:
    template = task("template")(lambda x: x)

    def body() -> None:
        template(x=1)

        @task
        def made_inside() -> None: ...

    with workflow("flow") as flow:
        _ = task("a")(body) >> parallel(task("b")(body), task("c")(body), name="g")
        WorkflowEngine().execute(ExecutionContext.create(flow.graph))
        after = Task("after")
        flow.add(after)
    assert list(flow.graph) == ["a", "b", "c", "g", "after"]


def test_a_variable_that_a_body_sets_is_its_own() -> None:
    def body() -> str:
        before = variable.get()
        variable.set("left behind")
        return before

    bodies = [task(f"t{n}")(body) for n in range(3)]
    assert run(chain(*bodies)) == "unset"
    assert set(run(parallel(*(task(f"p{n}")(body) for n in range(6)))).values()) == {"unset"}
    assert variable.get() == "unset"
