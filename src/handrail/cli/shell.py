"""What every command has at hand: the screen, the settings, the runtime."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from handrail.cli.output import Screen
from handrail.cli.text import block

if TYPE_CHECKING:
    from handrail.app import Runtime
    from handrail.settings import Settings


class Shell:
    """One call of the command line.

    Args:
        home: the folder given with `--home`.
        is_debugging: show where errors came from.
    """

    def __init__(self, screen: Screen, *, home: Path | None, is_debugging: bool) -> None:
        self.screen = screen
        self._home = home
        self._is_debugging = is_debugging

    @cached_property
    def settings(self) -> Settings:
        """Flags, environment and files, read once."""
        from handrail.settings import load_settings

        return load_settings(flags={"home": self._home})

    @cached_property
    def runtime(self) -> Runtime:
        """Everything kept in the home; the home is made if missing."""
        from handrail.app import Runtime

        return Runtime(self.settings)

    @property
    def has_home(self) -> bool:
        """Is there anything kept yet? What a database of its own keeps needs no home."""
        return self.settings.database_url is not None or (self.settings.home / "format").exists()

    def kept(self) -> Runtime:
        """The runtime over a home that is there already, or over a database of its own.

        Raises:
            StoreError: there is none.
        """
        from handrail.keep.home import Home

        if self.settings.database_url is None:
            Home.open(self.settings.home, create=False)
        return self.runtime

    @property
    def is_debugging(self) -> bool:
        """Was it asked, by flag or setting, where errors came from?"""
        if self._is_debugging or "settings" not in vars(self):
            return self._is_debugging
        return self.settings.log_level == "DEBUG"

    @contextmanager
    def as_default_runtime(self) -> Iterator[Runtime]:
        """Modules that are imported meanwhile run what they run in this runtime."""
        from handrail import plug

        runtime = self.runtime
        before = plug.runtime.fill(lambda: runtime)
        try:
            yield runtime
        finally:
            plug.runtime.fill(before)

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Shows log messages on standard error, from the level that the settings name."""
        root = logging.getLogger()
        handler, level = _ScreenHandler(self.screen), root.level
        root.addHandler(handler)
        root.setLevel(self.settings.log_level)
        try:
            yield
        finally:
            root.setLevel(level)
            root.removeHandler(handler)

    def close(self) -> None:
        """Ends worker processes and closes databases, if any were used."""
        if "runtime" in vars(self):
            self.runtime.close()


class _ScreenHandler(logging.Handler):
    """Writes past `sys.stderr`: what goes there during an attempt counts as printed by it."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._screen.note(block(self.format(record)))
        except Exception:
            self.handleError(record)


def shell_of(context: typer.Context) -> Shell:
    """The shell of a command's context."""
    shell: Any = context.find_object(Shell)
    assert isinstance(shell, Shell)
    return shell
