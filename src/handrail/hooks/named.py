"""Watchers by name: the registry's, or `"module:Class"`."""

from __future__ import annotations

import difflib
from typing import Any

from handrail import plug
from handrail.errors import HandrailError, RuntimeConfigError
from handrail.hooks.spec import RunWatcher
from handrail.settings import Settings


def watcher_of(said: Any, settings: Settings) -> RunWatcher:
    """The watcher that a setting, a workflow or a runtime speaks of.

    Args:
        said: a watcher; or a name of `handrail.plug.watchers`; or `"module:attribute"`. A class
            or function that is found there is called: with the settings if it has a method
            `from_settings`, else without arguments.

    Raises:
        RuntimeConfigError: there is none, or it cannot be made.
        NotInstalledError: there is one, and what it needs is not installed.
    """
    found = _found(said) if isinstance(said, str) else said
    if isinstance(found, RunWatcher):
        return found
    made = _made(said, found, settings)
    if not isinstance(made, RunWatcher):
        raise RuntimeConfigError(
            f"{made!r} is no watcher: it is no instance of handrail.RunWatcher."
        )
    return made


def _found(name: str) -> Any:
    try:
        return plug.import_attribute(name) if ":" in name else plug.watchers.get(name)
    except KeyError:
        raise RuntimeConfigError(f"Unknown watcher '{name}'.{_nearest(name)}") from None
    except HandrailError:
        raise
    except Exception as exc:  # importing runs code of others
        raise RuntimeConfigError(
            f"Watcher '{name}' cannot be imported: {type(exc).__name__}: {exc}"
        ) from exc


def _nearest(name: str) -> str:
    known = plug.watchers.names()
    found = difflib.get_close_matches(name, known, 1)
    if found:
        return f" Did you mean '{found[0]}'?"
    return f" Known watchers: {', '.join(known)}; any other is named 'module:Class'."


def _made(said: Any, found: Any, settings: Settings) -> Any:
    make = getattr(found, "from_settings", None)
    try:
        if make is not None:
            return make(settings)
        return found() if callable(found) else found
    except HandrailError:
        raise
    except Exception as exc:  # making runs code of others
        raise RuntimeConfigError(
            f"Watcher {said!r} cannot be made: {type(exc).__name__}: {exc}"
        ) from exc
