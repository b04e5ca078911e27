"""`handrail workspace at`: the files as an attempt saw them, or left them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handrail.cli.shell import shell_of
from handrail.cli.workspace_rows import AsJson, files_data, short, show_files
from handrail.errors import RuntimeConfigError


def add_to(workspace: typer.Typer) -> None:
    """Adds the command."""
    workspace.command("at")(at)


def at(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="RUN", help="A run, or RUN/TASK for one of its tasks.")
    ],
    path: Annotated[str, typer.Argument(metavar="PATH", help="List only this folder.")] = "",
    is_after: Annotated[bool, typer.Option("--after", help="As it left them.")] = False,
    attempt: Annotated[
        str | None,
        typer.Option(metavar="ATTEMPT", help="Of several: its id, or its end (1-3)."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Write them there.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--cat", metavar="PATH", help="Print this file.")
    ] = None,
    is_recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="All folders below, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See the files that a run or a task saw, or left.

    \b
    handrail workspace at 06dx3k8c
    handrail workspace at 06dx3k8c/clean --after --to /tmp/clean
    handrail workspace at 06dx3k8c/clean --cat songs.txt
    """
    from handrail.cli.workspaces import check_out, print_bytes
    from handrail.upkeep import files_at

    if folder is not None and file is not None:
        raise RuntimeConfigError("Choose one of --to and --cat.")
    shell = shell_of(context)
    run_id, _, task = what.partition("/")
    found, ref = files_at(shell.kept(), run_id, task or None, attempt=attempt, after=is_after)
    whose = found.attempt_id or what
    moment = "left" if is_after else "saw"
    where = f"{found.repository}@{short(found.commit_id)}"
    if found.prefix != "/":
        where += f", folder {found.prefix}"
    if file is not None:
        with ref.open(file) as content:
            print_bytes(content)
        return
    if folder is not None:
        check_out(shell.screen, ref, folder)
        shell.screen.note(f"Wrote what {whose} {moment} into {folder}: {where}.")
        return
    entries = ref.ls(path, recursive=is_recursive)
    if as_json:
        shell.screen.json(
            {
                "repository": found.repository,
                "commit": found.commit_id,
                "prefix": found.prefix,
                "attempt": found.attempt_id,
                "files": files_data(entries),
            }
        )
        return
    shell.screen.note(f"What {whose} {moment}: {where}")
    show_files(shell.screen, entries, where)
