from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from handrail.contracts.attempt import Attempt
from handrail.contracts.guards import require_file
from handrail.contracts.task import Task, task
from handrail.contracts.workspace import WorkspaceSpec
from handrail.errors import (
    HandlerError,
    NotSerializableError,
    PostGuardrailViolation,
    TaskFailed,
    TaskInputError,
    WorkerLost,
)
from handrail.flow.graph import TaskGraph
from handrail.handlers.process import ProcessTaskHandler
from handrail.ids import Ids, Token
from handrail.run.context import ExecutionContext, HandlerContext, TaskExecutionContext
from handrail.run.handler import BoundTask, execute

LOCK = threading.Lock()
PATIENCE_SECONDS = 20.0


class Inner(BaseModel):
    names: list[str]


class Params(BaseModel):
    inner: Inner


class Result(BaseModel):
    count: int
    inner: Inner


class Refused(Exception):
    def __init__(self, code: int, *, hint: str) -> None:
        self.code = code
        super().__init__(f"refused with {code}: {hint}")


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessTaskHandler]:
    handler = ProcessTaskHandler(stop_grace_seconds=0.3)
    yield handler
    handler.close()


class Call:
    """One attempt at a handler, as the engine makes it."""

    def __init__(
        self,
        handler: ProcessTaskHandler,
        made: Task,
        *,
        execution: ExecutionContext | None = None,
        workspace: Path | None = None,
        output: Callable[[str, str], None] | None = None,
        **arguments: Any,
    ) -> None:
        self.attempt_id = Ids().new()
        self._handler = handler
        attempt = Attempt(self.attempt_id, "r", made.task_id, f"r/{made.task_id}", Token(1, 1))
        execution = execution or ExecutionContext(TaskGraph(), run_id="r")
        self._context = HandlerContext(execution, attempt)
        self._bound = BoundTask(
            made.definition, attempt, arguments, self._context, workspace, output
        )

    def __call__(self) -> Any:
        return execute(self._handler, self._bound, self._context)


def call(handler: ProcessTaskHandler, made: Task, **arguments: Any) -> Any:
    return Call(handler, made, **arguments)()


