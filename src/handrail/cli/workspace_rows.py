"""Files, commits and changes as rows of a table and as data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from handrail.cli.output import Column, Screen
from handrail.cli.text import counted, first_line, moment, size, visible

if TYPE_CHECKING:
    from handrail.app import Runtime
    from handrail.keep.base import Change, Commit, TreeEntry
    from handrail.keep.repository import Repository

#: Digits of a commit id that are shown to people.
SHORT_REF = 12

CHANGES = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}

RepositoryAt = Annotated[
    str,
    typer.Argument(
        metavar="REPO", help="Or REPO@REF: a branch (main), a tag, a commit, or its start."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]

_COMMIT_COLUMNS = (
    Column("commit", style="yellow"),
    Column("at"),
    Column("message", gives_way=True),
    Column("user", style="dim"),
    Column("attempt", gives_way=True, style="dim"),
    Column("task", gives_way=True, style="dim"),
    Column("input", style="dim"),
)
_FILE_COLUMNS = (Column("mode", style="dim"), Column("size", is_right=True), Column("path"))


def opened(runtime: Runtime, text: str) -> tuple[Repository, str]:
    """The repository and the ref that `REPO` or `REPO@REF` means."""
    name, _, ref = text.partition("@")
    return runtime.repository(name), ref or "main"


def short(ref: str | None) -> str:
    """The beginning of a commit id."""
    return (ref or "")[:SHORT_REF]


# Files


def show_files(screen: Screen, entries: list[tuple[str, TreeEntry]], where: str) -> None:
    """A table of files, or a note that there are none."""
    if entries:
        screen.table(_FILE_COLUMNS, [_entry_row(path, entry) for path, entry in entries])
    else:
        screen.note(f"No files in {where}.")


def files_data(entries: list[tuple[str, TreeEntry]]) -> list[dict[str, Any]]:
    """Files for programs."""
    return [{"path": path, **_entry_data(entry)} for path, entry in entries]


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


# Commits


def show_commits(screen: Screen, commits: list[tuple[str, Commit]]) -> None:
    """A table of commits."""
    screen.table(_COMMIT_COLUMNS, [_commit_row(ref, commit) for ref, commit in commits])


def commit_data(ref: str, commit: Commit) -> dict[str, Any]:
    """A commit for programs; times are milliseconds since 1970, UTC."""
    return {
        "commit": ref,
        "parents": list(commit.parents),
        "message": commit.message,
        "at": commit.at,
        "made_by": commit.made_by,
    }


def _commit_row(ref: str, commit: Commit) -> tuple[str, ...]:
    made_by = commit.made_by
    return (
        short(ref),
        moment(commit.at) if commit.at else "",
        first_line(commit.message),
        made_by.get("user", ""),
        made_by.get("attempt") or made_by.get("run", ""),
        made_by.get("task", ""),
        short(made_by.get("input_ref")),
    )


# Changes


def change_data(change: Change) -> dict[str, Any]:
    """A change for programs."""
    return {
        "kind": change.kind,
        "path": change.path,
        "before": _entry_data(change.before) if change.before else None,
        "after": _entry_data(change.after) if change.after else None,
    }


def show_change(screen: Screen, change: Change) -> None:
    """A line for a file that differs."""
    mark, style = CHANGES[change.kind]
    sizes = [size(entry.size_bytes) for entry in (change.before, change.after) if entry]
    line = Text(f"{mark} {visible(change.path)}", style)
    screen.say(line.append(f"  {' → '.join(dict.fromkeys(sizes))}", "dim"))


def summed(changes: Iterable[Change]) -> str:
    """`3 files: 1 added, 1 removed, 1 changed; +12 B`"""
    counts = dict.fromkeys(CHANGES, 0)
    grown = 0
    for change in changes:
        counts[change.kind] += 1
        grown += change.after.size_bytes if change.after else 0
        grown -= change.before.size_bytes if change.before else 0
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    sign = "-" if grown < 0 else "+"
    total = counted(sum(counts.values()), "file")
    return f"{total}: {kinds}; {sign}{size(abs(grown))}"
