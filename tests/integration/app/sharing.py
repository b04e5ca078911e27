"""A workflow that adds one file to a shared repository, for processes on several machines.

python sharing.py add NAME          prints the names it found, or the error's class
python sharing.py resume RUN        prints the names

The body leaves the file `NAME` in the folder `MARKS` and waits there for the file `go`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pydantic import BaseModel

from handrail import HandrailError, RunFailed, Runtime, WorkspaceSpec, load_settings, task, workflow


class Song(BaseModel):
    name: str


class Found(BaseModel):
    names: list[str]


@task(id="add", workspace=WorkspaceSpec())
def add(workspace: Path, params: Song) -> Found:
    marks = Path(os.environ["MARKS"])
    with (marks / params.name).open("a") as file:
        file.write("run\n")
    found = sorted(path.name for path in workspace.iterdir())
    for path in workspace.iterdir():
        assert path.read_bytes() == path.name.encode() * 1000
    (workspace / params.name).write_bytes(params.name.encode() * 1000)
    while not (marks / "go").exists():
        time.sleep(0.02)
    return Found(names=found)


def adding() -> workflow:
    return workflow("adding", add, workspace="songs")


def main() -> None:
    runtime = Runtime(load_settings())
    try:
        if sys.argv[1] == "add":
            found = runtime.execute(adding(), inputs={"name": sys.argv[2]})
        else:
            found = runtime.resume(sys.argv[2], adding())
        print(*found.names)
    except RunFailed as error:
        print(type(error.cause or error).__name__)
    except HandrailError as error:
        print(type(error).__name__)
    finally:
        runtime.close()


if __name__ == "__main__":
    main()
