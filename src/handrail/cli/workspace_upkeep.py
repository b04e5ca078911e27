"""`handrail workspace import`, `export`, `gc` and `fsck`: looking after what is kept."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from handrail.cli.running import FAILED
from handrail.cli.shell import shell_of
from handrail.cli.text import counted, duration, size, visible
from handrail.cli.working import working
from handrail.cli.workspace_rows import AsJson, short
from handrail.errors import RuntimeConfigError

if TYPE_CHECKING:
    from handrail.cli.output import Screen
    from handrail.keep.fsck import Checked, Damage
    from handrail.keep.packs import Imported
    from handrail.upkeep import Swept

_DAY_SECONDS = 86_400
#: Commits and runs that are named on one line.
_NAMED = 5


def add_to(workspace: typer.Typer) -> None:
    """Adds the commands."""
    workspace.command("export")(export)
    workspace.command("import")(import_)
    workspace.command()(gc)
    workspace.command()(fsck)


# Carrying


def export(
    context: typer.Context,
    repository: Annotated[str, typer.Argument(metavar="REPO")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="- writes to standard output.")],
    is_forced: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
) -> None:
    """Write a whole repository to one file.

    With branches, tags, history and all files; `handrail workspace import` reads it.

    \b
    handrail workspace export songs songs.pack
    handrail workspace export songs - | ssh there handrail workspace import -
    """
    from handrail import upkeep

    shell = shell_of(context)
    runtime = shell.kept()
    with working(shell.screen, f"Writing {file}") as work:
        if file == "-":
            sys.stdout.flush()
            made = upkeep.export_to(
                runtime, repository, sys.stdout.buffer, begun=work.begun, told=work.told
            )
            sys.stdout.buffer.flush()
        else:
            made = upkeep.export_repository(
                runtime,
                repository,
                Path(file),
                replace=is_forced,
                begun=work.begun,
                told=work.told,
            )
    shell.screen.note(
        f"Wrote {made.repository}: {_named(len(made.branches), len(made.tags))}, "
        f"{counted(made.object_count, 'object')}, {size(made.size_bytes)}."
    )


def import_(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="- reads standard input.")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="REPO", help="Give it another name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take in a repository that was exported, here or in another home.

    Everything is checked while it is read, and nothing is seen of it before all of it is there.
    If that is interrupted, do it again. Branches that are here already are moved forward only.

    \b
    handrail workspace import songs.pack
    handrail workspace import songs.pack --as songs-of-may
    """
    from handrail.upkeep import import_from

    shell = shell_of(context)
    with working(shell.screen, f"Reading {file}") as work:
        if file == "-":
            done = import_from(
                shell.runtime,
                sys.stdin.buffer,
                "standard input",
                name=name,
                begun=work.begun,
                told=work.told,
            )
        else:
            try:
                pack = open(file, "rb")  # noqa: SIM115  # a missing file is told apart
            except OSError as error:
                raise RuntimeConfigError(f"Cannot read {file}: {error.strerror}") from error
            with pack:
                done = import_from(
                    shell.runtime, pack, file, name=name, begun=work.begun, told=work.told
                )
    if as_json:
        shell.screen.json(_import_data(done))
    else:
        _show_import(shell.screen, done)


def _named(branch_count: int, tag_count: int) -> str:
    branches = counted(branch_count, "branch", "branches")
    return f"{branches}, {counted(tag_count, 'tag')}" if tag_count else branches


def _import_data(done: Imported) -> dict[str, Any]:
    return {
        "repository": done.repository,
        "created": list(done.created),
        "forwarded": list(done.forwarded),
        "kept": list(done.kept),
        "object_count": done.manifest.object_count,
        "stored_count": done.stored_count,
        "size_bytes": done.manifest.size_bytes,
    }


def _show_import(screen: Screen, done: Imported) -> None:
    for heads, what in (
        (done.created, "made"),
        (done.forwarded, "moved forward"),
        (done.kept, "there already"),
    ):
        if heads:
            screen.say(f"{what}: {', '.join(heads)}")
    screen.note(
        f"Imported {done.repository}: {counted(done.manifest.object_count, 'object')}, "
        f"{done.stored_count:,} of them new, {size(done.manifest.size_bytes)}."
    )


# Collecting


