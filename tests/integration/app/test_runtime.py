"""Runs with a journal on disk: what is published, what is kept, what a resume finishes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from handrail import (
    ETLResults,
    PublishFenceError,
    RunBusy,
    RunFailed,
    RunNotFound,
    Runtime,
    RunTimeout,
    TaskExecutionContext,
    TaskInputError,
    WorkflowDefinitionError,
    WorkspaceSpec,
    forbid_glob,
    load_settings,
    require_file,
    task,
    workflow,
)
from handrail.contracts import event as kinds
from handrail.contracts.values import InMemoryOnly
from handrail.contracts.workspace import BranchName
from handrail.tracking.wire import State


class Name(BaseModel):
    name: str


class Count(BaseModel):
    count: int


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(load_settings(flags={"home": tmp_path / ".handrail"}, environment={}))
    yield made
    made.close()


@task(workspace=WorkspaceSpec(post=[forbid_glob("*.bad")]))
def write(workspace: Path, params: Name) -> Count:
    (workspace / params.name).write_text(params.name)
    return Count(count=len(list(workspace.iterdir())))


@task(workspace=WorkspaceSpec(read_only=True, pre=[require_file("a.txt")]))
def look(workspace: Path, params: Count) -> Count:
    (workspace / "left over").write_text("never published")
    return Count(count=params.count + 10)


def writing() -> workflow:
    return workflow("writing", write >> look, workspace="files")


def files(runtime: Runtime, ref: str = "main") -> list[str]:
    return [path for path, _ in runtime.repository("files").ls(ref, recursive=True)]


def test_a_run_publishes_what_its_tasks_wrote_when_it_has_succeeded(runtime: Runtime) -> None:
    assert runtime.execute(writing(), inputs={"name": "a.txt"}) == Count(count=11)
    assert files(runtime) == ["a.txt"]
    log = [commit.message for _, commit in runtime.repository("files").log("main")]
    assert log[0] == "writing: write"
    assert len(log) == 2  # and the empty first one


def test_a_read_only_body_cannot_publish(runtime: Runtime) -> None:
    runtime.execute(writing(), inputs={"name": "a.txt"})
    assert "left over" not in files(runtime)


def test_no_attempt_folder_and_no_run_branch_is_left(runtime: Runtime) -> None:
    runtime.execute(writing(), inputs={"name": "a.txt"})
    assert list(runtime.home.attempts.iterdir()) == []
    assert [branch.branch for branch in runtime.journal.heads()] == ["main"]


def test_a_run_refused_at_its_last_task_moves_neither_branch_nor_watermark(
    runtime: Runtime,
) -> None:
    before = runtime.repository("files").create()
    with pytest.raises(RunFailed, match=r"pre guardrail require_file\('a.txt'\) did not find"):
        runtime.execute(writing(), inputs={"name": "b.txt", "next_watermark": 5})
    assert runtime.repository("files").head() == before
    assert runtime.journal.watermark("writing") is None
    assert runtime.journal.runs()[0].state == "failed"


def test_a_post_guardrail_refuses_the_files_it_forbids(runtime: Runtime) -> None:
    with pytest.raises(RunFailed, match=r"forbid_glob\('\*.bad'\) matched 1 file: x.bad"):
        runtime.execute(writing(), inputs={"name": "x.bad"})
    assert files(runtime) == []


def test_a_run_that_changes_nothing_publishes_nothing(runtime: Runtime) -> None:
    runtime.execute(writing(), inputs={"name": "a.txt"})
    head = runtime.repository("files").head()
    runtime.execute(writing(), inputs={"name": "a.txt"})
    assert runtime.repository("files").head() == head


def test_the_watermark_of_a_run_that_succeeded_is_the_next_runs_watermark(
    runtime: Runtime,
) -> None:
    seen: list[object] = []

    @task
    def see(watermark: object, next_watermark: object) -> None:
        seen.append((watermark, next_watermark))

    flow = workflow("marked", see)
    runtime.execute(flow, inputs={"next_watermark": "2013-06"})
    runtime.execute(flow, inputs={"next_watermark": "2013-12"})
    assert seen == [(None, "2013-06"), ("2013-06", "2013-12")]


def test_of_two_runs_from_one_ref_the_second_to_end_is_refused(runtime: Runtime) -> None:
    gate = threading.Barrier(2, timeout=20)
    first_is_over = threading.Event()

    @task(workspace=WorkspaceSpec())
    def slow(workspace: Path, params: Name) -> Count:
        gate.wait()
        if params.name == "second":
            first_is_over.wait(20)
        (workspace / params.name).write_text("x")
        return Count(count=1)

    refused: list[BaseException] = []

    def second() -> None:
        try:
            runtime.execute(workflow("two", slow, workspace="files"), inputs={"name": "second"})
        except PublishFenceError as error:
            refused.append(error)

    runtime.repository("files").create()
    thread = threading.Thread(target=second)
    thread.start()
    runtime.execute(workflow("one", slow, workspace="files"), inputs={"name": "first"})
    first_is_over.set()
    thread.join(20)
    assert len(refused) == 1
    assert files(runtime) == ["first"]


def test_publishing_by_task_moves_the_branch_before_the_run_ends(runtime: Runtime) -> None:
    flow = workflow("eager", write >> look, workspace="files", publish="task")
    with pytest.raises(RunFailed):
        runtime.execute(flow, inputs={"name": "b.txt"})
    assert files(runtime) == ["b.txt"]


class Mended:
    """A chain of three whose last task fails until it is mended."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.is_broken = True

        @task(workspace=WorkspaceSpec())
        def first(workspace: Path, params: Name) -> Count:
            self.ran.append("first")
            (workspace / params.name).write_text(params.name)
            return Count(count=1)

        @task
        def second(first: Count) -> Count:
            self.ran.append("second")
            return Count(count=first.count + 1)

        @task
        def third(second: Count) -> int:
            self.ran.append("third")
            if self.is_broken:
                raise ValueError("not yet")
            return second.count + 1

        self.flow = workflow("mended", first >> second >> third, workspace="files")

    def mend(self) -> None:
        self.is_broken = False
        self.ran.clear()


