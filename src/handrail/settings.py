"""Settings, read once at the edge into one frozen object and handed down.

Flags come before the environment (`HANDRAIL_HOME`, ...), the environment before a file, the
file before defaults. The file is `handrail.toml`, or the table `[tool.handrail]` of
`pyproject.toml`, in the working folder or the nearest folder above it that has one.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from handrail.errors import RuntimeConfigError

if TYPE_CHECKING:
    from pydantic import SecretStr

_PREFIX = "HANDRAIL_"
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Settings:
    """What may differ from one installation to the next."""

    #: Folder that holds everything Handrail keeps; absolute.
    home: Path
    #: How long a run stays its process's own after that process was last heard of.
    lease_seconds: float = 30.0
    #: Least severe messages that are shown: a level name of `logging`.
    log_level: str = "INFO"
    #: Bodies that run at the same time, per handler; none: each handler decides.
    max_workers: int | None = None
    #: Do standard output and logging of bodies go to the run's log?
    capture_output: bool = True
    #: Is tracking told of runs?
    tracking: bool = True
    #: Watchers that are told of every run: names, or "module:Class".
    watchers: tuple[str, ...] = ()
    #: Where the watcher "webhook" posts to; hidden, since some services put a token into it.
    webhook_url: SecretStr | None = None
    #: What the watcher "webhook" sends as header "Authorization".
    webhook_secret: SecretStr | None = None
    #: Form of what it posts: "json" or "slack".
    webhook_format: str = "json"
    #: Database of runs, ledger and heads: `postgresql://...`, or `sqlite:///` and a path; none:
    #: a file in the home.
    database_url: SecretStr | None = None
    #: Redis server that keeps channels of runs, for tasks on other machines; none: the journal
    #: keeps them. Runs in memory keep theirs in memory.
    channel_url: SecretStr | None = None
    #: Object storage that keeps contents of workspaces, for several machines:
    #: `s3://bucket/prefix`, options of its library behind `?`; none: a folder in the home.
    objects_url: SecretStr | None = None
    #: About how much of what is in the object storage is also kept in the home.
    objects_cache_bytes: int = 10_000_000_000
    #: How files of attempts are made: "overlay", "reflink" or "copies"; none: the best way that
    #: works here.
    checkout: str | None = None
    #: What cached trees for overlay mounts may take in the home; none: 10 GB, or a tenth of the
    #: disk if that is less.
    trees_cache_bytes: int | None = None
    #: LakeFS server that keeps workspaces, such as `https://lakefs.example.com`; none: Handrail
    #: keeps them itself.
    lakefs_url: str | None = None
    #: Who Handrail is there.
    lakefs_access_key: str | None = None
    lakefs_secret_key: SecretStr | None = None
    #: Where LakeFS is to keep the objects of repositories that Handrail makes:
    #: `s3://bucket/prefix`; none: it makes none.
    lakefs_storage: str | None = None
    #: How long a run that did not succeed keeps its channel in Redis.
    channel_keep_seconds: float = 604_800.0
    #: Limits of tasks by tag, as `handrail.contracts.limits` reads them: "api=10/s", "db=2".
    limits: tuple[str, ...] = ()
    #: Variables of the environment that look like settings and are none, sorted.
    unknown: tuple[str, ...] = field(default=(), compare=False, repr=False)
    _origins: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)

    def origin(self, name: str) -> str:
        """Where a value came from: "default", "flag", "environment HANDRAIL_HOME", or a file
        with its folder, "handrail.toml (/data/songs)".

        Raises:
            RuntimeConfigError: there is no such setting.
        """
        if name not in _READERS:
            raise RuntimeConfigError(f"There is no setting {name!r}.{_nearest(name)}")
        return dict(self._origins).get(name, "default")


def load_settings(
    *,
    flags: Mapping[str, Any] = _NOTHING,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Reads the settings.

    Args:
        flags: by setting; None stands for a flag that was not given.
        environment: the process's by default. An empty variable is one that is not set.
        folder: the working folder; the process's by default. Relative paths in flags and in
            the environment start here, those in a file start at the file.

    Raises:
        RuntimeConfigError: a value cannot be, a file holds an unknown setting or cannot be read.
    """
    environment = os.environ if environment is None else environment
    folder = Path(os.path.abspath(folder or Path.cwd()))
    values: dict[str, Any] = {"home": folder / ".handrail"}
    origins: dict[str, str] = {}
    for source in (_from_file(folder), *_from_environment(environment, folder)):
        _take(source, values, origins)
    given = {name: value for name, value in flags.items() if value is not None}
    _take(_Source(_always("flag"), given, folder), values, origins)
    return Settings(
        **values, unknown=_unknown(environment), _origins=tuple(sorted(origins.items()))
    )


