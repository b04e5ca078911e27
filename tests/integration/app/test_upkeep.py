"""Homes that are looked after while runs are at work, and repositories opened by their place."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from handrail import (
    Repository,
    RunFailed,
    Runtime,
    RuntimeConfigError,
    StoreError,
    Task,
    UnknownRefError,
    WorkflowDefinitionError,
    WorkspaceSpec,
    load_settings,
    plug,
    task,
    workflow,
)
from handrail.keep.collect import collecting, storing
from handrail.upkeep import check_home, collect, export_to, files_at, import_from


class Params(BaseModel):
    """None."""


class Files(BaseModel):
    count: int = 0


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(load_settings(flags={"home": tmp_path / ".handrail"}, environment={}))
    before = plug.runtime.fill(lambda: made)
    yield made
    plug.runtime.fill(before)
    made.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Runtime]:
    """Another home."""
    made = Runtime(load_settings(flags={"home": tmp_path / "other"}, environment={}))
    yield made
    made.close()


def writing(name: str, content: str = "x", **spec: object) -> Task:
    @task(name, workspace=WorkspaceSpec.model_validate(spec))
    def write(workspace: Path, params: Params) -> Files:
        (workspace / f"{name}.txt").write_text(content)
        return Files()

    return write


# Collecting


def test_what_a_run_at_work_has_stored_is_left_alone_whatever_its_age(runtime: Runtime) -> None:
    stored: list[str] = []

    @task(workspace=WorkspaceSpec())
    def sweep(workspace: Path, params: Params) -> Files:
        digest = runtime.objects.put_bytes(b"staged, and not yet published").digest
        stored.append(digest)
        swept = collect(runtime, grace_seconds=0)
        assert swept.objects.removed_count == 0
        (workspace / "a.txt").write_text("a")
        return Files(count=swept.objects.spared_count)

    assert runtime.execute(workflow("flow", sweep, workspace="songs")).count >= 1
    assert stored[0] in runtime.objects
    assert collect(runtime, grace_seconds=0).objects.removed_count >= 1
    assert stored[0] not in runtime.objects
    assert check_home(runtime).damages == ()


def test_runs_can_be_resumed_and_looked_at_after_a_collection(runtime: Runtime) -> None:
    mended: list[bool] = []

    @task(workspace=WorkspaceSpec())
    def break_off(workspace: Path, params: Params) -> Files:
        if not mended:
            raise ValueError("not yet")
        return Files(count=len(list(workspace.iterdir())))

    flow = workflow("flow", writing("first") >> break_off, workspace="songs")
    with pytest.raises(RunFailed) as caught:
        runtime.execute(flow)
    assert caught.value.run_id is not None
    collect(runtime, grace_seconds=0)
    assert list(files_at(runtime, caught.value.run_id, "break_off")[1]) == ["first.txt"]
    assert list(files_at(runtime, caught.value.run_id, "first")[1]) == []
    assert list(files_at(runtime, caught.value.run_id, "first", after=True)[1]) == ["first.txt"]
    with pytest.raises(UnknownRefError, match="has published nothing"):
        files_at(runtime, caught.value.run_id, after=True)
    mended.append(True)
    assert runtime.resume(caught.value.run_id, flow) == Files(count=1)


def test_tags_keep_what_no_branch_needs(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.txt").write_text("anchor")
    repository = runtime.repository("songs")
    repository.create()
    made = repository.commit(tmp_path / "files", "by hand")
    repository.tag("v1")
    repository.delete_branch("main")
    assert collect(runtime, grace_seconds=0).objects.kept_count >= 3
    assert repository["v1"].read_text("a.txt") == "anchor"
    # A run sweeps the branches of runs; a tag is none.
    runtime.execute(workflow("flow", writing("b"), workspace="songs"))
    assert repository.tags() == {"v1": made.commit_id}


def test_what_is_kept_for_reuse_is_forgotten_when_it_is_old(runtime: Runtime) -> None:
    @task(cache=True)
    def survey() -> int:
        return 1

    runtime.execute(workflow("flow", survey))
    assert collect(runtime).forgotten_count == 0
    assert collect(runtime, results_seconds=-1, dry_run=True).forgotten_count == 1
    assert runtime.kept_results.count() == 1
    assert collect(runtime, results_seconds=-1).forgotten_count == 1
    assert runtime.kept_results.count() == 0


def test_half_written_files_are_cleared(runtime: Runtime) -> None:
    runtime.repository("songs").create()
    incoming = runtime.home.objects / "incoming"
    (incoming / "import-abc").write_text("half")
    os.utime(incoming / "import-abc", (1, 1))
    assert collect(runtime, dry_run=True).abandoned_count == 0
    assert collect(runtime).abandoned_count == 1


def test_collecting_waits_for_nobody_and_those_who_store_wait_for_it(runtime: Runtime) -> None:
    runtime.repository("songs").create()
    with storing(runtime.home.path), pytest.raises(StoreError, match="is at work in"):
        collect(runtime)
    entered = threading.Event()

    def store() -> None:
        with storing(runtime.home.path):
            entered.set()

    with collecting(runtime.home.path):
        thread = threading.Thread(target=store)
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(30)
    thread.join()


# Carrying


def test_a_history_with_parallel_writers_is_carried_whole(runtime: Runtime, other: Runtime) -> None:
    flow = workflow(
        "flow", writing("north", prefix="n") | writing("south", prefix="s"), workspace="songs"
    )
    runtime.execute(flow)
    file = io.BytesIO()
    export_to(runtime, "songs", file)
    file.seek(0)
    import_from(other, file, "songs.pack")
    here, there = runtime.repository("songs"), other.repository("songs")
    assert list(there.log(all_parents=True)) == list(here.log(all_parents=True))
    assert len(list(there.log(all_parents=True))) == 4
    assert list(there.at()) == ["n/north.txt", "s/south.txt"]
    assert check_home(other).damages == ()


# Opening


def test_a_repository_is_opened_by_the_place_of_its_home(runtime: Runtime, other: Runtime) -> None:
    other.execute(workflow("flow", writing("a"), workspace="films"))
    project = other.home.path.parent
    with Repository.open(other.home.path) as films:
        assert (films.name, list(films["main"])) == ("films", ["a.txt"])
    with Repository.open(f"{other.home.path}#films") as films:
        assert films["main"].read_text("a.txt") == "x"
    with Repository.open(f"sqlite:///{other.home.database}", "films") as films:
        assert list(films.branches()) == ["main"]
    with pytest.raises(StoreError, match="No Handrail home"):
        Repository.open(project / "nowhere")
    with pytest.raises(UnknownRefError, match=r"No repository 'songs'\. Repositories in .*: films"):
        Repository.open(other.home.path, "songs")
    assert not (project / "nowhere").exists()


def test_without_a_place_it_is_the_home_of_the_settings(runtime: Runtime) -> None:
    with pytest.raises(StoreError, match="No Handrail home"):
        Repository.open(name="songs")
    with Repository.open(name="songs", create=True) as songs:
        assert list(songs["main"]) == []
    assert Repository.open("handrail://songs").head() == songs.head()
    Repository.open(name="films", create=True)
    with pytest.raises(UnknownRefError, match=r"Which repository\? .*: films, songs"):
        Repository.open()


def test_the_project_that_holds_a_home_stands_for_it(runtime: Runtime, tmp_path: Path) -> None:
    runtime.repository("songs").create()
    assert Repository.open(tmp_path).name == "songs"


def test_a_ref_outlives_the_repository_that_was_opened_for_it(other: Runtime) -> None:
    other.execute(workflow("flow", writing("a"), workspace="films"))
    assert Repository.open(other.home.path)["main"].read_text("a.txt") == "x"


def test_a_workflow_takes_a_branch(runtime: Runtime) -> None:
    with Repository.open(name="songs", create=True) as songs:
        branch = songs.branch("dev")
        workflow("flow", writing("a"), workspace=branch).execute()
        assert list(branch.ref()) == ["a.txt"]
        assert list(songs["main"]) == []


def test_a_branch_of_another_home_is_refused(runtime: Runtime, other: Runtime) -> None:
    with Repository.open(other.home.path, "songs", create=True) as songs:
        flow = workflow("flow", writing("a"), workspace=songs.branch("main"))
        with pytest.raises(WorkflowDefinitionError, match="Set HANDRAIL_HOME to the home of"):
            flow.execute()
        assert runtime.journal.runs() == []
        other.execute(flow)
        assert list(songs["main"]) == ["a.txt"]


def test_what_lakefs_keeps_is_looked_at_there(runtime: Runtime, tmp_path: Path) -> None:
    runtime.repository("songs").create()
    flags = {"home": runtime.home.path, "lakefs_url": "http://127.0.0.1:9"}
    on_lakefs = Runtime(load_settings(flags=flags, environment={}))
    for look in (
        lambda: on_lakefs.repository("songs"),
        lambda: on_lakefs.open_repository(name="songs"),
        lambda: collect(on_lakefs),
        lambda: check_home(on_lakefs),
        lambda: files_at(on_lakefs, "r1"),
        lambda: export_to(on_lakefs, "songs", io.BytesIO()),
        lambda: import_from(on_lakefs, io.BytesIO(), "songs.pack"),
    ):
        with pytest.raises(RuntimeConfigError, match="kept by LakeFS"):
            look()
    on_lakefs.close()
