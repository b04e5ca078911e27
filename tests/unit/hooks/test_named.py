from __future__ import annotations

from typing import Any

import pytest

from handrail import plug
from handrail.errors import NotInstalledError, RuntimeConfigError
from handrail.hooks.named import watcher_of
from handrail.hooks.spec import RunWatcher
from handrail.plugins.console import ConsoleWatcher
from handrail.settings import Settings, load_settings


class Mine(RunWatcher):
    pass


class Configured(RunWatcher):
    """Wants to know the settings."""

    def __init__(self, home: Any) -> None:
        self.home = home

    @classmethod
    def from_settings(cls, settings: Settings) -> Configured:
        return cls(settings.home)


class Broken(RunWatcher):
    def __init__(self) -> None:
        raise OSError("no such device")


THE_ONE = Mine()
NO_WATCHER = {"a": 1}


def function() -> RunWatcher:
    return THE_ONE


def found(said: Any) -> RunWatcher:
    return watcher_of(said, load_settings(environment={}))


def test_a_watcher_stands_for_itself() -> None:
    watcher = Mine()
    assert found(watcher) is watcher


def test_a_built_in_watcher_is_found_by_name() -> None:
    assert type(found("console")) is ConsoleWatcher


@pytest.mark.parametrize("name", ["Mine", "THE_ONE", "function"])
def test_a_class_an_object_or_a_function_of_a_module_is_found(name: str) -> None:
    assert type(found(f"{__name__}:{name}")) is Mine


def test_a_watcher_may_be_made_from_the_settings() -> None:
    made = found(f"{__name__}:Configured")
    assert isinstance(made, Configured)
    assert made.home == load_settings(environment={}).home


def test_a_package_may_add_watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plug.watchers, "_named", {"theirs": f"{__name__}:Mine"})
    assert type(found("theirs")) is Mine


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("consol", "Unknown watcher 'consol'. Did you mean 'console'?"),
        ("zzz", "Known watchers: console, opentelemetry, webhook; any other is named"),
        ("no_such_module:Watcher", "Watcher 'no_such_module:Watcher' cannot be imported: Module"),
        (f"{__name__}:Nobody", "cannot be imported: AttributeError"),
        (f"{__name__}:Broken", "cannot be made: OSError: no such device"),
        (f"{__name__}:NO_WATCHER", "{'a': 1} is no watcher"),
        (object, "is no watcher: it is no instance of handrail.RunWatcher"),
        ("webhook", "has no address. Say where it posts to: HANDRAIL_WEBHOOK_URL"),
    ],
)
def test_what_is_no_watcher_is_refused_with_the_cause(said: Any, message: str) -> None:
    with pytest.raises(RuntimeConfigError) as caught:
        found(said)
    assert message in str(caught.value)


def test_a_library_that_is_missing_is_answered_with_the_command() -> None:
    plugs = plug.Registry("watcher", "none", {"otel": "no_such_module:Watcher"}, {"otel": "otel"})
    with pytest.raises(NotInstalledError, match=r"pip install 'handrail\[otel\]'"):
        plugs.get("otel")