class _Source(NamedTuple):
    """Values of one place."""

    #: Names the place of a setting.
    origin: Callable[[str], str]
    values: Mapping[str, Any]
    #: Where relative paths start.
    folder: Path


def _always(origin: str) -> Callable[[str], str]:
    return lambda name: origin


def _take(source: _Source, values: dict[str, Any], origins: dict[str, str]) -> None:
    for name, value in source.values.items():
        origin = source.origin(name)
        if name not in _READERS:
            raise RuntimeConfigError(f"Unknown setting {name!r} from {origin}.{_nearest(name)}")
        reader = _READERS[name]
        try:
            values[name] = reader.read(value, source.folder)
        except (ValueError, TypeError, OverflowError, RuntimeError) as exc:
            found = "cannot be used" if reader.is_secret else f"is {value!r}"
            raise RuntimeConfigError(
                f"Setting '{name}' from {origin} {found}; expected {reader.expected}."
            ) from exc
        origins[name] = origin


# Values, from text or from TOML


class _Reader(NamedTuple):
    read: Callable[[Any, Path], Any]
    expected: str
    #: Must its value not be shown?
    is_secret: bool = False


_WORDS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _path(value: Any, folder: Path) -> Path:
    text = os.fspath(value)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ValueError
    return Path(os.path.abspath(folder / Path(text).expanduser()))


def _seconds(value: Any, folder: Path) -> float:
    if isinstance(value, bool):
        raise TypeError
    seconds = float(value)
    if not 0 < seconds < math.inf:
        raise ValueError
    return seconds


def _level(value: Any, folder: Path) -> str:
    if not isinstance(value, str) or value.strip().upper() not in _LEVELS:
        raise ValueError
    return value.strip().upper()


def _count(value: Any, folder: Path) -> int:
    if isinstance(value, (bool, float)) or int(value) < 1:
        raise ValueError
    return int(value)


def _switch(value: Any, folder: Path) -> bool:
    word = str(value).strip().lower()
    if word not in _WORDS:
        raise ValueError
    return _WORDS[word]


def _names(value: Any, folder: Path) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise TypeError
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _secret(value: Any, folder: Path) -> Any:
    from pydantic import SecretStr  # only where there is a secret: the import takes a while

    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or not text.strip():
        raise ValueError
    return SecretStr(text.strip())


def _database_url(value: Any, folder: Path) -> Any:
    from pydantic import SecretStr

    secret = _secret(value, folder)
    scheme, _, rest = secret.get_secret_value().partition("://")
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return SecretStr(f"sqlite:///{_path(rest[1:], folder)}")
    if scheme not in ("postgresql", "postgres") or not rest:
        raise ValueError
    return secret


def _redis_url(value: Any, folder: Path) -> Any:
    secret = _secret(value, folder)
    scheme, _, rest = secret.get_secret_value().partition("://")
    if scheme not in ("redis", "rediss", "unix") or not rest:
        raise ValueError
    return secret


def _objects_url(value: Any, folder: Path) -> Any:
    secret = _secret(value, folder)
    scheme, _, rest = secret.get_secret_value().partition("://")
    if scheme != "s3" or not rest or rest.startswith(("/", "?")):
        raise ValueError
    return secret


def _text(value: Any, folder: Path) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value.strip()


def _http_url(value: Any, folder: Path) -> str:
    text = _text(value, folder)
    scheme, _, rest = text.partition("://")
    if scheme not in ("http", "https") or not rest or "@" in rest:
        raise ValueError
    return text.rstrip("/")


def _limits(value: Any, folder: Path) -> tuple[str, ...]:
    pairs = [[part.strip() for part in text.split("=")] for text in _limit_texts(value)]
    tags = {tag for tag, *_ in pairs}
    if len(tags) < len(pairs) or not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise ValueError
    return tuple(sorted("=".join(pair) for pair in pairs))


