"""The functions for programs that bring their own store, as such programs test them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError, computed_field

from handrail import (
    PostGuardrailViolation,
    PreGuardrailViolation,
    PublishFenceError,
    RuntimeTaskResult,
    StagedWorkspace,
    Task,
    TaskControls,
    TaskDefinition,
    TaskExecutionContext,
    TaskFailed,
    TaskInputError,
    TaskTerminalError,
    WorkspaceInput,
    WorkspaceSpec,
    build_workspace_free_task_output,
    build_workspace_task_output,
    forbid_glob,
    invoke_workspace_free_task,
    invoke_workspace_task_body,
    require_file,
    run_workspace_free_task_attempt,
    run_workspace_task_attempt,
    task,
)
from handrail.keep.snapshot import Snapshot


class Params(BaseModel):
    rows: int = 1


class Count(BaseModel):
    count: int


WORKSPACE = {"repository": "songs", "branch": "main", "ref_type": "commit", "ref": "a" * 64}
INPUT = {"workspace": WORKSPACE, "params": {"rows": 2}}
Body = Callable[[Path, Params], Any]


def declared(body: Body, **spec: Any) -> Task:
    def build(workspace: Path, params: Params) -> Count:
        return body(workspace, params)  # type: ignore[no-any-return]

    return task(name="build", owner_email="ada@example.org", workspace=WorkspaceSpec(**spec))(build)


@task(name="check", owner_email="ada@example.org")
def free(params: Params) -> Count:
    return Count(count=params.rows)


class Store:
    """Callbacks that note what is asked of them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.files: dict[str, str] = {"raw.csv": "1,2"}
        self.fresh: Any = None
        self.staged: dict[str, str] = {}
        self.published: dict[str, str] | None = None
        self.seen: list[Any] = []
        self.failing: dict[str, Exception] = {}

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.failing:
            raise self.failing[what]

    def download(self, source: WorkspaceInput, spec: WorkspaceSpec, folder: Path) -> None:
        self._ask("download")
        assert (source.ref, list(folder.iterdir())) == ("a" * 64, [])
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)

    def load(self, attempt: Any) -> Any:
        self._ask("fence")
        return self.fresh or attempt

    def stage(
        self, folder: Path, source: WorkspaceInput, spec: WorkspaceSpec, execution: Any
    ) -> StagedWorkspace:
        self._ask("stage")
        self.seen.append(execution)
        self.staged = {
            str(path.relative_to(folder)): path.read_text()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return StagedWorkspace("songs", "staging", "c" * 64)

    def publish(
        self, staged: StagedWorkspace, source: WorkspaceInput, spec: WorkspaceSpec, execution: Any
    ) -> str:
        self._ask("publish")
        self.published = self.staged
        return "p" * 64

    def cleanup(self, staged: StagedWorkspace) -> None:
        self._ask("cleanup")

    def complete(self, source: WorkspaceInput, spec: WorkspaceSpec, execution: Any) -> str:
        self._ask("noop")
        return source.ref


@pytest.fixture
def store() -> Store:
    return Store()


ATTEMPT = SimpleNamespace(
    task_id="t1", workflow_instance_id="w1", retry_count=0, status="IN_PROGRESS"
)


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Callable[..., RuntimeTaskResult]:
    def call(
        what: Task | TaskDefinition, data: Mapping[str, Any] = INPUT, **more: Any
    ) -> RuntimeTaskResult:
        keywords: dict[str, Any] = {
            "download_workspace": store.download,
            "load_current_attempt": store.load,
            "stage_workspace": store.stage,
            "publish_workspace": store.publish,
            "cleanup_staging": store.cleanup,
            "complete_noop_workspace": store.complete,
            "failure_reason_max_length": 500,
            **more,
        }
        return run_workspace_task_attempt(what, data, ATTEMPT, tmp_path / "root", **keywords)

    return call


Run = Callable[..., RuntimeTaskResult]


def writing(workspace: Path, params: Params) -> Count:
    (workspace / "out").mkdir()
    (workspace / "out/table.csv").write_text("x" * params.rows)
    return Count(count=params.rows)


def test_changed_files_are_staged_fenced_and_published(run: Run, store: Store) -> None:
    result = run(declared(writing))

    assert result.status == "COMPLETED", result.reason
    assert result.output == {
        "workspace": {**WORKSPACE, "ref": "p" * 64},
        "result": {"count": 2},
    }
    assert store.asked == ["download", "fence", "stage", "fence", "publish", "cleanup"]
    assert store.published == {"raw.csv": "1,2", "out/table.csv": "xx"}
    [execution] = store.seen
    assert isinstance(execution, TaskExecutionContext)
    assert (execution.attempt, execution.task_id) == (ATTEMPT, "t1")


def test_nothing_is_left_of_an_attempt(run: Run, tmp_path: Path) -> None:
    run(declared(writing))
    assert list((tmp_path / "root").iterdir()) == []


def test_nothing_of_ours_is_in_the_bodys_folder(run: Run, store: Store) -> None:
    store.files = {}

    def look(workspace: Path, params: Params) -> Count:
        assert list(workspace.iterdir()) == []
        return Count(count=0)

    assert run(declared(look, pre=[forbid_glob("*")], post=[forbid_glob("**/*")])).reason is None


def test_a_task_that_only_reads_completes_with_its_input_ref(run: Run, store: Store) -> None:
    result = run(declared(writing, read_only=True))
    assert result.output == {"workspace": WORKSPACE, "result": {"count": 2}}
    assert store.asked == ["download"]


@pytest.mark.parametrize("touch", [False, True])
def test_a_body_that_changes_nothing_is_a_no_op(run: Run, store: Store, touch: bool) -> None:
    def idle(workspace: Path, params: Params) -> Count:
        if touch:
            (workspace / "raw.csv").unlink()
            (workspace / "raw.csv").write_text("1,2")
        return Count(count=0)

    result = run(declared(idle))
    assert result.output is not None
    assert result.output["workspace"] == WORKSPACE
    assert store.asked == ["download", "fence", "noop"]


def test_a_no_op_that_nobody_can_complete_fails(run: Run) -> None:
    result = run(declared(lambda workspace, params: Count(count=0)), complete_noop_workspace=None)
    assert result.status == "FAILED"
    assert "complete_noop_workspace" in str(result.reason)


@pytest.mark.parametrize(
    ("fresh", "asked"),
    [
        ({"status": "COMPLETED"}, ["download", "fence"]),
        ({"retry_count": 1}, ["download", "fence"]),
        ({"workflow_instance_id": "w2"}, ["download", "fence"]),
    ],
)
def test_an_attempt_that_is_no_longer_the_current_one_stages_nothing(
    run: Run, store: Store, fresh: dict[str, Any], asked: list[str]
) -> None:
    store.fresh = SimpleNamespace(**{**vars(ATTEMPT), **fresh})
    result = run(declared(writing))
    assert result.status == "FAILED"
    assert "stale" in str(result.reason)
    assert store.asked == asked


def test_an_attempt_that_was_replaced_while_it_staged_publishes_nothing(
    run: Run, store: Store
) -> None:
    def stage(*arguments: Any) -> StagedWorkspace:
        store.fresh = SimpleNamespace(**{**vars(ATTEMPT), "retry_count": 1})
        return store.stage(*arguments)

    result = run(declared(writing), stage_workspace=stage)
    assert result.status == "FAILED"
    assert store.asked == ["download", "fence", "stage", "fence", "cleanup"]
    assert store.published is None


def test_what_was_staged_is_cleaned_when_publishing_fails(run: Run, store: Store) -> None:
    store.failing["publish"] = PublishFenceError("songs@main", "a" * 64, "b" * 64)
    result = run(declared(writing))
    assert result.status == "FAILED"
    assert store.asked[-1] == "cleanup"


@pytest.mark.parametrize("fails", [None, "publish"])
def test_trouble_with_cleaning_up_is_logged_and_takes_no_results_place(
    run: Run, store: Store, caplog: pytest.LogCaptureFixture, fails: str | None
) -> None:
    store.failing["cleanup"] = OSError("the server is away")
    if fails:
        store.failing[fails] = ValueError("no")
    result = run(declared(writing))
    assert (result.status, result.reason) == (("FAILED", "no") if fails else ("COMPLETED", None))
    assert "the server is away" in caplog.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TaskFailed("no rows"), "FAILED"),
        (TaskTerminalError("no rows"), "FAILED_WITH_TERMINAL_ERROR"),
        (ValueError("no rows"), "FAILED"),
        (PreGuardrailViolation("no rows"), "FAILED_WITH_TERMINAL_ERROR"),
        (PostGuardrailViolation("no rows"), "FAILED"),
    ],
)
def test_failures_are_classified(run: Run, error: Exception, status: str) -> None:
    def body(workspace: Path, params: Params) -> Count:
        raise error

    result = run(declared(body))
    assert (result.status, result.reason, result.output) == (status, "no rows", None)


