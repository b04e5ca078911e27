"""Runs whose workspaces are kept by a LakeFS server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from handrail import (
    PublishFenceError,
    RunFailed,
    Runtime,
    RuntimeConfigError,
    Task,
    WorkflowDefinitionError,
    WorkspaceSpec,
    forbid_glob,
    load_settings,
    task,
    workflow,
)
from handrail.contracts.workspace import BranchName
from handrail.keep.base import Claim, Conflict
from handrail.run.session import Session
from tests.services.lakefs import LakeFSAddress


class Params(BaseModel):
    """None."""


class Files(BaseModel):
    names: list[str] = []


Open = Callable[[], Runtime]


@pytest.fixture
def opened(tmp_path: Path, lakefs_address: LakeFSAddress, lakefs_repository: str) -> Iterator[Open]:
    runtimes: list[Runtime] = []

    def call() -> Runtime:
        flags = {
            "home": tmp_path / ".handrail",
            "lakefs_url": lakefs_address.endpoint,
            "lakefs_access_key": lakefs_address.access_key,
            "lakefs_secret_key": lakefs_address.secret_key,
        }
        runtimes.append(Runtime(load_settings(flags=flags, environment={})))
        return runtimes[-1]

    yield call
    for runtime in runtimes:
        runtime.close()


@pytest.fixture
def runtime(opened: Open) -> Runtime:
    return opened()


ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def no_runs() -> None:
    ran.clear()


def writing(name: str, *, fails: bool = False, **spec: Any) -> Task:
    def act(workspace: Path, params: Params) -> Files:
        ran[name] += 1
        if fails:
            raise ValueError("not yet")
        (workspace / f"{name}.txt").write_text(name)
        return Files(names=sorted(path.name for path in workspace.iterdir()))

    return task(name, workspace=WorkspaceSpec.model_validate(spec))(act)


def published(runtime: Runtime, repository: str) -> list[str]:
    files = runtime.files(repository)
    head = files.head(BranchName(repository))
    assert head is not None
    return [path for path, _ in files.entries(head)]


def test_a_run_publishes_all_that_its_tasks_left(runtime: Runtime, lakefs_repository: str) -> None:
    flow = workflow("flow", writing("one") >> writing("two"), workspace=lakefs_repository)
    assert runtime.execute(flow) == Files(names=["one.txt", "two.txt"])
    assert published(runtime, lakefs_repository) == ["one.txt", "two.txt"]
    again = workflow("again", writing("three"), workspace=lakefs_repository)
    assert runtime.execute(again) == Files(names=["one.txt", "three.txt", "two.txt"])
    assert runtime.journal.runs()[0].state == "succeeded"
    assert runtime.files(lakefs_repository).sweep(older_than_seconds=-60) == []


def test_a_run_that_is_refused_publishes_nothing(runtime: Runtime, lakefs_repository: str) -> None:
    guarded = writing("two", post=[forbid_glob("two.*")])
    flow = workflow("flow", writing("one") >> guarded, workspace=lakefs_repository)
    with pytest.raises(RunFailed, match="forbid_glob"):
        runtime.execute(flow)
    assert published(runtime, lakefs_repository) == []


def test_a_resume_in_another_process_goes_on_from_what_was_staged(
    opened: Open, lakefs_repository: str
) -> None:
    first = opened()
    broken = workflow(
        "flow", writing("one") >> writing("two", fails=True), workspace=lakefs_repository
    )
    with pytest.raises(RunFailed) as caught:
        first.execute(broken)
    first.close()
    mended = workflow("flow", writing("one") >> writing("two"), workspace=lakefs_repository)
    assert caught.value.run_id is not None
    second = opened()
    assert second.resume(caught.value.run_id, mended) == Files(names=["one.txt", "two.txt"])
    assert ran == {"one": 1, "two": 2}
    assert published(second, lakefs_repository) == ["one.txt", "two.txt"]


def test_a_run_that_was_cut_off_between_claim_and_end_is_adopted(
    opened: Open, lakefs_repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = workflow("flow", writing("one"), workspace=lakefs_repository)
    runtime = opened()
    settle = Session._settle

    def cut_off(self: Session, state: str, *arguments: Any, **more: Any) -> Any:
        if state == "succeeded":
            raise KeyboardInterrupt
        return settle(self, state, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Session, "_settle", cut_off)
        with pytest.raises(KeyboardInterrupt):
            runtime.execute(flow)
    assert published(runtime, lakefs_repository) == ["one.txt"]
    runtime.close()

    later = opened()
    run_id = later.journal.runs()[0].run_id
    assert later.state_of(later.journal.run(run_id)) == "crashed"
    assert later.resume(run_id, flow) == Files(names=["one.txt"])
    assert ran == {"one": 1}
    assert later.journal.run(run_id).state == "succeeded"


def test_of_two_runs_from_one_state_the_first_to_end_wins(
    opened: Open, lakefs_repository: str
) -> None:
    inner = opened()

    def act(workspace: Path, params: Params) -> Files:
        inner.execute(workflow("inner", writing("inside"), workspace=lakefs_repository))
        (workspace / "outside.txt").write_text("x")
        return Files()

    outer = task("outside", workspace=WorkspaceSpec())(act)
    runtime = opened()
    with pytest.raises(PublishFenceError):
        runtime.execute(workflow("outer", outer, workspace=lakefs_repository))
    assert published(runtime, lakefs_repository) == ["inside.txt"]
    assert runtime.journal.runs()[-1].state == "failed"


def test_tasks_that_publish_by_themselves_claim_by_themselves(
    opened: Open, lakefs_repository: str
) -> None:
    runtime = opened()
    flow = workflow(
        "flow",
        writing("one") >> writing("two", fails=True),
        workspace=lakefs_repository,
        publish="task",
    )
    with pytest.raises(RunFailed):
        runtime.execute(flow)
    assert published(runtime, lakefs_repository) == ["one.txt"]


def test_a_task_that_was_cut_off_between_claim_and_ledger_is_adopted(
    opened: Open, lakefs_repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its publication is found by its key; its body does not run again."""
    runtime = opened()
    flow = workflow("flow", writing("one"), workspace=lakefs_repository, publish="task")

    def cut_off(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runtime.journal, "accept", cut_off)
        with pytest.raises(KeyboardInterrupt):
            runtime.execute(flow)
    assert published(runtime, lakefs_repository) == ["one.txt"]

    run_id = runtime.journal.runs()[0].run_id
    assert runtime.resume(run_id, flow) == Files(names=["one.txt"])
    assert ran == {"one": 1}
    head = runtime.files(lakefs_repository).head(BranchName(lakefs_repository))
    task_history = runtime.history(run_id).tasks[0]
    assert (task_history.state, task_history.output_ref) == ("succeeded", head)


