"""Publishes files once, reads them back by commit, and shows them as a task saw them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from handrail import Repository, WorkspaceSpec, default_runtime, require_file, task, workflow
from handrail.upkeep import files_at


class Catch(BaseModel):
    boat: str
    herrings: int


class Total(BaseModel):
    herrings: int


@task(workspace=WorkspaceSpec(prefix="catches"))
def land(workspace: Path, params: Catch) -> Catch:
    """Sees the folder `catches` as if it were everything."""
    (workspace / params.boat).write_text(str(params.herrings))
    return params


@task(workspace=WorkspaceSpec(pre=[require_file("catches/Alba")], post=[require_file("total")]))
def add_up(workspace: Path, params: Catch) -> Total:
    """Reads what `land` has left, which nobody else can see yet."""
    herrings = sum(int(file.read_text()) for file in (workspace / "catches").iterdir())
    (workspace / "total").write_text(str(herrings))
    return Total(herrings=herrings)


harbour = workflow("harbour", land >> add_up, workspace="fish")


def main() -> None:
    runs = []
    for boat, herrings in (("Alba", 300), ("Brisa", 20)):
        total, context = harbour.execute(boat=boat, herrings=herrings, ret_context=True)
        runs.append(context.run_id)
        print(f"{boat} is in: {total.herrings} herrings")

    with Repository.open(name="fish") as fish:
        today = fish["main"]
        print("files:", ", ".join(today))
        fish.tag("friday")

        first = fish.at([commit_id for commit_id, _ in fish.log()][2])
        for change in first.diff(today):
            print(f"since Alba came: {change.kind} {change.path}")
        print("by the tag:", fish["friday"].read_text("total"))

    _, seen = files_at(default_runtime(), runs[1], "land")
    print("Brisa found:", ", ".join(seen))


if __name__ == "__main__":
    main()
