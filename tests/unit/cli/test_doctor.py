from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from handrail import plug
from handrail.app import Runtime

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Call


def _findings(handrail: Call) -> tuple[bool, dict[str, Any]]:
    report = json.loads(handrail("doctor", "--json").stdout)
    return report["ok"], {finding["name"]: finding for finding in report["findings"]}


def test_a_sound_home_is_told_with_its_settings(handrail: Call, songs: str, home: Path) -> None:
    result = handrail("doctor")
    assert result.exit_code == 0
    is_ok, findings = _findings(handrail)
    assert is_ok
    assert findings["home"]["value"] == f"{home}  (environment HANDRAIL_HOME)"
    assert findings["lease_seconds"]["value"] == "30.0  (default)"
    assert findings["sqlite in it"]["value"] == "write-ahead logging works"
    assert findings["checkout"]["value"].startswith(("by overlay", "by reflink", "by copies"))
    assert findings["runs"]["value"] == "1 succeeded"
    assert findings["handrail.db"]["value"] == "sound"
    assert findings["direct"]["verdict"] == "ok"
    assert not [name for name in os.listdir(home) if name.startswith(".doctor")]


def test_a_home_that_is_not_there_yet_is_fine(handrail: Call, home: Path) -> None:
    home.rmdir()
    result = handrail("doctor")
    assert result.exit_code == 0
    assert "not there yet" in result.stdout
    assert not home.exists()


def test_a_database_elsewhere_is_told_without_making_a_home(
    handrail: Call, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    home.rmdir()
    monkeypatch.setenv("HANDRAIL_DATABASE_URL", f"sqlite:///{home.parent}/elsewhere.db")
    is_ok, findings = _findings(handrail)
    assert is_ok
    assert findings["database"]["value"].startswith(f"{home.parent}, SQLite 3.")
    assert not home.exists()


def test_a_damaged_database_is_broken(handrail: Call, runtime: Runtime, songs: str) -> None:
    runtime.close()
    runtime.home.database.write_bytes(b"no database" * 1000)
    assert handrail("doctor").exit_code == 1
    is_ok, findings = _findings(handrail)
    assert not is_ok
    assert findings["handrail.db"]["verdict"] == "broken"


def test_a_format_of_a_newer_release_is_broken(
    handrail: Call, runtime: Runtime, songs: str, home: Path
) -> None:
    (home / "format").write_text("99\n")
    result = handrail("doctor")
    assert result.exit_code == 1
    assert "has format 99" in result.stdout


def test_an_unknown_variable_is_warned_of(
    handrail: Call, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("HANDRAIL_HOEM", "/x")
    is_ok, findings = _findings(handrail)
    assert is_ok
    assert findings["HANDRAIL_HOEM"]["verdict"] == "warning"


def test_a_setting_that_cannot_be_is_broken(
    handrail: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDRAIL_LEASE_SECONDS", "soon")
    result = handrail("doctor")
    assert result.exit_code == 1
    assert "HANDRAIL_LEASE_SECONDS" in result.stdout


def test_a_handler_that_cannot_be_loaded_is_broken(handrail: Call, home: Path) -> None:
    plug.handlers.register("odd", "handrail.no_such_module:Handler")
    try:
        is_ok, findings = _findings(handrail)
    finally:
        plug.handlers.unregister("odd")
    assert not is_ok
    assert "No module named" in findings["odd"]["value"]


def test_abandoned_attempts_are_counted(handrail: Call, runtime: Runtime, songs: str) -> None:
    (runtime.home.attempts / "left").mkdir()
    _, findings = _findings(handrail)
    assert findings["attempts"]["value"] == "1 of 1 folder abandoned; the next run clears them"
