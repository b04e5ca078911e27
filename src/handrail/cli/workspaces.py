"""`handrail workspace`: looking into versioned files, and taking them out."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from handrail.cli import workspace_at, workspace_changes, workspace_upkeep
from handrail.cli.shell import shell_of
from handrail.cli.working import working
from handrail.cli.workspace_rows import (
    AsJson,
    RepositoryAt,
    change_data,
    commit_data,
    files_data,
    opened,
    short,
    show_change,
    show_commits,
    show_files,
    summed,
)

if TYPE_CHECKING:
    from handrail.cli.output import Screen
    from handrail.keep.ref import Ref

workspace = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look into versioned workspaces, change them, and look after them.\n\n\b\n"
    "handrail workspace branch\n"
    "handrail workspace ls songs\n"
    "handrail workspace log songs@main\n"
    "handrail workspace at 06dx3k8c/clean",
)


def add_to(application: typer.Typer) -> None:
    """Adds the commands."""
    workspace_changes.add_first_to(workspace)
    for command, name in (
        (list_files, "ls"),
        (cat, "cat"),
        (log, "log"),
        (diff, "diff"),
        (checkout, "checkout"),
    ):
        workspace.command(name)(command)
    workspace_at.add_to(workspace)
    workspace_changes.add_to(workspace)
    workspace_upkeep.add_to(workspace)
    application.add_typer(workspace, name="workspace")


# Commands


def list_files(
    context: typer.Context,
    repository: RepositoryAt,
    path: Annotated[str, typer.Argument(metavar="PATH")] = "",
    is_recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="All folders below, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the files of a commit.

    \b
    handrail workspace ls songs
    handrail workspace ls songs@3f2a91 charts -r
    """
    shell = shell_of(context)
    found, ref = opened(shell.kept(), repository)
    entries = found.ls(ref, path, recursive=is_recursive)
    if as_json:
        shell.screen.json(files_data(entries))
    else:
        show_files(shell.screen, entries, repository)


def log(
    context: typer.Context,
    repository: RepositoryAt,
    count: Annotated[int, typer.Option("-n", min=1, metavar="N", help="How many, at most.")] = 20,
    is_all: Annotated[
        bool, typer.Option("--all", help="All parents: what was composed side by side, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List a commit and those before it, newest first.

    With who made each, in which attempt of which task, and from which commit.

    \b
    handrail workspace log songs
    handrail workspace log songs@v1 --all -n 100
    """
    shell = shell_of(context)
    found, ref = opened(shell.kept(), repository)
    history = found.log(ref, all_parents=is_all)
    commits = [commit for _, commit in zip(range(count), history, strict=False)]
    if as_json:
        shell.screen.json([commit_data(ref, commit) for ref, commit in commits])
    else:
        show_commits(shell.screen, commits)


def diff(
    context: typer.Context,
    repository: Annotated[str, typer.Argument(metavar="REPO")],
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A branch, tag or commit.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="A branch, tag or commit.")],
    is_summed: Annotated[bool, typer.Option("--stat", help="Numbers only.")] = False,
    as_json: AsJson = False,
) -> None:
    """List files that differ between two commits.

    \b
    handrail workspace diff songs 3f2a91 main
    """
    shell = shell_of(context)
    changes = shell.kept().repository(repository).diff(before, after)
    if as_json:
        shell.screen.json([change_data(change) for change in changes])
    elif is_summed:
        shell.screen.say(summed(changes))
    else:
        for change in changes:
            show_change(shell.screen, change)


def checkout(
    context: typer.Context,
    repository: RepositoryAt,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Empty, or not there yet.")],
    path: Annotated[str, typer.Option(metavar="PATH", help="Only this folder of it.")] = "/",
) -> None:
    """Write the files of a commit into a folder.

    \b
    handrail workspace checkout songs@main /tmp/songs
    """
    shell = shell_of(context)
    found, name = opened(shell.kept(), repository)
    ref = found.at(name)
    check_out(shell.screen, ref, folder, path)
    shell.screen.note(f"Wrote {repository} at {short(ref.commit_id)} into {folder}.")


def cat(
    context: typer.Context,
    repository: RepositoryAt,
    path: Annotated[str, typer.Argument(metavar="PATH")],
) -> None:
    """Print a file of a commit, byte by byte.

    \b
    handrail workspace cat songs songs.txt
    """
    found, ref = opened(shell_of(context).kept(), repository)
    with found.read(ref, path) as file:
        print_bytes(file)


# Taking out


def check_out(screen: Screen, ref: Ref, folder: Path, path: str = "/") -> None:
    """Writes files into a folder, and shows how that gets on."""
    with working(screen, f"Writing {folder}") as work:
        top = ref.below(path)
        work.begun(sum(entry.size_bytes for entry in top.trees.entries(top.tree)))
        top.checkout(folder, told=work.told)


def print_bytes(file: BinaryIO) -> None:
    """A content on standard output, as it is."""
    sys.stdout.flush()
    shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