def test_a_resume_runs_only_what_is_not_accepted(runtime: Runtime) -> None:
    chain = Mended()
    with pytest.raises(RunFailed) as failed:
        runtime.execute(chain.flow, inputs={"name": "a.txt"})
    chain.mend()
    assert runtime.resume(failed.value.run_id, chain.flow) == 3
    assert chain.ran == ["third"]
    assert files(runtime) == ["a.txt"]
    assert runtime.journal.run(failed.value.run_id).epoch == 2


def test_resuming_a_run_that_succeeded_returns_its_result(runtime: Runtime) -> None:
    chain = Mended()
    chain.mend()
    assert runtime.execute(chain.flow, inputs={"name": "a.txt"}) == 3
    chain.ran.clear()
    assert runtime.resume(runtime.journal.runs()[0].run_id, chain.flow) == 3
    assert chain.ran == []


def test_a_start_key_makes_two_calls_one_run(runtime: Runtime) -> None:
    chain = Mended()
    chain.mend()
    assert runtime.execute(chain.flow, key="k", inputs={"name": "a.txt"}) == 3
    assert runtime.execute(chain.flow, key="k", inputs={"name": "other"}) == 3
    assert runtime.execute(chain.flow, key="k") == 3
    assert chain.ran == ["first", "second", "third"]
    assert len(runtime.journal.runs()) == 1


def test_a_start_key_continues_a_run_that_failed(runtime: Runtime) -> None:
    chain = Mended()
    with pytest.raises(RunFailed):
        runtime.execute(chain.flow, key="k", inputs={"name": "a.txt"})
    chain.mend()
    assert runtime.execute(chain.flow, key="k", inputs={"name": "a.txt"}) == 3
    assert chain.ran == ["third"]