class Heard:
    """Collects output and lets a test wait for a text."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, str]] = []
        self._changed = threading.Condition()

    def __call__(self, stream: str, text: str) -> None:
        with self._changed:
            self.pieces.append((stream, text))
            self._changed.notify_all()

    def of(self, stream: str) -> str:
        return "".join(text for name, text in self.pieces if name == stream)

    def wait_for(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.of("stdout"), PATIENCE_SECONDS)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def children() -> set[int]:
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            found.update(map(int, (thread / "children").read_text().split()))
    return found


@task
def at_module_level(x: int) -> tuple[int, int]:
    with LOCK:
        return os.getpid(), x


@task
def measure(params: Params) -> Result:
    return Result(count=len(params.inner.names), inner=params.inner)


@task(workspace=WorkspaceSpec(post=[require_file("out.txt")]))
def write(workspace: Path, params: Inner) -> Inner:
    for name in params.names:
        (workspace / name).write_text(name)
    return params


@task
def echo(x: Any) -> Any:
    return x


# Results


def test_a_function_of_this_module_runs_in_another_process(pool: ProcessTaskHandler) -> None:
    pid, x = call(pool, at_module_level, x=5)
    assert x == 5
    assert pid != os.getpid()


def test_a_worker_stays_warm(pool: ProcessTaskHandler) -> None:
    assert call(pool, at_module_level, x=1)[0] == call(pool, at_module_level, x=1)[0]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        0,
        [1, {"a": (2, {3})}],
        Result(count=1, inner=Inner(names=["ü"])),
        {("a", 1): Inner(names=[])},
        ValueError("a value, not raised"),
        len,
        Inner,
    ],
    ids=repr,
)
def test_values_come_back_as_they_went(pool: ProcessTaskHandler, value: Any) -> None:
    @task
    def listed(x: Any) -> Any:
        return [x]

    found = call(pool, listed, x=value)[0]
    assert repr(found) == repr(value)
    assert type(found) is type(value)


def test_large_values_cross_both_ways(pool: ProcessTaskHandler) -> None:
    large = os.urandom(1 << 20) * 50
    assert call(pool, echo, x=large) == large


def test_lambdas_and_closures_run(pool: ProcessTaskHandler) -> None:
    offset = 40
    assert call(pool, task(name="add")(lambda x: x + offset), x=2) == 42


def test_a_closure_is_read_again_for_each_attempt(pool: ProcessTaskHandler) -> None:
    seen = [1]

    @task
    def last() -> int:
        return seen[-1]

    assert call(pool, last) == 1
    seen.append(2)
    assert call(pool, last) == 2


def test_async_bodies_are_awaited(pool: ProcessTaskHandler) -> None:
    @task
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    assert call(pool, later, x=1) == 2


def test_typed_tasks_are_checked_there(pool: ProcessTaskHandler) -> None:
    inner = Inner(names=["a", "b"])
    assert call(pool, measure, inner={"names": ["a", "b"]}) == Result(count=2, inner=inner)
    assert call(pool, measure, **{"": Params(inner=inner)}) == Result(count=2, inner=inner)
    with pytest.raises(TaskInputError, match="params do not validate"):
        call(pool, measure, outer=1)


def test_a_workspace_is_written_and_guarded_there(pool: ProcessTaskHandler, tmp_path: Path) -> None:
    call(pool, write, workspace=tmp_path, names=["out.txt"])
    assert (tmp_path / "out.txt").read_text() == "out.txt"
    (tmp_path / "out.txt").unlink()
    with pytest.raises(PostGuardrailViolation):
        call(pool, write, workspace=tmp_path, names=["other.txt"])


def test_the_worker_shares_path_and_folder(
    pool: ProcessTaskHandler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @task
    def strays() -> tuple[list[str], str]:
        import sys

        found = list(sys.path), os.getcwd()
        os.chdir("/")
        sys.path.clear()
        return found

    assert call(pool, strays) == (sys.path, os.getcwd())
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert call(pool, strays) == (sys.path, str(tmp_path))


# Errors


def test_an_error_keeps_type_message_and_traceback(pool: ProcessTaskHandler) -> None:
    @task
    def refuses() -> None:
        raise Refused(7, hint="ask first")

    with pytest.raises(Refused, match="refused with 7: ask first") as raised:
        call(pool, refuses)
    assert raised.value.code == 7
    assert "in refuses" in raised.value.__notes__[0]


def test_errors_of_handrail_keep_their_class(pool: ProcessTaskHandler) -> None:
    @task
    def fails() -> None:
        raise TaskFailed("try again")

    with pytest.raises(TaskFailed, match="try again") as raised:
        call(pool, fails)
    assert raised.value.retryable


def test_an_error_that_cannot_come_back_is_told_in_words(pool: ProcessTaskHandler) -> None:
    @task
    def fails() -> None:
        class Odd(Exception):
            def __reduce__(self) -> Any:
                raise ValueError("never")

        raise Odd(threading.Lock())

    with pytest.raises(HandlerError, match=r"task 'fails': .*Odd: <unlocked") as raised:
        call(pool, fails)
    assert vars(raised.value)["retryable"] is True
    assert "in fails" in raised.value.__notes__[0]


def test_system_exit_of_a_body_is_a_failure_and_the_worker_lives(
    pool: ProcessTaskHandler,
) -> None:
    @task
    def leaves() -> None:
        sys.exit(0)

    pid = call(pool, at_module_level, x=1)[0]
    with pytest.raises(SystemExit):
        call(pool, leaves)
    assert call(pool, at_module_level, x=1)[0] == pid


def test_an_argument_that_cannot_leave_starts_no_worker() -> None:
    handler = ProcessTaskHandler()
    before = children()
    with pytest.raises(NotSerializableError, match=r"argument 'x'.*_thread\.lock.*\['a'\]"):
        call(handler, echo, x={"a": LOCK})
    assert children() == before


def test_a_closure_that_cannot_leave_is_named(pool: ProcessTaskHandler) -> None:
    gate = threading.Lock()

    @task
    def guarded() -> None:
        with gate:
            pass

    with pytest.raises(NotSerializableError, match="closure variable 'gate' of guarded"):
        call(pool, guarded)


def test_a_result_that_cannot_leave_is_named(pool: ProcessTaskHandler) -> None:
    @task
    def leaks() -> Any:
        return {"rows": [1, threading.Lock()]}

    with pytest.raises(NotSerializableError, match=r"Task 'leaks': its result.*\['rows'\]\[1\]"):
        call(pool, leaks)


def test_code_that_cannot_be_imported_there_is_refused_each_time(
    pool: ProcessTaskHandler, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "vanishing.py").write_text(
        "from handrail.contracts.task import task\n@task\ndef body() -> int:\n    return 1\n"
    )
    with monkeypatch.context() as patched:
        patched.syspath_prepend(str(tmp_path))
        from vanishing import body  # type: ignore[import-not-found]
    for _ in range(2):
        with pytest.raises(NotSerializableError, match="No module named 'vanishing'"):
            call(pool, body)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert call(pool, body) == 1


# Lost workers


def test_exit_code_zero_is_no_success(pool: ProcessTaskHandler) -> None:
    @task
    def vanishes() -> None:
        os._exit(0)

    with pytest.raises(WorkerLost, match=r"Task 'vanishes'.*exit code 0") as raised:
        call(pool, vanishes)
    assert raised.value.retryable
    assert call(pool, echo, x=1) == 1


def test_a_killed_worker_fails_only_its_attempt(pool: ProcessTaskHandler) -> None:
    @task
    def waits() -> None:
        print(os.getpid())
        time.sleep(60)

    heard = Heard()
    with ThreadPoolExecutor(2) as threads:
        lost = threads.submit(Call(pool, waits, output=heard))
        heard.wait_for("\n")
        beside = threads.submit(Call(pool, at_module_level, x=3))
        os.kill(int(heard.of("stdout")), signal.SIGKILL)
        with pytest.raises(WorkerLost, match=r"killed by SIGKILL \(perhaps .* out of memory"):
            lost.result(PATIENCE_SECONDS)
        assert beside.result(PATIENCE_SECONDS)[1] == 3


def test_a_worker_that_died_while_idle_is_replaced(pool: ProcessTaskHandler) -> None:
    pid = call(pool, at_module_level, x=1)[0]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    assert call(pool, at_module_level, x=1)[0] != pid


def test_a_forked_child_of_a_dead_body_does_not_keep_its_attempt_open(
    pool: ProcessTaskHandler,
) -> None:
    @task
    def forks() -> None:
        if os.fork() == 0:
            time.sleep(60)
        os._exit(3)

    with pytest.raises(WorkerLost, match="exit code 3"):
        call(pool, forks)


def test_a_worker_that_cannot_start_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\necho 'no module named handrail' >&2\nexit 1\n")
    interpreter.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    with pytest.raises(
        HandlerError, match=r"could not start.*\n.*no module named handrail"
    ) as raised:
        call(ProcessTaskHandler(), echo, x=1)
    assert not raised.value.retryable


# Stopping


def _stop_while(
    pool: ProcessTaskHandler, body: Task, until: str
) -> tuple[Heard, pytest.ExceptionInfo[WorkerLost]]:
    heard = Heard()
    attempt = Call(pool, body, output=heard)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(attempt)
        heard.wait_for(until)
        assert pool.stop(attempt.attempt_id) is True
        with pytest.raises(WorkerLost, match="was stopped") as raised:
            running.result(PATIENCE_SECONDS)
    return heard, raised


def test_a_stopped_body_may_clean_up(pool: ProcessTaskHandler) -> None:
    @task
    def tidy() -> None:
        try:
            print(f"{os.getpid()} began")
            time.sleep(60)
        finally:
            print("tidied")

    heard, _ = _stop_while(pool, tidy, "began")
    assert "tidied" in heard.of("stdout")
    assert not is_running(int(heard.of("stdout").split()[0]))


def test_a_body_that_ignores_sigterm_is_killed(pool: ProcessTaskHandler) -> None:
    @task
    def stubborn() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(f"{os.getpid()} began")
        time.sleep(60)

    heard, _ = _stop_while(pool, stubborn, "began")
    assert not is_running(int(heard.of("stdout").split()[0]))


def test_a_stop_reaches_the_processes_that_a_body_started(pool: ProcessTaskHandler) -> None:
    @task
    def parent() -> None:
        stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
        child = subprocess.Popen(
            [sys.executable, "-c", f"{stubborn}; time.sleep(60)"], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.read(1)
        print(f"{child.pid} began")
        time.sleep(60)

    heard, _ = _stop_while(pool, parent, "began")
    child = int(heard.of("stdout").split()[0])
    wait_until(lambda: not is_running(child))


def test_a_body_that_survives_its_stop_has_no_result(pool: ProcessTaskHandler) -> None:
    @task
    def survives() -> str:
        try:
            print("began")
            time.sleep(60)
        except BaseException:
            return "a result"
        return "awake"

    _stop_while(pool, survives, "began")


def test_stopping_what_does_not_run_is_confirmed(pool: ProcessTaskHandler) -> None:
    assert pool.stop("no such attempt") is True


def test_an_attempt_that_waits_for_a_worker_can_be_stopped() -> None:
    @task
    def waits() -> None:
        print("began")
        time.sleep(60)

    handler = ProcessTaskHandler(1, stop_grace_seconds=0.3)
    heard = Heard()
    first, second = Call(handler, waits, output=heard), Call(handler, waits)
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(first)
        heard.wait_for("began")
        waiting = threads.submit(second)
        wait_until(lambda: second.attempt_id in handler._pool._busy)
        assert handler.stop(second.attempt_id) is True
        with pytest.raises(WorkerLost, match="before its body began"):
            waiting.result(PATIENCE_SECONDS)
        handler.close()
        with pytest.raises(WorkerLost, match="was stopped"):
            running.result(PATIENCE_SECONDS)


# Output


def test_output_comes_while_the_body_runs(pool: ProcessTaskHandler) -> None:
    @task(inject_context=True)
    def talks(context: TaskExecutionContext) -> None:
        print("half a line", end="")
        while not context.get_channel().exists("heard"):
            time.sleep(0.005)

    execution = ExecutionContext(TaskGraph(), run_id="r")
    heard = Heard()
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(Call(pool, talks, execution=execution, output=heard))
        heard.wait_for("half a line")
        assert not running.done()
        execution.get_channel().set("heard", True)
        running.result(PATIENCE_SECONDS)


def test_output_is_complete_when_the_attempt_ends(pool: ProcessTaskHandler) -> None:
    @task
    def talks(count: int) -> None:
        logging.getLogger("lib.part").warning("mind %s", "the gap")
        print("ü" * count)
        os.write(1, b"raw\n")
        subprocess.run(["echo", "from a child"], check=True)
        print("to stderr", file=sys.stderr, end="")

    for count in (1, 200_000):
        heard = Heard()
        call(pool, talks, output=heard, count=count)
        assert heard.of("stdout") == f"{'ü' * count}\nraw\nfrom a child\n"
        assert heard.of("stderr") == "to stderr"
        assert heard.of("log") == "WARNING lib.part: mind the gap\n"


def test_output_before_a_death_is_kept(pool: ProcessTaskHandler) -> None:
    @task
    def dies() -> None:
        print("last words", end="")
        os._exit(1)

    heard = Heard()
    with pytest.raises(WorkerLost):
        call(pool, dies, output=heard)
    assert heard.of("stdout") == "last words"


def test_a_sink_that_fails_does_not_change_the_result(
    pool: ProcessTaskHandler, caplog: pytest.LogCaptureFixture
) -> None:
    @task
    def talks() -> int:
        print("hello")
        return 1

    def broken(stream: str, text: str) -> None:
        raise OSError("disk full")

    assert call(pool, talks, output=broken) == 1
    assert "its sink failed" in caplog.text


# Calls back


def test_the_channel_is_reached_by_calls(pool: ProcessTaskHandler) -> None:
    @task(inject_context=True)
    def works(context: TaskExecutionContext) -> list[Any]:
        channel = context.get_channel()
        channel.set("model", Inner(names=["a"]))
        missing = object()
        return [
            channel.get("given"),
            channel.get("model"),
            channel.get("none", missing) is missing,
            channel.append("list", 1),
            channel.prepend("list", 0),
            channel.atomic_add("sum", 2.5),
            "list" in channel,
            channel.delete("given"),
            channel.delete("given"),
            sorted(channel.keys()),
        ]

    execution = ExecutionContext(TaskGraph(), inputs={"given": 7}, run_id="r")
    found = call(pool, works, execution=execution)
    model = Inner(names=["a"])
    assert found == [7, model, True, 1, 2, 2.5, True, True, False, ["list", "model", "sum"]]
    assert execution.get_channel().get("list") == [0, 1]
    assert execution.get_channel().get("model") == model


def test_a_lock_of_a_killed_body_is_given_back(pool: ProcessTaskHandler) -> None:
    @task(inject_context=True)
    def dies(context: TaskExecutionContext) -> None:
        context.get_channel().lock("a").__enter__()
        os.kill(os.getpid(), signal.SIGKILL)

    execution = ExecutionContext(TaskGraph(), run_id="r")
    with pytest.raises(WorkerLost):
        call(pool, dies, execution=execution)
    with execution.get_channel().lock("a", timeout=0):
        pass


def test_an_error_of_a_call_is_raised_in_the_body(pool: ProcessTaskHandler) -> None:
    @task(inject_context=True)
    def works(context: TaskExecutionContext) -> str:
        context.get_channel().set("text", "x")
        try:
            context.get_channel().append("text", 1)
        except TypeError as error:
            return str(error)
        return "nothing"

    assert "holds 'x', not a list" in call(pool, works)


def test_a_value_that_cannot_go_to_the_channel_is_named(pool: ProcessTaskHandler) -> None:
    @task(inject_context=True)
    def works(context: TaskExecutionContext) -> None:
        context.get_channel().set("lock", threading.Lock())

    with pytest.raises(NotSerializableError, match=r"channel\.set\(\.\.\.\): an argument"):
        call(pool, works)


def test_results_and_the_attempt_are_there(pool: ProcessTaskHandler) -> None:
    @task(inject_context=True)
    def works(context: TaskExecutionContext, default: str) -> list[Any]:
        context.set_local_data("k", 1)
        return [
            context.get_result("before"),
            context.get_result("never", default) is default,
            context.task_id,
            context.session_id,
            context.idempotency_key,
            context.retry_count,
            context.get_local_data("k"),
            context.elapsed_time() >= 0,
        ]

    execution = ExecutionContext(TaskGraph(), run_id="r")
    execution.set_result("before", Inner(names=["x"]))
    found = call(pool, works, execution=execution, default="d")
    assert found == [Inner(names=["x"]), True, "works", "r", "r/works", 0, 1, True]


@pytest.mark.parametrize("method", ["_put", "restore", "__init__", "no_such"])
def test_only_listed_calls_are_answered(pool: ProcessTaskHandler, method: str) -> None:
    @task(inject_context=True)
    def pries(context: TaskExecutionContext) -> None:
        context.execution._calls("channel", method, {})  # type: ignore[attr-defined]

    with pytest.raises(HandlerError, match=rf"channel\.{method} cannot be called"):
        call(pool, pries)


def test_what_the_run_does_not_offer_is_said(pool: ProcessTaskHandler) -> None:
    @task(inject_context=True)
    def asks(context: TaskExecutionContext) -> Any:
        return context.execution.graph

    with pytest.raises(AttributeError, match="'graph' of the run cannot be reached"):
        call(pool, asks)


def test_threads_of_a_body_may_call_at_once(pool: ProcessTaskHandler) -> None:
    @task(inject_context=True)
    def works(context: TaskExecutionContext) -> None:
        channel = context.get_channel()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: channel.atomic_add("sum"), range(100)))

    execution = ExecutionContext(TaskGraph(), run_id="r")
    call(pool, works, execution=execution)
    assert execution.get_channel().get("sum") == 100


# Many, and the end


def test_eight_attempts_run_at_once(pool: ProcessTaskHandler) -> None:
    @task(inject_context=True)
    def meets(context: TaskExecutionContext) -> int:
        context.get_channel().atomic_add("here")
        while context.get_channel().get("here") < 8:
            time.sleep(0.01)
        return os.getpid()

    execution = ExecutionContext(TaskGraph(), run_id="r")
    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(Call(pool, meets, execution=execution)) for _ in range(8)]
        assert len({one.result(60) for one in running}) == 8


def test_no_more_workers_than_asked_for() -> None:
    handler = ProcessTaskHandler(2)
    with ThreadPoolExecutor(6) as threads:
        running = [threads.submit(Call(handler, at_module_level, x=1)) for _ in range(12)]
        assert len({one.result(60)[0] for one in running}) <= 2
    handler.close()


def test_closing_leaves_nothing_behind() -> None:
    handler = ProcessTaskHandler(stop_grace_seconds=0.5)
    before = children()
    descriptors = set(os.listdir("/proc/self/fd"))
    threads = set(threading.enumerate())

    @task
    def leaves_a_child() -> int:
        return subprocess.Popen(["sleep", "60"]).pid

    pid = call(handler, at_module_level, x=1)[0]
    grandchild = call(handler, leaves_a_child)
    assert pid in children()
    handler.close()
    wait_until(lambda: not is_running(grandchild))
    assert children() == before
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert set(threading.enumerate()) == threads


def test_a_closed_handler_starts_again() -> None:
    handler = ProcessTaskHandler()
    first = call(handler, at_module_level, x=1)[0]
    handler.close()
    handler.close()
    assert call(handler, at_module_level, x=1)[0] != first
    handler.close()


def test_a_forgotten_handler_ends_its_workers() -> None:
    handler = ProcessTaskHandler()
    pid = call(handler, at_module_level, x=1)[0]
    del handler
    wait_until(lambda: not is_running(pid))


NEAR_SIDE = """
import os, sys
from handrail.contracts.attempt import Attempt
from handrail.contracts.task import task
from handrail.flow.graph import TaskGraph
from handrail.handlers.process import ProcessTaskHandler
from handrail.ids import Token
from handrail.run.context import ExecutionContext, HandlerContext
from handrail.run.handler import BoundTask, execute
from pydantic import BaseModel

