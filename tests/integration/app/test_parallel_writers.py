"""Tasks that write side by side, each its own folder, and what becomes of their files."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from handrail import (
    PublishFenceError,
    RunFailed,
    Runtime,
    Task,
    WorkflowDefinitionError,
    WorkspaceSpec,
    forbid_glob,
    load_settings,
    require_file,
    task,
    workflow,
)
from handrail.contracts.expr import Composable
from handrail.keep.collect import collect_garbage, commits_in_use


class Params(BaseModel):
    """None."""


class Files(BaseModel):
    names: list[str] = []


Body = Callable[[Path], None]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(load_settings(flags={"home": tmp_path / ".handrail"}, environment={}))
    yield made
    made.close()


def on_files(name: str, body: Body = lambda folder: None, **spec: object) -> Task:
    def act(workspace: Path, params: Params) -> Files:
        body(workspace)
        found = sorted(path for path in workspace.rglob("*") if path.is_file())
        return Files(names=[str(path.relative_to(workspace)) for path in found])

    return task(name, workspace=WorkspaceSpec.model_validate(spec))(act)


def writing(name: str, *, prefix: str | None = None, content: str = "x") -> Task:
    def write(folder: Path) -> None:
        (folder / f"{name}.txt").write_text(content)

    return on_files(name, write, prefix=prefix or name)


def published(runtime: Runtime) -> list[str]:
    return [path for path, _ in runtime.repository("songs").ls("main", recursive=True)]


def execute(runtime: Runtime, *parts: Composable) -> object:
    return runtime.execute(workflow("flow", *parts, workspace="songs"))


def test_a_reader_that_ends_after_the_writer_beside_it_takes_nothing_away(
    runtime: Runtime,
) -> None:
    has_written = threading.Event()

    def write(folder: Path) -> None:
        (folder / "a.txt").write_text("x")

    def read(folder: Path) -> None:
        assert has_written.wait(30)

    def tell(folder: Path) -> None:
        has_written.set()

    writer, reader = on_files("writer", write), on_files("reader", read, read_only=True)
    after = on_files("after", tell, read_only=True)
    result = execute(runtime, (writer >> after) | reader)
    assert published(runtime) == ["a.txt"]
    assert result == {"after": Files(names=["a.txt"]), "reader": Files()}


def test_what_parallel_writers_leave_is_published_together(runtime: Runtime) -> None:
    first = writing("first", prefix="/")
    last = on_files("last", read_only=True)
    result = execute(runtime, first >> (writing("north") | writing("south")) >> last)
    everything = ["first.txt", "north/north.txt", "south/south.txt"]
    assert result == Files(names=everything)
    assert published(runtime) == everything
    _, commit = next(iter(runtime.repository("songs").log("main")))
    assert commit.message == "composed: north, south"
    assert len(commit.parents) == 2


def test_writers_that_end_the_run_are_composed_too(runtime: Runtime) -> None:
    execute(runtime, writing("north") | (writing("south") >> writing("west")))
    assert published(runtime) == ["north/north.txt", "south/south.txt", "west/west.txt"]


def test_who_follows_parallel_writers_writes_upon_them(runtime: Runtime) -> None:
    def rename(folder: Path) -> None:
        (folder / "north/north.txt").rename(folder / "all.txt")

    execute(
        runtime, (writing("north") | writing("south")) >> on_files("join", rename) >> writing("end")
    )
    assert published(runtime) == ["all.txt", "end/end.txt", "north", "south/south.txt"]


def test_a_parallel_writer_sees_only_its_folder(runtime: Runtime) -> None:
    seen: dict[str, list[str]] = {}

    def looking(name: str) -> Task:
        def look(folder: Path) -> None:
            seen[name] = sorted(path.name for path in folder.iterdir())
            (folder / f"{name}.txt").write_text("x")

        guards = [forbid_glob("*/**"), require_file(f"{name}.txt")]
        return on_files(name, look, prefix=f"by/{name}", post=guards)

    execute(runtime, looking("a") | looking("b"))
    execute(runtime, looking("a") | looking("b"))
    assert seen == {"a": ["a.txt"], "b": ["b.txt"]}
    assert published(runtime) == ["by/a/a.txt", "by/b/b.txt"]


def test_if_one_fails_nothing_is_published_and_a_resume_runs_it_alone(runtime: Runtime) -> None:
    ran: Counter[str] = Counter()
    mended: list[bool] = []

    def counting(name: str) -> Task:
        def write(folder: Path) -> None:
            ran[name] += 1
            if name == "south" and not mended:
                raise ValueError("not yet")
            (folder / "f.txt").write_text(name)

        return on_files(name, write, prefix=name)

    def join(folder: Path) -> None:
        ran["join"] += 1

    flow = workflow(
        "flow", (counting("north") | counting("south")) >> on_files("join", join), workspace="songs"
    )
    with pytest.raises(RunFailed) as caught:
        runtime.execute(flow)
    assert published(runtime) == []
    mended.append(True)
    assert caught.value.run_id is not None
    assert runtime.resume(caught.value.run_id, flow) == Files(names=["north/f.txt", "south/f.txt"])
    assert ran == {"north": 1, "south": 2, "join": 1}
    assert published(runtime) == ["north/f.txt", "south/f.txt"]


def test_a_branch_that_moved_meanwhile_refuses_them_all(runtime: Runtime) -> None:
    def intrude(folder: Path) -> None:
        runtime.execute(workflow("other", writing("west"), workspace="songs"))
        (folder / "n.txt").write_text("x")

    with pytest.raises(PublishFenceError):
        execute(runtime, on_files("north", intrude, prefix="north") | writing("south"))
    assert published(runtime) == ["west/west.txt"]


def test_writers_that_change_nothing_publish_nothing(runtime: Runtime) -> None:
    before = runtime.repository("songs").create()
    execute(runtime, on_files("north", prefix="n") | on_files("south", prefix="s"))
    assert runtime.repository("songs").head() == before


def test_the_one_that_changed_something_needs_no_composed_commit(runtime: Runtime) -> None:
    execute(runtime, writing("north") | on_files("south", prefix="south"))
    _, commit = next(iter(runtime.repository("songs").log("main")))
    assert commit.message == "flow: north"


def test_all_that_was_composed_is_kept_by_the_collection(runtime: Runtime) -> None:
    execute(runtime, writing("north") | writing("south"))
    roots = commits_in_use(runtime.journal, runtime.journal)
    collect_garbage(runtime.trees, runtime.trees.objects, roots, 1 << 50)
    execute(runtime, writing("north", content="y") | writing("south"))
    assert published(runtime) == ["north/north.txt", "south/south.txt"]


def test_publishing_each_task_by_itself_allows_no_parallel_writers(runtime: Runtime) -> None:
    flow = workflow("flow", writing("north") | writing("south"), workspace="songs", publish="task")
    with pytest.raises(WorkflowDefinitionError, match="publish='run'"):
        runtime.execute(flow)
    assert runtime.journal.runs() == []


def test_a_writer_that_a_body_asks_for_starts_from_what_the_asker_left(runtime: Runtime) -> None:
    from handrail import TaskExecutionContext, chain

    extra = writing("extra")

    @task(inject_context=True)
    def ask(context: TaskExecutionContext) -> None:
        context.next_task(extra)

    execute(runtime, chain(writing("first", prefix="/"), ask))
    assert published(runtime) == ["extra/extra.txt", "first.txt"]


def test_it_does_not_matter_who_was_faster_or_declared_first(runtime: Runtime) -> None:
    has_ended = threading.Event()

    def last(folder: Path) -> None:
        assert has_ended.wait(30)
        (folder / "f.txt").write_text("x")

    def first(folder: Path) -> None:
        (folder / "f.txt").write_text("x")
        has_ended.set()

    with workflow("flow", workspace="songs") as flow:
        inner = on_files("inner", lambda folder: (folder / "i.txt").touch(), prefix="outer/inner")
        outer = on_files("outer", lambda folder: (folder / "o.txt").touch(), prefix="outer")
        north, south = on_files("north", last, prefix="n"), on_files("south", first, prefix="s")
        outer >> inner
    runtime.execute(flow)
    assert published(runtime) == ["n/f.txt", "outer/inner/i.txt", "outer/o.txt", "s/f.txt"]
    _, commit = next(iter(runtime.repository("songs").log("main")))
    assert commit.message == "composed: north, south, inner"
    assert (north.name, south.name) == ("north", "south")
