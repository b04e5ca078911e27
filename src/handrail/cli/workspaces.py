"""`handrail workspace`: looking into versioned files, and taking them out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from handrail.cli.output import Column, Screen
from handrail.cli.shell import shell_of
from handrail.cli.text import counted, first_line, moment, size, visible

if TYPE_CHECKING:
    from handrail.app import Runtime
    from handrail.keep.base import Change, Commit, TreeEntry
    from handrail.keep.repository import Repository

#: First characters of branches that runs work on until they publish.
_HIDDEN = "~"
_SHORT_REF = 12
_CHANGES = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}

RepositoryAt = Annotated[
    str,
    typer.Argument(metavar="REPO", help="Or REPO@REF: a branch (main), a commit, or its start."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]

workspace = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look into versioned workspaces.\n\n\b\n"
    "handrail workspace branches\n"
    "handrail workspace ls songs\n"
    "handrail workspace log songs@main",
)


def add_to(application: typer.Typer) -> None:
    """Adds the commands."""
    application.add_typer(workspace, name="workspace")


# Commands


@workspace.command()
def branches(
    context: typer.Context,
    repository: Annotated[str | None, typer.Argument(metavar="REPO")] = None,
    as_json: AsJson = False,
) -> None:
    """List repositories and their branches.

    \b
    handrail workspace branches
    handrail workspace branches songs
    """
    shell = shell_of(context)
    runtime = shell.kept()
    found = [
        (name, ref)
        for name, ref in sorted(runtime.journal.heads(repository).items())
        if not name.branch.startswith(_HIDDEN)
    ]
    if repository is not None and not found:
        runtime.repository(repository).head()
    if as_json:
        shell.screen.json([{**name._asdict(), "ref": ref} for name, ref in found])
    elif found:
        columns = (Column("repository"), Column("branch"), Column("commit", style="dim"))
        shell.screen.table(columns, [(*name, ref[:_SHORT_REF]) for name, ref in found])
    else:
        shell.screen.note(f"No repositories in {shell.settings.home}.")


@workspace.command("ls")
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
    found, ref = _opened(shell.kept(), repository)
    entries = found.ls(ref, path, recursive=is_recursive)
    if as_json:
        shell.screen.json([{"path": name, **_entry_data(entry)} for name, entry in entries])
    elif entries:
        columns = (Column("mode", style="dim"), Column("size", is_right=True), Column("path"))
        shell.screen.table(columns, [_entry_row(name, entry) for name, entry in entries])
    else:
        shell.screen.note(f"No files in {repository}.")


@workspace.command()
def log(
    context: typer.Context,
    repository: RepositoryAt,
    count: Annotated[int, typer.Option("-n", min=1, metavar="N", help="How many, at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List a commit and those before it, newest first.

    \b
    handrail workspace log songs
    """
    shell = shell_of(context)
    found, ref = _opened(shell.kept(), repository)
    commits = [commit for _, commit in zip(range(count), found.log(ref), strict=False)]
    if as_json:
        shell.screen.json([_commit_data(ref, commit) for ref, commit in commits])
        return
    columns = (
        Column("commit", style="yellow"),
        Column("at"),
        Column("message", gives_way=True),
        Column("made by", gives_way=True, style="dim"),
    )
    shell.screen.table(columns, [_commit_row(ref, commit) for ref, commit in commits])


@workspace.command()
def diff(
    context: typer.Context,
    repository: Annotated[str, typer.Argument(metavar="REPO")],
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A branch or commit.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="A branch or commit.")],
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
        shell.screen.json([_change_data(change) for change in changes])
    elif is_summed:
        shell.screen.say(_sum(changes))
    else:
        for change in changes:
            _show_change(shell.screen, change)


@workspace.command()
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
    found, ref = _opened(shell.kept(), repository)
    commit = found.resolve(ref)
    found.checkout(commit, folder, path)
    shell.screen.note(f"Wrote {repository} at {commit[:_SHORT_REF]} into {folder}.")


@workspace.command()
def cat(
    context: typer.Context,
    repository: RepositoryAt,
    path: Annotated[str, typer.Argument(metavar="PATH")],
) -> None:
    """Print a file of a commit, byte by byte.

    \b
    handrail workspace cat songs songs.txt
    """
    found, ref = _opened(shell_of(context).kept(), repository)
    with found.read(ref, path) as file:
        sys.stdout.flush()
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


# Names


def _opened(runtime: Runtime, text: str) -> tuple[Repository, str]:
    name, _, ref = text.partition("@")
    return runtime.repository(name), ref or "main"


# Rows


def _entry_data(entry: TreeEntry) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "mode": f"{entry.mode:o}",
        "size_bytes": entry.size_bytes,
        "digest": entry.digest,
    }


def _entry_row(path: str, entry: TreeEntry) -> tuple[str, str, str]:
    if entry.kind == "tree":
        return "folder", "", f"{path}/"
    if entry.kind == "link":
        return "link", "", path
    return f"{entry.mode:o}", size(entry.size_bytes), path


def _commit_data(ref: str, commit: Commit) -> dict[str, Any]:
    return {
        "commit": ref,
        "parents": list(commit.parents),
        "message": commit.message,
        "at": commit.at,
        "made_by": commit.made_by,
    }


def _commit_row(ref: str, commit: Commit) -> tuple[str, ...]:
    made_by = commit.made_by
    makers = [made_by[name] for name in ("user", "attempt", "run") if name in made_by]
    return (
        ref[:_SHORT_REF],
        moment(commit.at) if commit.at else "",
        first_line(commit.message),
        " ".join(makers[:2]),
    )


def _change_data(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "path": change.path,
        "before": _entry_data(change.before) if change.before else None,
        "after": _entry_data(change.after) if change.after else None,
    }


def _show_change(screen: Screen, change: Change) -> None:
    mark, style = _CHANGES[change.kind]
    sizes = [size(entry.size_bytes) for entry in (change.before, change.after) if entry]
    line = Text(f"{mark} {visible(change.path)}", style)
    screen.say(line.append(f"  {' → '.join(dict.fromkeys(sizes))}", "dim"))


def _sum(changes: Iterable[Change]) -> str:
    counts = dict.fromkeys(_CHANGES, 0)
    grown = 0
    for change in changes:
        counts[change.kind] += 1
        grown += change.after.size_bytes if change.after else 0
        grown -= change.before.size_bytes if change.before else 0
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    sign = "-" if grown < 0 else "+"
    total = counted(sum(counts.values()), "file")
    return f"{total}: {kinds}; {sign}{size(abs(grown))}"
