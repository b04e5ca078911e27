"""The page of the command line names the commands that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from handrail.cli.application import application

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def commands(group: Any, prefix: str = "handrail") -> set[str]:
    """Full names of the commands below `group`; those of groups of commands, too."""
    found: set[str] = set()
    for name, command in group.commands.items():
        found.add(f"{prefix} {name}")
        if hasattr(command, "commands"):
            found |= commands(command, f"{prefix} {name}")
    return found


def named(text: str) -> set[str]:
    """Commands that have a heading or a row of a table."""
    headings = re.findall(r"^### (handrail [a-z ]+)$", text, re.M)
    rows = re.findall(r"^\| `(handrail [a-z]+ [a-z]+)", text, re.M)
    return {*headings, *rows}


def test_every_command_is_on_the_page_and_no_other() -> None:
    assert isinstance(application, typer.Typer)
    assert named(PAGE.read_text("utf-8")) == commands(get_command(application))


def test_every_option_on_the_page_exists() -> None:
    text = PAGE.read_text("utf-8")
    known: set[str] = set()

    def collect(command: Any) -> None:
        for parameter in command.params:
            known.update(parameter.opts)
        for inner in getattr(command, "commands", {}).values():
            collect(inner)

    collect(get_command(application))
    on_page = set(re.findall(r"`(--?[a-z][a-z-]*)", text))
    assert on_page
    assert on_page - known - {"--help"} == set()
