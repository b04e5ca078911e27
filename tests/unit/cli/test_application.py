from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call

COMMANDS = (
    ("run",),
    ("resume",),
    ("runs",),
    ("show",),
    ("logs",),
    ("graph",),
    ("doctor",),
    ("workspace", "at"),
    ("workspace", "branch"),
    ("workspace", "ls"),
    ("workspace", "log"),
    ("workspace", "diff"),
    ("workspace", "checkout"),
    ("workspace", "cat"),
    ("workspace", "commit"),
    ("workspace", "export"),
    ("workspace", "fsck"),
    ("workspace", "gc"),
    ("workspace", "import"),
    ("workspace", "init"),
    ("workspace", "tag"),
    ("tracking", "executions"),
    ("tracking", "pipelines"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_of_each_command_has_an_example(handrail: Call, words: tuple[str, ...]) -> None:
    shown = handrail(*words, "--help").stdout
    assert f"\n  handrail {' '.join(words)}" in shown


def test_summaries_are_whole(handrail: Call) -> None:
    for words in ((), ("workspace",), ("tracking",)):
        assert "..." not in handrail(*words, "--help").stdout.partition("Commands:")[2]


def test_the_version_is_told(handrail: Call) -> None:
    assert handrail("--version").stdout == f"handrail {version('handrail')}\n"


@pytest.mark.parametrize(
    "words", [("nope",), ("runs", "--nope"), ("show",), ("run", "x", "-i", "y")]
)
def test_wrong_usage_has_exit_code_2(handrail: Call, words: tuple[str, ...]) -> None:
    result = handrail(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


@pytest.mark.parametrize("place", ["before", "behind", "equals"])
def test_global_options_may_stand_anywhere(handrail: Call, tmp_path: Path, place: str) -> None:
    home = str(tmp_path / "other")
    words = {
        "before": ("--home", home, "runs"),
        "behind": ("runs", "--home", home),
        "equals": ("runs", f"--home={home}"),
    }[place]
    assert f"nothing is kept in {home}" in handrail(*words).stderr


def test_words_after_two_dashes_are_no_options(handrail: Call, songs: str) -> None:
    assert "No run '--debug'" in handrail("show", "--", "--debug").stderr


def test_errors_are_one_line_and_with_debug_say_where_they_came_from(
    handrail: Call, songs: str
) -> None:
    assert len(handrail("show", "0000").stderr.splitlines()) == 1
    assert "Traceback" in handrail("--debug", "show", "0000").stderr


def test_a_setting_that_cannot_be_has_exit_code_2(
    handrail: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDRAIL_MAX_WORKERS", "many")
    result = handrail("runs")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: Setting 'max_workers' from environment")
