from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call


def test_lines_are_told_with_time_and_task(handrail: Call, songs: str) -> None:
    shown = handrail("logs", songs).stdout
    assert re.fullmatch(r"\d\d:\d\d:\d\d count \| counting \[bold\]songs\n", shown)


def test_lines_of_one_task_only(handrail: Call, songs: str) -> None:
    assert handrail("logs", songs, "write").stdout == ""
    assert "counting" in handrail("logs", songs, "count").stdout


def test_following_ends_with_the_run(handrail: Call, songs: str) -> None:
    assert "counting" in handrail("logs", "-f", songs).stdout


def test_an_unknown_task_is_refused(handrail: Call, songs: str) -> None:
    assert handrail("logs", songs, "nope").exit_code == 2