def test_parallel_writers_are_refused_before_anything_runs(
    runtime: Runtime, lakefs_repository: str
) -> None:
    north, south = writing("north", prefix="n"), writing("south", prefix="s")
    flow = workflow("flow", north | south, workspace=lakefs_repository)
    with pytest.raises(WorkflowDefinitionError, match="LakeFS"):
        runtime.execute(flow)
    assert runtime.journal.runs() == []


def test_who_handrail_is_there_must_be_said(tmp_path: Path) -> None:
    flags = {"home": tmp_path / ".handrail", "lakefs_url": "http://127.0.0.1:1"}
    runtime = Runtime(load_settings(flags=flags, environment={}))
    with pytest.raises(RuntimeConfigError, match="HANDRAIL_LAKEFS_ACCESS_KEY"):
        runtime.execute(workflow("flow", writing("one"), workspace="songs"))
    runtime.close()


def test_a_claim_of_another_run_is_no_part_of_this_one(
    runtime: Runtime, lakefs_repository: str
) -> None:
    files, branch = runtime.files(lakefs_repository), BranchName(lakefs_repository)
    base = files.create(branch)
    flow = workflow("flow", writing("one"), workspace=lakefs_repository)
    runtime.execute(flow)
    head = files.head(branch)
    assert head is not None
    assert isinstance(files.claim(Claim(branch, base, head, "run other", "null")), Conflict)
