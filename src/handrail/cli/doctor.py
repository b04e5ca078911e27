"""`handrail doctor`: what is here, what works, what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import groupby, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from handrail.cli.output import Screen
from handrail.cli.shell import Shell, shell_of
from handrail.cli.text import counted, first_line, size, visible

if TYPE_CHECKING:
    from handrail.settings import Settings

#: How long the size of the home is added up (seconds).
_PATIENCE_SECONDS = 2.0
#: Less free space than this is told (bytes).
_LITTLE_SPACE = 1_000_000_000

_MARKS = {
    "ok": ("✓", "green"),
    "warning": ("!", "yellow"),
    "broken": ("✗", "bold red"),
    "missing": ("-", "dim"),
    "info": (" ", ""),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    section: str
    name: str
    value: str
    #: "ok", "warning", "broken", "missing" (may be installed), or "info".
    verdict: str = "info"


def add_to(application: typer.Typer) -> None:
    """Adds the command."""
    application.command("doctor")(doctor)


def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Check this installation and the home.

    The exit code is 1 if something is broken.

    \b
    handrail doctor
    """
    shell = shell_of(context)
    findings = list(_findings(shell))
    is_broken = any(finding.verdict == "broken" for finding in findings)
    if as_json:
        shell.screen.json({"ok": not is_broken, "findings": [asdict(f) for f in findings]})
    else:
        _show(shell.screen, findings)
    if is_broken:
        raise typer.Exit(1)


def _findings(shell: Shell) -> Iterator[Finding]:
    from handrail.errors import HandrailError

    yield from _installation()
    try:
        settings = shell.settings
    except HandrailError as error:
        yield Finding("settings", "settings", str(error), "broken")
        return
    yield from _settings(settings)
    yield from _home(settings.home, settings.checkout)
    if settings.objects_url is not None:
        yield from _guarded("journal", "objects", lambda: [_objects(settings)])
    if shell.has_home:
        yield from _guarded("journal", "runs", lambda: _runs(shell))
        for name in ("handrail.db", "tracking.db"):
            yield from _guarded("journal", name, partial(_database, settings.home / name))
    if (settings.home / "format").exists():
        yield from _guarded("journal", "attempts", lambda: _attempts(shell))
    yield from _handlers()


