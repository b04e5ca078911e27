"""The folder that holds everything Handrail keeps on this machine."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from handrail.errors import StoreCorruptError, StoreError, StoreVersionError
from handrail.keep.faults import storage_faults

#: Layout of the folder that this release writes.
FORMAT = 1

_FOLDERS = ("objects", "attempts", "runs")
_TEMPORARY = ".format-"


@dataclass(frozen=True, slots=True)
class Home:
    """A folder, by default `.handrail/`, private to its user:

    ```
    format          the number of this layout
    .gitignore      keeps all of it out of version control
    handrail.db     journal, ledger and heads
    tracking.db     tracking
    objects/        contents of files, trees and commits, by SHA-256
    cache/          what this machine has of the contents in an object storage
    attempts/       working folders of attempts in progress
    trees/          stored folders as files, for attempts that see them through a mount
    runs/           one folder per run: logs
    ```
    """

    path: Path

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Home:
        """Opens the home at `path` itself, and makes it if there is none and `create` is true.

        Raises:
            StoreVersionError: a newer Handrail made it.
            StoreCorruptError: its `format` file cannot be understood.
            StoreReadOnlyError: it has to be made and its parent may not be written.
            StoreFullError: it has to be made and there is no space.
            StoreError: there is none, or the folder holds something else.
        """
        home = cls(Path(os.path.abspath(path)))
        with storage_faults(home.path):
            if not home._check_format():
                home._make(create)
        return home

    @property
    def database(self) -> Path:
        """Journal, ledger and heads."""
        return self.path / "handrail.db"

    @property
    def tracking_database(self) -> Path:
        """Executions, metrics and lineage."""
        return self.path / "tracking.db"

    @property
    def objects(self) -> Path:
        """Contents by digest."""
        return self.path / "objects"

    @property
    def cache(self) -> Path:
        """Contents that are elsewhere, too; can be removed when nothing runs."""
        return self.path / "cache"

    @property
    def attempts(self) -> Path:
        """Working folders of attempts in progress."""
        return self.path / "attempts"

    @property
    def trees(self) -> Path:
        """Stored folders as files; can be removed when nothing runs."""
        return self.path / "trees"

    @property
    def runs(self) -> Path:
        """One folder per run."""
        return self.path / "runs"

    @property
    def _format(self) -> Path:
        return self.path / "format"

    def run_log(self, run_id: str) -> Path:
        """The log of one run; not there if it never printed anything."""
        return self.runs / run_id / "log.jsonl"

    def _check_format(self) -> bool:
        try:
            content = self._format.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except IsADirectoryError:
            content = b"a folder"
        text = content[:40].strip()
        if not text.isdigit() or int(text) < 1:
            raise StoreCorruptError(
                f"{self._format} holds {text!r} where a number is expected. "
                f"Restore it from a copy, or move {self.path} away to start afresh."
            )
        if int(text) > FORMAT:
            raise StoreVersionError(str(self.path), int(text), FORMAT)
        return True

    def _make(self, create: bool) -> None:
        if not create:
            raise StoreError(
                f"No Handrail home at {self.path}. Run a workflow there first, "
                f"or set HANDRAIL_HOME to the folder that has it."
            )
        self._check_ours()
        missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)
        if self.path.stat().st_uid == os.geteuid():
            self.path.chmod(0o700)
        for name in _FOLDERS:
            (self.path / name).mkdir(mode=0o700, exist_ok=True)
        self._write(".gitignore", "*\n")
        # Last, and by renaming: whoever sees it sees a complete home, and of two processes
        # that make the home at once both write the same.
        self._write("format", f"{FORMAT}\n")
        # Nothing is kept here before a power cut would leave a home: one without its `format`,
        # or with an empty one, would be refused with all that it holds.
        for folder in {self.path, self.path.parent, *(path.parent for path in missing)}:
            _sync(folder)

    def _check_ours(self) -> None:
        """A home is never made among somebody's files, which it would hide from git."""
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file. Set HANDRAIL_HOME to a folder.")
        names = {entry.name for entry in os.scandir(self.path)} if self.path.exists() else set()
        foreign = sorted(
            name
            for name in names - {*_FOLDERS, ".gitignore", "format"}
            if not name.startswith(_TEMPORARY)
        )
        if foreign:
            raise StoreError(
                f"{self.path} holds other files ({', '.join(foreign[:3])}) and no Handrail home. "
                f"Set HANDRAIL_HOME to an empty or a missing folder."
            )

    def _write(self, name: str, text: str) -> None:
        number, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=self.path)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(number)
            os.rename(temporary, self.path / name)
        except BaseException:
            os.unlink(temporary)
            raise


def _sync(folder: Path) -> None:
    """Brings the names in a folder to the disk."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        # A folder above the home that may be written and not read: its owner's affair.
        return
    try:
        os.fsync(number)
    finally:
        os.close(number)