def gc(
    context: typer.Context,
    is_dry: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    grace_seconds: Annotated[
        float,
        typer.Option("--grace", min=0, metavar="SECONDS", help="Keep what is younger."),
    ] = 3600.0,
    results_days: Annotated[
        float,
        typer.Option(
            "--results-older-than",
            min=0,
            metavar="DAYS",
            help="Forget results that were kept for reuse and are older.",
        ),
    ] = 90.0,
    as_json: AsJson = False,
) -> None:
    """Remove stored files that nothing needs.

    Needed is what a branch, a tag or an accepted attempt of any run refers to. What attempts
    at work have stored and not yet published stays, whatever its age.

    \b
    handrail workspace gc --dry-run
    handrail workspace gc
    """
    from handrail.upkeep import collect

    shell = shell_of(context)
    with working(shell.screen, "Looking at objects", is_bytes=False) as work:
        swept = collect(
            shell.kept(),
            grace_seconds=grace_seconds,
            results_seconds=results_days * _DAY_SECONDS,
            dry_run=is_dry,
            told=work.told,
        )
    if as_json:
        shell.screen.json(
            {
                "dry_run": is_dry,
                **swept.objects._asdict(),
                "forgotten_count": swept.forgotten_count,
                "abandoned_count": swept.abandoned_count,
            }
        )
    else:
        _show_sweep(shell.screen, swept, is_dry, grace_seconds, results_days)


def _show_sweep(
    screen: Screen, swept: Swept, is_dry: bool, grace_seconds: float, results_days: float
) -> None:
    objects = swept.objects
    removed = counted(objects.removed_count, "object")
    if objects.removed_bytes:
        removed += f" ({size(objects.removed_bytes)})"
    screen.say(f"{'would remove' if is_dry else 'removed'}: {removed} that nothing needs")
    screen.say(f"in use: {counted(objects.kept_count, 'object')}")
    if objects.spared_count:
        screen.say(
            f"left alone: {counted(objects.spared_count, 'object')}, younger than "
            f"{duration(grace_seconds)} or than a run that is at work"
        )
    if swept.forgotten_count:
        screen.say(
            f"{'would forget' if is_dry else 'forgot'}: "
            f"{counted(swept.forgotten_count, 'result')} kept for reuse "
            f"longer than {results_days:g} days"
        )
    if swept.abandoned_count:
        screen.say(f"cleared: {counted(swept.abandoned_count, 'file')} half written")


# Checking


def fsck(
    context: typer.Context,
    repository: Annotated[
        str | None, typer.Argument(metavar="REPO", help="Only what this one needs.")
    ] = None,
    is_all: Annotated[
        bool, typer.Option("--all", help="Objects that nothing refers to, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read everything that is kept, and name what is damaged.

    With the commits, branches and runs that hang on it. Missing is damaged, too. The exit
    code is 1 if anything is.

    \b
    handrail workspace fsck
    handrail workspace fsck songs
    """
    from handrail.upkeep import check_home

    shell = shell_of(context)
    with working(shell.screen, "Reading objects") as work:
        checked = check_home(shell.kept(), repository, is_all=is_all, told=work.told)
    if as_json:
        shell.screen.json({"ok": not checked.damages, **asdict(checked)})
    else:
        for damage in checked.damages:
            _show_damage(shell.screen, damage)
        _show_checked(shell.screen, checked)
    if checked.damages:
        raise typer.Exit(FAILED)


def _show_damage(screen: Screen, damage: Damage) -> None:
    path = f" {visible(damage.path)}" if damage.path else ""
    screen.say(f"{damage.kind}{path} {damage.problem} ({short(damage.digest)})")
    commits = [short(commit) for commit in damage.commits]
    for what, names in (
        ("branches and tags", [name.replace("@tag:", "@") for name in damage.heads]),
        ("commits", commits),
        ("runs", list(damage.runs)),
    ):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            screen.say(f"  {what}: {', '.join(names[:_NAMED])}{more}")


def _show_checked(screen: Screen, checked: Checked) -> None:
    read = (
        f"{counted(checked.commit_count, 'commit')}, {counted(checked.folder_count, 'folder')}, "
        f"{counted(checked.content_count, 'content')}"
    )
    if checked.unreferenced_count:
        read += f", {counted(checked.unreferenced_count, 'object')} that nothing needs"
    found = len(checked.damages)
    verdict = "all of them sound" if not found else f"{counted(found, 'object')} not as stored"
    screen.say(f"{read} ({size(checked.size_bytes)}): {verdict}")
    if found:
        screen.note(
            "Restore them from a copy of the home. Or remove the damaged objects, and import the "
            "repository from a file that was exported before, or run again what made them."
        )