def test_guardrails_are_checked_before_and_after(run: Run, store: Store) -> None:
    missing = run(declared(writing, pre=[require_file("absent.csv")]))
    assert missing.status == "FAILED_WITH_TERMINAL_ERROR"
    assert missing.reason == "pre guardrail require_file('absent.csv') did not find a file"
    left = run(declared(writing, post=[forbid_glob("out/**")]))
    assert left.status == "FAILED"
    assert str(left.reason).startswith("post guardrail forbid_glob('out/**')")
    assert store.published is None


def test_a_reason_is_cut_and_that_is_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    def body(workspace: Path, params: Params) -> Count:
        raise TaskFailed("a" * 80)

    assert run(declared(body), failure_reason_max_length=10).reason == "a" * 10
    assert "cut to 10" in caplog.text


def test_a_length_that_holds_no_reason_is_refused_before_anything_runs(
    run: Run, store: Store
) -> None:
    with pytest.raises(ValueError, match="at least 1 character"):
        run(declared(writing), failure_reason_max_length=0)
    assert store.asked == []


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"params": {}},
        {**INPUT, "more": 1},
        {**INPUT, "workspace": {**WORKSPACE, "more": 1}},
        {**INPUT, "workspace": {**WORKSPACE, "ref": " "}},
        {**INPUT, "params": {"rows": "many"}},
        {**INPUT, "params": {"rows": 1, "columns": 2}},
    ],
)
def test_input_that_is_not_as_declared_fails(run: Run, data: dict[str, Any]) -> None:
    result = run(declared(writing), data)
    assert result.status == "FAILED"
    assert result.reason


