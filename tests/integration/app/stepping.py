"""A workflow over files, for processes that are killed. Each body says that it was run.

python stepping.py run              stops inside the second task until the file `go` is there
python stepping.py resume RUN       prints the result, or "busy"

The settings come from the environment; `MARKS` is the folder of marks.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pydantic import BaseModel

from handrail import RunBusy, Runtime, WorkspaceSpec, load_settings, task, workflow


class Step(BaseModel):
    number: int


def mark(name: str) -> None:
    """Adds a line to a file, one for each time the task was run."""
    with Path(os.environ["MARKS"], name).open("a") as file:
        file.write(f"{os.getpid()}\n")


@task(id="one", workspace=WorkspaceSpec())
def one(workspace: Path, params: Step) -> Step:
    mark("one")
    (workspace / "one").write_text("1")
    return Step(number=params.number + 1)


@task(id="two", workspace=WorkspaceSpec())
def two(workspace: Path, params: Step) -> Step:
    mark("two")
    (workspace / "two").write_text((workspace / "one").read_text() + "2")
    while not Path(os.environ["MARKS"], "go").exists():
        time.sleep(0.02)
    return Step(number=params.number + 1)


@task
def three(two: Step) -> int:
    mark("three")
    return two.number + 1


def steps() -> workflow:
    return workflow("steps", one >> two >> three, workspace="files")


def main() -> None:
    runtime = Runtime(load_settings())
    try:
        if sys.argv[1] == "run":
            print(runtime.execute(steps(), inputs={"number": 1}))
        else:
            print(runtime.resume(sys.argv[2], steps()))
    except RunBusy:
        print("busy")
    finally:
        runtime.close()


if __name__ == "__main__":
    main()
