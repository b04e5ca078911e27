"""A process that publishes until it is killed, and says on its output what was acknowledged.

python writer.py publish HOME URL NUMBER     one task after another, each on the last one's ref
python writer.py compete HOME URL NUMBER     waits for a line, then fights for one branch
python writer.py same HOME URL NUMBER        waits for a line, then tries the same work as others

URL names the journal's database.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from handrail.contracts.event import Event
from handrail.contracts.workspace import BranchName
from handrail.ids import Token
from handrail.keep.base import Acceptance, Accepted, Adopted, Commit, Conflict
from handrail.keep.checkout import Checkout
from handrail.keep.home import Home
from handrail.keep.objects import FileObjects
from handrail.keep.sql import SqlJournal
from handrail.keep.sweep import AttemptFolders
from handrail.keep.trees import Trees

BRANCH = BranchName("songs")
COMPETITIONS = 40


class Writer:
    """One process's handles on a home."""

    def __init__(self, home: Home, url: str, number: int) -> None:
        self.number = number
        self.journal = journal_at(url)  # not the app's: starting it would take most of the time
        self.trees = Trees(FileObjects(home.objects))
        self.folders = AttemptFolders(home.attempts)

    def say(self, *words: object) -> None:
        os.write(1, (" ".join(map(str, words)) + "\n").encode())

    def publish(self) -> None:
        """Checks out, changes, stages and accepts, for ever."""
        step = 0
        while True:
            step += 1
            before = self.journal.head(BRANCH)
            assert before is not None
            key = f"{self.number}-{step}"
            folder = self.folders.create(key, "r1")
            self.journal.begin_attempt("r1", key, Token(1, 1))
            self.journal.append("r1", 1, [Event("task.started", step, key)] * 3)
            self.say("appended", key)
            after = self.stage(folder / "workspace", before, key)
            answer = self.journal.accept(self.acceptance(key, key, before, after))
            assert answer == Accepted(after), answer
            self.say("accepted", key, after)
            self.folders.remove(folder)

    def stage(self, path: Path, before: str, key: str) -> str:
        tree = self.trees.commit(before).tree
        checkout = Checkout.create(self.trees, tree, path)
        (path / f"{self.number}").mkdir(exist_ok=True)
        (path / f"{self.number}" / "last").write_text(key)
        (path / "large").write_bytes(key.encode() * 300_000)
        commit = self.trees.put_commit(Commit(checkout.stage(), (before,), key, 1))
        self.trees.objects.flush()
        return commit

    def compete(self) -> None:
        """Moves the branch by one, each time against the others from the same ref."""
        for step in range(COMPETITIONS):
            before = self.journal.head(BRANCH)
            assert before is not None
            key = f"{self.number}-{step}"
            self.journal.begin_attempt("r1", key, Token(1, 1))
            after = self.trees.put_commit(Commit(self.trees.empty_tree, (before,), key, 1))
            answer = self.journal.accept(self.acceptance(key, key, before, after))
            assert not isinstance(answer, Adopted)
            self.say("lost" if isinstance(answer, Conflict) else "won", before, after)

    def same(self) -> None:
        """Tries the same pieces of work as everybody else, with the same tokens."""
        for step in range(COMPETITIONS):
            adopted = self.journal.begin_attempt("r1", f"work-{step}", Token(1, 1))
            attempt_id = f"{self.number}-{step}"
            answer = adopted or self.journal.accept(
                self.acceptance(f"work-{step}", attempt_id, None, None)
            )
            assert not isinstance(answer, Conflict)
            winner = answer.attempt_id if isinstance(answer, Adopted) else attempt_id
            self.say("won" if isinstance(answer, Accepted) else "adopted", step, winner)

    def acceptance(
        self, key: str, attempt_id: str, before: str | None, after: str | None
    ) -> Acceptance:
        return Acceptance(
            run_id="r1",
            logical_key=key,
            task_id="load",
            attempt_id=attempt_id,
            token=Token(1, 1),
            result=f'"{attempt_id}"',
            branch=BRANCH if after else None,
            input_ref=before,
            output_ref=after,
            events=[Event("task.succeeded", 1, key)],
        )


def journal_at(url: str) -> SqlJournal:
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        from handrail.keep.sqlite import SqliteJournal

        return SqliteJournal(Path(rest[1:]))
    from handrail.keep.postgres import PostgresJournal

    return PostgresJournal(url)


def main() -> None:
    mode, home, url, number = sys.argv[1:]
    writer = Writer(Home.open(Path(home)), url, int(number))
    writer.say("ready")
    if mode != "publish":
        sys.stdin.readline()
    {"publish": writer.publish, "compete": writer.compete, "same": writer.same}[mode]()


if __name__ == "__main__":
    main()