def test_a_program_that_is_told_to_end_ends_after_cleaning_up(run: Run, tmp_path: Path) -> None:
    def body(workspace: Path, params: Params) -> Count:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run(declared(body))
    assert list((tmp_path / "root").iterdir()) == []


def test_one_attempt_delivered_twice_has_two_folders(run: Run, store: Store) -> None:
    seen: list[Path] = []

    def body(workspace: Path, params: Params) -> Count:
        seen.append(workspace)
        if len(seen) == 1:
            assert run(what).status == "COMPLETED"
        return writing(workspace, params)

    what = declared(body)
    assert run(what).status == "COMPLETED"
    assert seen[0] != seen[1]


def test_the_current_folder_belongs_to_one_execution_id(run: Run, tmp_path: Path) -> None:
    names: list[str] = []

    def body(workspace: Path, params: Params) -> Count:
        names.append(workspace.parent.name)
        return Count(count=0)

    run(declared(body), execution_id="../odd name")
    assert names == ["task_id=t1-exec=odd_name"]


# Without a workspace


def test_a_free_task_takes_params_and_gives_a_result() -> None:
    result = run_workspace_free_task_attempt(
        free, {"params": {"rows": "5"}}, failure_reason_max_length=100
    )
    assert result.output == {"result": {"count": 5}}
    assert result.conductor_payload() == {
        "status": "COMPLETED",
        "outputData": {"result": {"count": 5}},
    }


def test_a_free_tasks_failure_is_a_result() -> None:
    result = run_workspace_free_task_attempt(
        free.definition, {"params": {"rows": "many"}}, failure_reason_max_length=100
    )
    assert (result.status, result.output) == ("FAILED", None)
    assert result.conductor_payload() == {
        "status": "FAILED",
        "reasonForIncompletion": result.reason,
    }


