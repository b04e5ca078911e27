"""Where repositories are, as people write it.

| written | means |
|---|---|
| nothing | the home and the database that the settings name |
| `data/.handrail`, or the folder it is in | that home, with all it needs in it |
| `postgresql://...`, `sqlite:///...` | the home of the settings, with that database |
| `handrail://songs` | repository `songs` of the settings' home |
| any of the first three with `#songs` behind | repository `songs` there |

A file is `handrail://REPOSITORY@REF/PATH`. In REF a slash is written `%2F`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from handrail.errors import RuntimeConfigError

SCHEME = "handrail"
_DATABASES = ("postgresql", "postgres", "sqlite")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a repository is; what is not said is left to the settings."""

    home: Path | None = None
    database_url: str | None = None
    repository: str | None = None

    @classmethod
    def parse(cls, text: str | os.PathLike[str] | None) -> Place:
        """Reads what is on top of this module.

        Raises:
            RuntimeConfigError: it is a URL of another kind.
        """
        if text is None:
            return cls()
        if not isinstance(text, str):
            return cls(home=_home(Path(text)))
        front, mark, name = text.rpartition("#")
        if mark and not os.path.exists(text):
            return replace(cls.parse(front or None), repository=name or None)
        scheme, colon, rest = text.partition("://")
        if not colon:
            return cls(home=_home(Path(text)))
        if scheme == SCHEME:
            return cls(repository=rest.partition("/")[0].partition("@")[0] or None)
        if scheme == "file":
            return cls(home=_home(Path(unquote(urlsplit(text).path))))
        if scheme in _DATABASES:
            return cls(database_url=text)
        raise RuntimeConfigError(
            f"'{scheme}://' is no place of repositories. Name a home folder, "
            f"handrail://REPOSITORY, or a database: postgresql://... or sqlite:///..."
        )


@dataclass(frozen=True, slots=True)
class FilePlace:
    """What `handrail://REPOSITORY@REF/PATH` names; parts that are missing are empty."""

    repository: str
    ref: str
    path: str

    @classmethod
    def parse(cls, url: str) -> FilePlace:
        """Reads such a URL, with or without `handrail://`.

        Raises:
            RuntimeConfigError: it has a path and does not say of which ref.
        """
        text = url.removeprefix(f"{SCHEME}://").lstrip("/")
        front, at, rest = text.partition("@")
        if not at:
            if "/" in front.rstrip("/"):
                repository, _, path = front.partition("/")
                raise RuntimeConfigError(
                    f"{SCHEME}://{text} does not say which commit. Write a branch, a tag or a "
                    f"commit behind '@': {SCHEME}://{repository}@main/{path}"
                )
            return cls(front.rstrip("/"), "", "")
        ref, _, path = rest.partition("/")
        return cls(front, unquote(ref), path.strip("/"))


def _home(path: Path) -> Path:
    """The home that a path means: itself, or the `.handrail` in it."""
    path = Path(os.path.abspath(path.expanduser()))
    inner = path / ".handrail"
    if not (path / "format").exists() and (inner / "format").exists():
        return inner
    return path
