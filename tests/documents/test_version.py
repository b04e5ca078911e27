from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def changelog_sections() -> list[str]:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    return re.findall(r"^## \[?([^\]\s]+)\]?", text, re.M)


def test_the_changelog_has_the_version_or_says_what_is_unreleased() -> None:
    assert {PROJECT["version"], "Unreleased"} & set(changelog_sections())


def test_the_newest_released_section_is_not_ahead_of_the_version() -> None:
    released = [tuple(map(int, s.split("."))) for s in changelog_sections() if s != "Unreleased"]

    assert all(found <= tuple(map(int, PROJECT["version"].split("."))) for found in released)
    assert released == sorted(released, reverse=True)


def test_the_installed_version_is_that_of_the_project() -> None:
    assert version("handrail") == PROJECT["version"]


def test_the_constraints_name_no_place() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]

    assert pins
    assert all(re.match(r"^[a-z0-9-]+==[\w.]+( ; .*)?$", pin) for pin in pins)
