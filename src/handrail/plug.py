"""Finds things by name and imports them late.

A registry maps a name to an object or to `"module:attribute"`. Packages add to it by entry
points. "Unknown" and "known but not installed" are two different errors.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from handrail.errors import NotInstalledError


def import_attribute(reference: str) -> Any:
    """The object that `"module:qualified.name"` names.

    Raises:
        ValueError: the reference has no colon.
        ImportError: the module cannot be imported.
        AttributeError: the module has no such name.
    """
    module_name, colon, qualname = reference.partition(":")
    if not colon or not module_name or not qualname:
        raise ValueError(f"expected 'module:name', found {reference!r}")
    found: Any = importlib.import_module(module_name)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


class Registry:
    """Names of one kind of plug.

    Args:
        kind: how messages call such a plug, for example "handler".
        group: entry point group that packages may use, for example "handrail.handlers".
        built_in: `{name: "module:attribute"}`.
        extras: `{name: extra}` for built-in plugs that need one.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        built_in: Mapping[str, str],
        extras: Mapping[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.group = group
        self._named: dict[str, Any] = dict(built_in)
        self._extras = dict(extras or {})
        self._entry_points_read = False

    def register(self, name: str, plug: Any) -> None:
        """Adds or replaces `name`; `plug` is the object or its `"module:attribute"`."""
        self._named[name] = plug

    def unregister(self, name: str) -> None:
        """Forgets `name`; unknown names are ignored."""
        self._named.pop(name, None)

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._read_entry_points()
        return sorted(self._named)

    def __contains__(self, name: str) -> bool:
        if name in self._named:
            return True
        self._read_entry_points()
        return name in self._named

    def get(self, name: str) -> Any:
        """The plug called `name`, imported if need be.

        Raises:
            KeyError: no plug has that name.
            NotInstalledError: it has, but what it needs is not installed.
        """
        if name not in self:
            raise KeyError(name)
        plug = self._named[name]
        if isinstance(plug, str):
            try:
                plug = import_attribute(plug)
            except ImportError as exc:
                if name not in self._extras:
                    raise
                raise NotInstalledError(f"The {self.kind} '{name}'", self._extras[name]) from exc
            self._named[name] = plug
        return plug

    def _read_entry_points(self) -> None:
        if self._entry_points_read:
            return
        self._entry_points_read = True
        for found in entry_points(group=self.group):
            self._named.setdefault(found.name, found.value)


#: Task handlers by the word used as `handler_type`.
handlers = Registry(
    "task handler",
    "handrail.handlers",
    {
        "direct": "handrail.handlers.direct:DirectTaskHandler",
        "process": "handrail.handlers.process:ProcessTaskHandler",
    },
)

#: Watchers of runs by the word used in the setting `watchers`.
watchers = Registry(
    "watcher",
    "handrail.watchers",
    {
        "console": "handrail.plugins.console:ConsoleWatcher",
        "opentelemetry": "handrail.plugins.opentelemetry:OpenTelemetryWatcher",
        "webhook": "handrail.plugins.webhook:WebhookWatcher",
    },
    {"opentelemetry": "otel"},
)


class Slot:
    """A place that an upper floor fills and lower floors may ask.

    `app` fills `runtime` so that `workflow.execute()` and `Watcher()` reach the floors
    above them without importing them.
    """

    def __init__(self, default: str) -> None:
        self._default = default
        self._make: Callable[[], Any] | None = None

    def fill(self, make: Callable[[], Any] | None) -> Callable[[], Any] | None:
        """Sets how the object is made (None: the default again); returns what was set before."""
        before, self._make = self._make, make
        return before

    def __call__(self) -> Any:
        make = self._make
        if make is None:
            make = import_attribute(self._default)
        return make()


#: The runtime that scripts use when they name none.
runtime = Slot("handrail.app:default_runtime")

#: Makes the watcher that shows progress.
progress = Slot("handrail.cli.progress:Progress")