def _guarded(section: str, name: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    from handrail.errors import HandrailError

    try:
        return look()
    except (HandrailError, OSError, sqlite3.Error) as error:
        return [Finding(section, name, str(error), "broken")]


# What is looked at


def _installation() -> Iterator[Finding]:
    from importlib.metadata import version

    section = "installation"
    yield Finding(section, "handrail", version("handrail"))
    yield Finding(section, "python", f"{platform.python_version()} ({sys.executable})")
    yield Finding(section, "platform", platform.platform())
    yield Finding(section, "sqlite", sqlite3.sqlite_version)


def _settings(settings: Settings) -> Iterator[Finding]:
    for each in fields(settings):
        if each.compare:
            value = getattr(settings, each.name)
            origin = settings.origin(each.name)
            yield Finding("settings", each.name, f"{_spelt(value)}  ({origin})")
    for name in settings.unknown:
        yield Finding("settings", name, "no such setting; it has no effect", "warning")


def _spelt(value: Any) -> str:
    if value is None or value == ():
        return "not set"
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _home(path: Path, only: str | None) -> Iterator[Finding]:
    from handrail.errors import HandrailError
    from handrail.keep.home import FORMAT, Home

    section = "home"
    if not (path / "format").exists():
        yield Finding(section, "folder", f"{path} is not there yet; the first run makes it")
        parent = next(folder for folder in path.parents if folder.exists())
        yield _writable(parent)
        yield _free_space(parent)
        return
    try:
        Home.open(path, create=False)
    except HandrailError as error:
        yield Finding(section, "folder", str(error), "broken")
        return
    yield Finding(section, "folder", f"{path}, format {FORMAT}", "ok")
    yield _writable(path)
    yield _free_space(path)
    yield Finding(section, "size", _size_of(path))
    yield from _guarded(section, "sqlite in it", lambda: [_write_ahead_log(path)])
    yield from _guarded(section, "checkout", lambda: [_checkout(path, only)])


def _writable(folder: Path) -> Finding:
    if os.access(folder, os.W_OK | os.X_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY:
        return Finding("home", "writable", "yes", "ok")
    return Finding("home", "writable", f"no: {folder} may not be written", "broken")


def _free_space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    verdict = "ok" if free >= _LITTLE_SPACE else "warning"
    return Finding("home", "free space", size(free), verdict)


def _size_of(folder: Path) -> str:
    until = time.monotonic() + _PATIENCE_SECONDS
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:  # gone meanwhile
                continue
        if time.monotonic() > until:
            return f"more than {size(total)}"
    return size(total)


def _write_ahead_log(home: Path) -> Finding:
    name = "sqlite in it"
    if not os.access(home, os.W_OK):
        return Finding("home", name, "not tried: the folder may not be written", "warning")
    with tempfile.TemporaryDirectory(dir=home, prefix=".doctor-") as folder:
        connection = sqlite3.connect(Path(folder) / "try.db")
        try:
            mode = connection.execute("PRAGMA journal_mode = wal").fetchone()[0]
            connection.execute("CREATE TABLE t (x)")
        finally:
            connection.close()
    if mode == "wal":
        return Finding("home", name, "write-ahead logging works", "ok")
    return Finding(
        "home", name, "no write-ahead logging here; put the home on a local disk", "broken"
    )


def _checkout(home: Path, only: str | None) -> Finding:
    """How files of attempts are made, and why not in a better way."""
    from handrail.keep.home import Home
    from handrail.keep.tree_cache import TreeCache
    from handrail.keep.ways import Ways

    if not os.access(home, os.W_OK):
        return Finding("home", "checkout", "not tried: the folder may not be written", "warning")
    places = Home(home)
    ways = Ways(places.attempts, TreeCache(places.trees), only=only)
    better = takewhile(lambda way: way.problem is not None, ways.report())
    against = [f"not by {way.name}: {way.problem}" for way in better]
    return Finding("home", "checkout", "; ".join([f"by {ways.best}", *against]), "ok")


def _runs(shell: Shell) -> list[Finding]:
    runtime = shell.kept()
    records = runtime.journal.runs(limit=1 << 31)
    counts = Counter(runtime.state_of(record) for record in records)
    states = ", ".join(f"{count:,} {state}" for state, count in counts.most_common())
    findings = [Finding("journal", "runs", states or "none", "ok")]
    if runtime.settings.database_url is not None:
        where = f"{runtime.journal.place}, {runtime.journal.product}"
        findings.insert(0, Finding("journal", "database", where, "ok"))
    if counts["crashed"]:
        text = f"{counted(counts['crashed'], 'run')} crashed; continue with: handrail resume"
        findings.append(Finding("journal", "crashed", text, "warning"))
    return findings


def _objects(settings: Settings) -> Finding:
    from handrail.keep.bucket import Bucket

    assert settings.objects_url is not None
    bucket = Bucket.at(settings.objects_url.get_secret_value())
    began = time.perf_counter()
    was_used = bucket.check(create=False)
    took = f"answers in {(time.perf_counter() - began) * 1000:.0f} ms"
    what = took if was_used else f"{took}; nothing was stored there yet"
    return Finding("journal", "objects", f"{bucket.place}, {what}", "ok")


def _database(path: Path) -> list[Finding]:
    if not path.exists():
        return []
    # Where the folder may not be written, SQLite cannot make the files beside the database that
    # it reads a write-ahead log through, and reads it only as one that nobody changes meanwhile.
    how = "mode=ro" if os.access(path.parent, os.W_OK) else "immutable=1"
    connection = sqlite3.connect(f"{path.as_uri()}?{how}", uri=True)
    try:
        told = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    finally:
        connection.close()
    if told == ["ok"]:
        return [Finding("journal", path.name, "sound", "ok")]
    return [Finding("journal", path.name, f"damaged: {first_line(told[0])}", "broken")]


def _attempts(shell: Shell) -> list[Finding]:
    from handrail.keep.owner import process_is_gone

    folders = shell.kept().folders
    root = folders.root
    now = time.time_ns() // 1_000_000
    found = [folder for folder in root.iterdir() if folder.is_dir()] if root.exists() else []
    abandoned = 0
    for folder in found:
        mark = folders.mark(folder)
        gone = process_is_gone(mark.owner) if mark is not None else True
        abandoned += gone is True or (gone is None and mark is not None and mark.expires_at <= now)
    if not abandoned:
        return [Finding("journal", "attempts", f"{len(found):,} at work, none abandoned", "ok")]
    text = f"{abandoned:,} of {counted(len(found), 'folder')} abandoned; the next run clears them"
    return [Finding("journal", "attempts", text, "warning")]


def _handlers() -> Iterator[Finding]:
    from handrail import plug
    from handrail.errors import NotInstalledError

    for name in plug.handlers.names():
        try:
            plug.handlers.get(name)
        except NotInstalledError as error:
            yield Finding("handlers", name, f"not installed: {_command(error)}", "missing")
        except Exception as error:
            # A plug is anybody's code, and whatever it raises is what is told here.
            text = f"cannot be loaded: {type(error).__name__}: {first_line(str(error))}"
            yield Finding("handlers", name, text, "broken")
        else:
            yield Finding("handlers", name, "installed", "ok")


def _command(error: Any) -> str:
    return f"pip install 'handrail[{error.extra}]'"


# Showing


def _show(screen: Screen, findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for section, group in groupby(findings, key=lambda finding: finding.section):
        screen.say(Text(section, "bold"))
        for finding in group:
            mark, style = _MARKS[finding.verdict]
            line = Text(f"  {mark} ", style).append(f"{finding.name:<{width}}  ", "dim")
            screen.say(line.append(visible(finding.value), style or "not dim"))
