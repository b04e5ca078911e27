"""The command line called in this process, and runs for it to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner, Result

from handrail import WorkspaceSpec, task, workflow
from handrail.app import Runtime
from handrail.cli.application import application
from handrail.errors import RunFailed

Call = Callable[..., Result]


class Wanted(BaseModel):
    lines: int


class Written(BaseModel):
    lines: int


@pytest.fixture
def handrail() -> Call:
    """Calls `handrail` with the given words."""

    def call(*words: str) -> Result:
        return CliRunner().invoke(application, list(words))

    return call


@pytest.fixture
def runtime(home: Path) -> Iterator[Runtime]:
    """A runtime over the home that the command line looks at."""
    runtime = Runtime()
    yield runtime
    runtime.close()


@pytest.fixture
def songs(runtime: Runtime) -> str:
    """The id of a run that succeeded: it counts, then writes a file to workspace `songs`."""
    with workflow("songs", workspace="songs") as flow:

        @task
        def count() -> int:
            print("counting [bold]songs")
            return 3

        @task(workspace=WorkspaceSpec())
        def write(workspace: Path, params: Wanted) -> Written:
            (workspace / "songs.txt").write_text("Anchor\nTide\n")
            return Written(lines=params.lines)

        count >> write

    _, context = runtime.execute(flow, ret_context=True, inputs={"lines": 2})
    return str(context.run_id)


@pytest.fixture
def storm(runtime: Runtime) -> str:
    """The id of a run whose second task failed."""
    with workflow("storm") as flow:

        @task
        def rise() -> float:
            return float("nan")

        @task(id="b[r]eak")
        def fall(rise: float) -> None:
            raise ValueError("too [high]\x1b[2J\nsecond line")

        rise >> fall

    with pytest.raises(RunFailed) as caught:
        runtime.execute(flow)
    return caught.value.run_id
