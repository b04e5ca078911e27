from __future__ import annotations

import pytest

from tests.conftest import require


def test_a_service_that_is_there_lets_the_test_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    require(True, "no docker")


@pytest.mark.parametrize("value", [None, "", "0", "false"])
def test_a_missing_service_is_a_skip_at_home(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    if value is not None:
        monkeypatch.setenv("CI", value)

    with pytest.raises(pytest.skip.Exception, match="no docker"):
        require(False, "no docker")


@pytest.mark.parametrize("value", ["true", "TRUE", "1"])
def test_a_missing_service_is_a_failure_in_ci(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", value)

    with pytest.raises(pytest.fail.Exception, match="missing in CI: no docker"):
        require(False, "no docker")