def test_each_kind_of_task_has_functions_of_its_own(run: Run, tmp_path: Path) -> None:
    with_files = declared(writing)
    with pytest.raises(TaskInputError, match="Use run_workspace_free_task_attempt"):
        run(free)
    with pytest.raises(TaskInputError, match="Use run_workspace_task_attempt"):
        run_workspace_free_task_attempt(with_files, INPUT, failure_reason_max_length=9)
    with pytest.raises(TaskInputError, match="Use invoke_workspace_free_task"):
        invoke_workspace_task_body(free, INPUT, tmp_path)
    with pytest.raises(TaskInputError, match="Use invoke_workspace_task_body"):
        invoke_workspace_free_task(with_files, INPUT)
    with pytest.raises(TaskInputError, match="Use build_workspace_free_task_output"):
        build_workspace_task_output(free, WORKSPACE, "p", {"count": 1})
    with pytest.raises(TaskInputError, match="Use build_workspace_task_output"):
        build_workspace_free_task_output(with_files, {"count": 1})


# Bodies alone


def test_a_body_is_called_on_a_folder(tmp_path: Path) -> None:
    what = declared(writing, post=[require_file("out/table.csv")])
    assert invoke_workspace_task_body(what, INPUT, tmp_path) == {"result": {"count": 2}}


def test_values_that_do_not_validate_are_told_as_pydantic_tells_them(tmp_path: Path) -> None:
    what = declared(lambda workspace, params: {"count": 1, "more": 2})
    with pytest.raises(ValidationError, match="more"):
        invoke_workspace_task_body(what, INPUT, tmp_path)
    with pytest.raises(ValidationError, match="rows"):
        invoke_workspace_free_task(free, {"params": {"rows": "many"}})
    with pytest.raises(ValidationError, match="count"):
        build_workspace_free_task_output(free, {})


def test_results_are_wrapped() -> None:
    assert build_workspace_free_task_output(free, {"count": 3}) == {"result": {"count": 3}}
    source = WorkspaceInput.model_validate(WORKSPACE)
    what = declared(writing)
    assert build_workspace_task_output(what, source, "p", Count(count=1)) == {
        "workspace": {**WORKSPACE, "ref": "p"},
        "result": {"count": 1},
    }


class Node(BaseModel):
    """Everything that has troubled such models: aliases, computed fields, recursion."""

    label: str = Field(alias="theLabel")
    below: list[Node] = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def depth(self) -> int:
        return 1 + max((node.depth for node in self.below), default=0)


def test_models_that_pass_the_check_never_fail_for_their_shape() -> None:
    @task(name="tree", owner_email="ada@example.org", controls=TaskControls())
    def tree(params: Node) -> Node:
        return Node(theLabel="top", below=[params])

    output = invoke_workspace_free_task(tree, {"params": {"theLabel": "leaf"}})
    assert output["result"]["depth"] == 2
    assert output["result"]["below"][0]["label"] == "leaf"


# Results


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "COMPLETED"},
        {"status": "COMPLETED", "output": {}, "reason": "no"},
        {"status": "FAILED"},
        {"status": "FAILED", "reason": "no", "output": {}},
        {"status": "RUNNING", "reason": "no"},
        {"status": "FAILED", "reason": "no", "more": 1},
    ],
)
def test_a_result_is_whole(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RuntimeTaskResult(**fields)


# Snapshots


@pytest.mark.parametrize("change", ["content", "size", "new", "gone", "link"])
def test_a_snapshot_sees_every_change_of_content(tmp_path: Path, change: str) -> None:
    (tmp_path / "a.txt").write_text("one")
    os.symlink("a.txt", tmp_path / "link")
    snapshot = Snapshot.of(tmp_path)
    assert not snapshot.has_changed()
    if change == "content":
        (tmp_path / "a.txt").write_text("two")
    elif change == "size":
        (tmp_path / "a.txt").write_text("four")
    elif change == "new":
        (tmp_path / "b.txt").touch()
    elif change == "gone":
        (tmp_path / "a.txt").unlink()
    else:
        (tmp_path / "link").unlink()
        os.symlink("elsewhere", tmp_path / "link")
    assert snapshot.has_changed()


def test_a_snapshot_does_not_read_what_may_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not Snapshot.of(tmp_path).has_changed()


def test_a_snapshot_reads_again_only_what_looks_different(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b").mkdir()
    snapshot = Snapshot.of(tmp_path)
    os.utime(tmp_path / "a.txt")
    (tmp_path / "c").mkdir()  # folders do not count
    assert not snapshot.has_changed()