print("imported", flush=True)

class Model(BaseModel):
    x: int

class Mine(Exception):
    pass

@task
def body(params: Model) -> Model:
    if params.x < 0:
        raise Mine("negative")
    return Model(x=params.x + 1)

@task
def hangs() -> None:
    import subprocess
    child = subprocess.Popen(["sleep", "60"])
    print(os.getpid(), child.pid, flush=True)
    sum(range(10 ** 12))

def call(made, **arguments):
    attempt = Attempt("r-1-1", "r", made.task_id, "k", Token(1, 1))
    context = HandlerContext(ExecutionContext(TaskGraph(), run_id="r"), attempt)
    def output(stream, text):
        print(text, end="", flush=True)
    bound = BoundTask(made.definition, attempt, arguments, context, None, output)
    return execute(ProcessTaskHandler(), bound, context)
"""


def _script(tmp_path: Path, end: str) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(NEAR_SIDE + end)
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_tasks_and_classes_of_the_main_script_work(tmp_path: Path) -> None:
    script = _script(
        tmp_path,
        """
found = call(body, x=1)
assert type(found) is Model and found.x == 2
try:
    call(body, x=-1)
except Mine as error:
    print("raised", error)
""",
    )
    out, err = script.communicate(timeout=60)
    # The far side does not run the script again, and an unclosed handler is no trouble.
    assert (out, err, script.returncode) == ("imported\nraised negative\n", "", 0)


def test_killing_the_near_side_leaves_nothing_behind(tmp_path: Path) -> None:
    script = _script(tmp_path, "call(hangs)\n")
    assert script.stdout is not None
    assert script.stdout.readline() == "imported\n"
    pids = [int(pid) for pid in script.stdout.readline().split()]
    assert all(is_running(pid) for pid in pids)
    script.kill()
    script.communicate(timeout=60)
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_it_says_what_it_can_do() -> None:
    handler = ProcessTaskHandler(3)
    assert handler.get_name() == "process"
    assert handler.can_stop
    assert handler.isolates
    assert not handler.off_host
    assert handler.capacity(8) == 3
    assert ProcessTaskHandler().capacity(8) == 8
    assert ProcessTaskHandler().capacity(None) == os.cpu_count()
