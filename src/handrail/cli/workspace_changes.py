"""`handrail workspace init`, `branch`, `tag` and `commit`: changing repositories by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handrail.cli.output import Column
from handrail.cli.shell import Shell, shell_of
from handrail.cli.working import working
from handrail.cli.workspace_rows import AsJson, opened, short, summed
from handrail.errors import RuntimeConfigError

Name = Annotated[str | None, typer.Argument(metavar="REPO")]
At = Annotated[str, typer.Option("--at", metavar="REF", help="A branch, tag or commit. [main]")]


def add_first_to(workspace: typer.Typer) -> None:
    """Adds the command that stands first in the list."""
    workspace.command()(init)


def add_to(workspace: typer.Typer) -> None:
    """Adds the other commands."""
    workspace.command()(branch)
    workspace.command()(tag)
    workspace.command()(commit)


def init(
    context: typer.Context,
    repository: Annotated[
        str, typer.Argument(metavar="REPO", help="Or REPO@BRANCH; the branch is main.")
    ],
    as_json: AsJson = False,
) -> None:
    """Make a repository with an empty branch. One that is there stays as it is.

    Workflows make theirs when they first run, so this is for those that are filled by hand.

    \b
    handrail workspace init songs
    """
    from handrail.contracts.workspace import BranchName

    shell = shell_of(context)
    name = BranchName.parse(repository)
    runtime = shell.runtime
    was_there = runtime.journal.head(name) is not None
    head = runtime.repository(name.repository).create(name.branch)
    if as_json:
        shell.screen.json({**name._asdict(), "ref": head, "created": not was_there})
    elif was_there:
        shell.screen.note(f"{name} is there already, at {short(head)}.")
    else:
        shell.screen.note(f"Made {name} in {runtime.journal.place}.")


def branch(
    context: typer.Context,
    repository: Name = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Make it.")] = None,
    at: At = "main",
    is_deleting: Annotated[
        bool, typer.Option("--delete", help="Remove the branch; not its commits.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List branches, or make one, or remove one.

    \b
    handrail workspace branch
    handrail workspace branch songs
    handrail workspace branch songs trial --at 3f2a91
    handrail workspace branch songs trial --delete
    """
    shell = shell_of(context)
    if name is None or repository is None:
        if is_deleting:
            raise RuntimeConfigError("Which branch? handrail workspace branch REPO NAME --delete")
        _list(shell, repository, "branch", as_json)
        return
    found = shell.kept().repository(repository)
    if is_deleting:
        ref = found.delete_branch(name)
        said = f"Removed branch {repository}@{name}, which was at {ref}."
    else:
        ref = found.create_branch(name, at).commit_id
        said = f"Made branch {repository}@{name} at {short(ref)}."
    if as_json:
        shell.screen.json({"repository": repository, "branch": name, "ref": ref})
    else:
        shell.screen.note(said)


def tag(
    context: typer.Context,
    repository: Name = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Make it.")] = None,
    at: At = "main",
    as_json: AsJson = False,
) -> None:
    """List tags, or name a commit for ever. A tag never moves, and keeps its commit.

    \b
    handrail workspace tag songs
    handrail workspace tag songs v1 --at main
    """
    shell = shell_of(context)
    if name is None or repository is None:
        _list(shell, repository, "tag", as_json)
        return
    ref = shell.kept().repository(repository).tag(name, at).commit_id
    if as_json:
        shell.screen.json({"repository": repository, "tag": name, "ref": ref})
    else:
        shell.screen.note(f"{repository}@{name} is {short(ref)}.")


def commit(
    context: typer.Context,
    repository: Annotated[
        str, typer.Argument(metavar="REPO", help="Or REPO@BRANCH; the branch is main.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="What the commit holds.")],
    message: Annotated[
        str | None, typer.Option("--message", "-m", metavar="TEXT", help="What it is.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REF", help="The commit that FOLDER was made from; refused if it is not last."
        ),
    ] = None,
    path: Annotated[
        str, typer.Option(metavar="PATH", help="Replace only this folder of the repository.")
    ] = "/",
    as_json: AsJson = False,
) -> None:
    """Store a folder as the next commit of a branch.

    The commit holds what FOLDER holds, and nothing else. If the branch moves meanwhile, or is
    not at the base any more, nothing is published and you are told who was faster.

    \b
    handrail workspace commit songs ./songs -m "Songs of May"
    handrail workspace commit songs@main ./may --path raw/may --base 3f2a91
    """
    shell = shell_of(context)
    found, name = opened(shell.kept(), repository)
    before = found.at(base or name)
    with working(shell.screen, f"Storing {folder}") as work:
        made = found.commit(
            folder,
            message or f"{folder.resolve().name}: committed by hand",
            branch=name,
            base=before.commit_id,
            path=path,
            told=work.told,
        )
    is_changed = made.commit_id != before.commit_id
    if as_json:
        shell.screen.json(
            {"repository": found.name, "branch": name, "ref": made.commit_id, "changed": is_changed}
        )
    elif is_changed:
        shell.screen.note(f"{found.name}@{name} is at {short(made.commit_id)} now.")
        shell.screen.say(summed(before.diff(made)))
    else:
        shell.screen.note(f"Nothing has changed: {found.name}@{name} holds this already.")


def _list(shell: Shell, repository: str | None, kind: str, as_json: bool) -> None:
    runtime = shell.kept()
    names = runtime.repositories() if repository is None else [repository]
    rows = []
    for name in names:
        found = runtime.repository(name)
        heads = found.branches() if kind == "branch" else found.tags()
        rows += [(name, label, ref) for label, ref in heads.items()]
    if repository is not None and not rows and repository not in runtime.repositories():
        runtime.repository(repository).head()
    if as_json:
        shell.screen.json([{"repository": r, kind: label, "ref": ref} for r, label, ref in rows])
    elif rows:
        columns = (Column("repository"), Column(kind), Column("commit", style="dim"))
        shell.screen.table(columns, [(r, label, short(ref)) for r, label, ref in rows])
    else:
        kinds = "branches" if kind == "branch" else "tags"
        shell.screen.note(f"No {kinds} in {repository or shell.settings.home}.")