def test_a_run_that_is_held_cannot_be_resumed(runtime: Runtime) -> None:
    answers: list[BaseException] = []

    @task(inject_context=True)
    def busy(context: TaskExecutionContext) -> None:
        try:
            runtime.resume(context.session_id, flow)
        except RunBusy as error:
            answers.append(error)

    flow = workflow("held", busy)
    runtime.execute(flow)
    assert len(answers) == 1


def test_an_unknown_run_is_not_found(runtime: Runtime) -> None:
    with pytest.raises(RunNotFound, match="handrail runs"):
        runtime.resume("nothing")


def test_a_workflow_that_is_no_module_variable_must_be_handed_in(runtime: Runtime) -> None:
    chain = Mended()
    with pytest.raises(RunFailed) as failed:
        runtime.execute(chain.flow, inputs={"name": "a.txt"})
    with pytest.raises(WorkflowDefinitionError, match=r"runtime\.resume"):
        runtime.resume(failed.value.run_id)


def test_channel_writes_are_there_after_a_resume(runtime: Runtime) -> None:
    broken = [True]

    @task(inject_context=True)
    def put(context: TaskExecutionContext) -> None:
        context.get_channel().set("seen", {"a": (1, 2)})
        context.get_channel().append("list", "x")
        context.get_channel().set("gone", 1)
        context.get_channel().delete("gone")

    @task(inject_context=True)
    def take(context: TaskExecutionContext) -> object:
        if broken[0]:
            raise ValueError("not yet")
        channel = context.get_channel()
        return channel.get("seen"), channel.get("list"), channel.exists("gone")

    flow = workflow("channel", put >> take)
    with pytest.raises(RunFailed) as failed:
        runtime.execute(flow)
    broken[0] = False
    assert runtime.resume(failed.value.run_id, flow) == ({"a": (1, 2)}, ["x"], False)


def test_a_value_kept_in_memory_only_is_made_again_on_resume(runtime: Runtime) -> None:
    made: list[str] = []
    broken = [True]

    @task
    def lock() -> object:
        made.append("lock")
        return threading.Lock()

    @task
    def use(lock: object) -> str:
        if broken[0]:
            raise ValueError("not yet")
        return type(lock).__name__

    flow = workflow("memory", lock >> use)
    with pytest.raises(RunFailed) as failed:
        runtime.execute(flow)
    broken[0] = False
    assert runtime.resume(failed.value.run_id, flow) == "lock"
    assert made == ["lock", "lock"]


def test_a_task_that_reports_no_success_fails_and_keeps_its_result(runtime: Runtime) -> None:
    ran: list[str] = []

    @task(max_retries=3)
    def load() -> ETLResults:
        ran.append("load")
        return ETLResults(completed_successfully=False, inserts=7)

    @task
    def after(load: object) -> None:
        ran.append("after")

    with pytest.raises(RunFailed):
        runtime.execute(workflow("etl", load >> after))
    assert ran == ["load"]
    events = runtime.journal.events(runtime.journal.runs()[0].run_id)
    failed = next(stored.event for stored in events if stored.event.kind == kinds.TASK_FAILED)
    assert failed.data is not None
    assert '"inserts":7' in failed.data["result"]


def test_runs_and_attempts_are_tracked_with_parents_and_metrics(runtime: Runtime) -> None:
    @task
    def load() -> ETLResults:
        return ETLResults(completed_successfully=True, inserts=7, total_rows=9)

    runtime.execute(workflow("etl", load), inputs={"next_watermark": 5})
    found = {e.pipeline_name: e for e in runtime.tracking.executions().executions}
    assert found["etl/load"].parent_execution_id == found["etl"].id
    assert (found["etl/load"].inserts, found["etl/load"].total_rows) == (7, 9)
    assert found["etl"].state is State.SUCCEEDED
    assert runtime.tracking.pipeline("etl").watermark == 5