def _limit_texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        if not all(
            isinstance(tag, str) and type(said) in (int, str) for tag, said in value.items()
        ):
            raise TypeError
        return [f"{tag}={said}" for tag, said in value.items()]
    texts = re.split(r"[;\n]", value) if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise TypeError
    return [text for text in texts if text.strip()]


def _checkout(value: Any, folder: Path) -> str:
    if value not in ("overlay", "reflink", "copies"):
        raise ValueError
    return str(value)


def _format(value: Any, folder: Path) -> str:
    if value not in ("json", "slack"):
        raise ValueError
    return str(value)


_SECRET = _Reader(_secret, "a text", is_secret=True)
_SWITCH = _Reader(_switch, "one of true, false, 1, 0, yes, no, on, off")
_READERS = {
    "home": _Reader(_path, "the path of a folder"),
    "lease_seconds": _Reader(_seconds, "a number of seconds larger than 0, such as 30"),
    "log_level": _Reader(_level, f"one of {', '.join(_LEVELS)}"),
    "max_workers": _Reader(_count, "a whole number from 1"),
    "capture_output": _SWITCH,
    "tracking": _SWITCH,
    "watchers": _Reader(_names, "a list of names, such as console"),
    "webhook_url": _SECRET,
    "webhook_secret": _SECRET,
    "webhook_format": _Reader(_format, "json or slack"),
    "database_url": _Reader(
        _database_url,
        "postgresql://user@host:port/database, or sqlite:/// and the path of a file",
        is_secret=True,
    ),
    "channel_url": _Reader(
        _redis_url, "redis://host:port/database, rediss://... or unix:///path", is_secret=True
    ),
    "objects_url": _Reader(
        _objects_url,
        "s3://bucket/prefix",
        is_secret=True,
    ),
    "objects_cache_bytes": _Reader(_count, "a whole number of bytes from 1"),
    "checkout": _Reader(_checkout, "overlay, reflink or copies"),
    "trees_cache_bytes": _Reader(_count, "a whole number of bytes from 1"),
    "lakefs_url": _Reader(_http_url, "http://host:port or https://host"),
    "lakefs_access_key": _Reader(_text, "the name of a key"),
    "lakefs_secret_key": _Reader(_secret, "a text that is not empty", is_secret=True),
    "lakefs_storage": _Reader(_text, "a place such as s3://bucket/prefix"),
    "channel_keep_seconds": _Reader(_seconds, "a number of seconds larger than 0"),
    "limits": _Reader(
        _limits, "a table of limits by tag, such as {db = 2, api = '10/s'}, or 'db=2;api=10/s'"
    ),
}


def _nearest(name: str) -> str:
    found = difflib.get_close_matches(name, _READERS, 1)
    if found:
        return f" Did you mean '{found[0]}'?"
    return f" Known settings: {', '.join(_READERS)}."


# The environment


def _variable(name: str) -> str:
    return f"{_PREFIX}{name.upper()}"


def _from_environment(environment: Mapping[str, str], folder: Path) -> Iterator[_Source]:
    found = {name: environment.get(_variable(name), "") for name in _READERS}
    values = {name: text for name, text in found.items() if text.strip()}
    yield _Source(lambda name: f"environment {_variable(name)}", values, folder)


def _unknown(environment: Iterable[str]) -> tuple[str, ...]:
    known = {_variable(name) for name in _READERS}
    return tuple(sorted(n for n in environment if n.startswith(_PREFIX) and n not in known))


# The file


def _from_file(folder: Path) -> _Source:
    for place in (folder, *folder.parents):
        for name in ("handrail.toml", "pyproject.toml"):
            file = place / name
            values = _table(file)
            if values is not None:
                return _Source(_always(f"{name} ({place})"), values, place)
    return _Source(_always(""), {}, folder)


def _table(file: Path) -> Mapping[str, Any] | None:
    try:
        found = os.stat(file)
        return _parsed(file, found.st_mtime_ns, found.st_size, found.st_ino)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise RuntimeConfigError(f"{file} cannot be read: {exc}") from exc


@lru_cache(maxsize=8)
def _parsed(file: Path, mtime_ns: int, size_bytes: int, inode: int) -> Mapping[str, Any] | None:
    # Settings are loaded at every `workflow.execute()`, so an unchanged file is parsed once.
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    if file.name == "handrail.toml":
        return document
    tool = document.get("tool")
    table = tool.get("handrail") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise RuntimeConfigError(f"{file}: tool.handrail is {table!r}; expected a table.")
    return table
