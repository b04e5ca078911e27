"""Makes the homes of the present release: `python -m tests.corpus.make`.

Each is the folder `.handrail` of one run of `program.py`, packed: one that is over, one that
failed, one that was killed, one that waits for an answer. Homes that are there stay: they are
what earlier code wrote.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from handrail import __version__

HOMES = Path(__file__).parent / "homes"
#: How each home comes about: what goes wrong, and the answer to the question.
KINDS = {
    "finished": ("", "yes"),
    "failed": ("fail", "yes"),
    "crashed": ("crash", None),
    "waiting": ("", None),
}
_RUN = """
import sys
from handrail import Runtime, RunError, load_settings
from tests.corpus import program

home, program.mishap, answer = sys.argv[1:]
runtime = Runtime(load_settings(flags={"home": home}, environment={}))
try:
    runtime.execute(program.everything, inputs=program.INPUTS)
except RunError:
    pass
(record,) = runtime.journal.runs()
if answer:
    runtime.answer(record.run_id, answer)
    try:
        runtime.resume(record.run_id, program.everything)
    except RunError:
        pass
runtime.close()
"""


def make(kind: str, folder: Path) -> Path:
    """Makes a home in `folder` and packs it; returns the pack."""
    mishap, answer = KINDS[kind]
    home = folder / ".handrail"
    command = [sys.executable, "-c", _RUN, str(home), mishap, answer or ""]
    environment = {**os.environ, "LOGNAME": "somebody"}
    subprocess.run(command, check=kind != "crashed", env=environment)
    for name in ("handrail.db", "tracking.db"):
        _clean(home / name)
    pack = HOMES / f"{__version__}-{kind}.zip"
    with zipfile.ZipFile(pack, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(home.rglob("*")):
            # Logs name places of this machine, and attempts' folders its processes.
            relative = path.relative_to(home)
            if path.is_file() and relative.parts[0] not in ("runs", "attempts"):
                entry = zipfile.ZipInfo(str(relative))
                file.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return pack


def _clean(database: Path) -> None:
    """Takes out of a database where it was made, and leaves one file."""
    if not database.exists():
        return
    connection = sqlite3.connect(database)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        for column in connection.execute(f"PRAGMA table_info({table})").fetchall():
            for place, word in ((f" on {os.uname().nodename} ", " on elsewhere "), (_PLACE, "")):
                connection.execute(
                    f"UPDATE {table} SET {column[1]} = replace({column[1]}, ?, ?)"
                    f" WHERE typeof({column[1]}) = 'text'",
                    (place, word),
                )
    connection.commit()
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("VACUUM")
    connection.close()


_PLACE = f"{Path(__file__).resolve().parents[2]}/"


def main() -> None:
    HOMES.mkdir(exist_ok=True)
    for kind in KINDS:
        pack = HOMES / f"{__version__}-{kind}.zip"
        if pack.exists():
            print(f"{pack.name} is there already")
            continue
        with tempfile.TemporaryDirectory() as folder:
            print(f"{make(kind, Path(folder)).name} made")


if __name__ == "__main__":
    main()