def test_a_failed_run_is_tracked_as_failed_and_promotes_no_watermark(runtime: Runtime) -> None:
    @task
    def load() -> None:
        raise ValueError("broken")

    with pytest.raises(RunFailed):
        runtime.execute(workflow("etl", load), inputs={"next_watermark": 5})
    found = {e.pipeline_name: e for e in runtime.tracking.executions().executions}
    assert found["etl"].state is State.FAILED
    assert found["etl/load"].error is not None
    assert found["etl/load"].error.message == "broken"
    assert runtime.tracking.pipeline("etl").watermark is None


def test_trouble_of_tracking_changes_no_result(tmp_path: Path) -> None:
    runtime = Runtime(load_settings(flags={"home": tmp_path / ".handrail"}, environment={}))
    runtime.home.tracking_database.write_bytes(b"this is no database" * 100)

    @task
    def work() -> int:
        return 3

    assert runtime.execute(workflow("calm", work)) == 3
    runtime.close()


def test_a_workflow_with_files_cannot_run_in_memory(runtime: Runtime) -> None:
    with pytest.raises(WorkflowDefinitionError, match="journal='memory'"):
        runtime.execute(writing(), journal="memory", inputs={"name": "a"})


def test_a_body_printing_and_logging_is_in_the_runs_log(runtime: Runtime) -> None:
    @task
    def speak() -> None:
        print("aloud", end="")

    runtime.execute(workflow("speaking", speak))
    log = runtime.home.run_log(runtime.journal.runs()[0].run_id)
    assert '"text": "aloud"' in log.read_text()


def test_an_interrupt_cancels_the_run_and_a_resume_finishes_it(runtime: Runtime) -> None:
    interrupted = [True]

    @task
    def work() -> int:
        if interrupted:
            interrupted.clear()
            raise KeyboardInterrupt
        return 3

    flow = workflow("interrupted", work)
    with pytest.raises(KeyboardInterrupt):
        runtime.execute(flow)
    record = runtime.journal.runs()[0]
    assert record.state == "cancelled"
    assert runtime.resume(record.run_id, flow) == 3


def test_the_hidden_branch_of_a_run_that_succeeded_is_swept(runtime: Runtime) -> None:
    runtime.execute(writing(), inputs={"name": "a.txt"})
    record = runtime.journal.runs()[0]
    left = BranchName("files", f"~{record.run_id}")
    assert runtime.journal.move_head(left, None, runtime.repository("files").head())
    runtime.execute(writing(), inputs={"name": "a.txt"})
    assert runtime.journal.head(left) is None


def test_a_result_that_only_memory_had_is_not_recalled_as_nothing(runtime: Runtime) -> None:
    @task
    def lock() -> object:
        return threading.Lock()

    flow = workflow("locks", lock)
    runtime.execute(flow, key="k")
    with pytest.raises(InMemoryOnly, match="result of 'lock' was kept in the memory"):
        runtime.execute(flow, key="k")


def test_inputs_that_do_not_fit_are_refused_before_there_is_a_run(runtime: Runtime) -> None:
    with pytest.raises(TaskInputError, match="name: Input should be a valid string"):
        runtime.execute(writing(), inputs={"name": 3})
    assert runtime.journal.runs() == []


def test_a_run_past_its_time_is_stopped_and_can_be_resumed(runtime: Runtime) -> None:
    ran: list[str] = []
    release = threading.Event()

    @task
    def quick() -> int:
        ran.append("quick")
        return 1

    @task
    def slow(quick: int) -> int:
        ran.append("slow")
        release.wait(2)
        return quick + 1

    flow = workflow("limited", quick >> slow)
    with pytest.raises(RunTimeout, match="handrail resume") as late:
        runtime.execute(flow, timeout=0.5)
    release.set()
    ran.clear()
    record = runtime.journal.run(late.value.run_id)
    assert record.state == "failed"
    assert runtime.resume(record.run_id, flow) == 2
    assert ran == ["slow"]


def endless() -> None:
    threading.Event().wait(3600)


def test_a_run_past_its_time_stops_worker_processes(runtime: Runtime) -> None:
    with pytest.raises(RunTimeout):
        runtime.execute(workflow("endless", task(handler="process")(endless)), timeout=1)
