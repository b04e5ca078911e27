"""Lets text that is printed during a live picture appear above it."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text


class Above:
    """Stands in for `sys.stdout` and `sys.stderr` where they are terminals, from `start` to `stop`.

    Whole lines go to the console, which draws them above what is live.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._streams: list[tuple[str, _Lines]] = []

    def start(self) -> None:
        """Takes the place of the streams."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and stream.isatty():
                lines = _Lines(self._console, stream)
                self._streams.append((name, lines))
                setattr(sys, name, lines)

    def stop(self) -> None:
        """Gives the streams back, where no one else has taken them meanwhile."""
        while self._streams:
            name, lines = self._streams.pop()
            lines.finish()
            if getattr(sys, name) is lines:
                setattr(sys, name, lines.stream)


class _Lines(io.TextIOBase):
    def __init__(self, console: Console, stream: TextIO) -> None:
        self.stream = stream
        self._console = console
        self._lock = threading.Lock()
        self._partial = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self._lock:
            lines, newline, rest = (self._partial + text).rpartition("\n")
            self._partial = rest
        if newline:
            self._print(lines)
        return len(text)

    def finish(self) -> None:
        with self._lock:
            rest, self._partial = self._partial, ""
        if rest:
            self._print(rest)

    def _print(self, lines: str) -> None:
        # Colours are kept; what moves the cursor would tear the picture and is dropped.
        self._console.print(Text.from_ansi(lines), soft_wrap=True)

    def flush(self) -> None:
        """Does nothing: whole lines are shown at once, and parts of lines cannot be."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return True
