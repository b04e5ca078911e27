"""Runs cases: every measurement in a fresh process, contenders in turn, round by round."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.case import Case, Contender, Figures

ROOT = Path(__file__).resolve().parent.parent
#: Beside the code, so that the disk is the real one; not under version control.
WORK = ROOT / ".benchmarks"
#: An environment of its own for peers, if somebody made one.
PEERS = WORK / "peers" / "bin" / "python"

LIMIT_SECONDS = 600.0


@dataclass
class Measured:
    """What was seen of one contender, round by round."""

    contender: Contender
    rounds: list[Figures] = field(default_factory=list)
    #: Why it was not measured.
    problem: str = ""

    def values(self, figure: str) -> list[float]:
        """The figure in every round; empty if it does not have it."""
        return [figures[figure] for figures in self.rounds if figure in figures]


@dataclass
class Outcome:
    """What was seen of one case."""

    case: Case
    measured: list[Measured]
    #: Load of the machine over the last minute, before and after.
    loads: tuple[float, float] = (0.0, 0.0)

    def ratio(self, figure: str, peer: Measured) -> float | None:
        """Median over rounds of Handrail's value divided by the peer's of the same round."""
        ours, theirs = self.measured[0].values(figure), peer.values(figure)
        if not ours or len(ours) != len(theirs) or not all(theirs):  # a floor may be nothing
            return None
        return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


#: Measures one contender of a case once; or says why it cannot, by `Unmeasured`.
Measure = Callable[[Case, Contender], Figures]


class Unmeasured(Exception):
    """A contender is not installed, or failed."""


def run_case(
    case: Case, *, repeats: int, warm_up: bool, measure: Measure, tell: Callable[[str], None]
) -> Outcome:
    """Measures a case: A B C, A B C, ... after one round that is thrown away.

    A contender that cannot be measured is left out from then on, and the outcome says why.
    """
    measured = [Measured(contender) for contender in case.contenders]
    before = os.getloadavg()[0]
    for number in range(0 if warm_up else 1, repeats + 1):
        tell(f"{case.name}: " + (f"round {number} of {repeats}" if number else "warming up"))
        for one in measured:
            if one.problem:
                continue
            try:
                figures = measure(case, one.contender)
            except Unmeasured as reason:
                one.problem = str(reason)
                continue
            if number:
                one.rounds.append(figures)
    return Outcome(case, measured, (before, os.getloadavg()[0]))


def in_child(case: Case, contender: Contender) -> Figures:
    """Measures in a fresh process, in an empty working folder.

    Raises:
        Unmeasured: what it needs is not installed, or it failed.
    """
    WORK.mkdir(exist_ok=True)
    disk = Path(case.disk) if case.disk else WORK
    if not disk.is_dir():
        raise Unmeasured(f"there is no {disk}")
    with tempfile.TemporaryDirectory(dir=disk, prefix="bench-") as name:
        reply_file = Path(name) / "figures.json"
        folder = Path(name) / "work"
        folder.mkdir()
        command = [interpreter(contender), "-m", "benchmarks.child"]
        try:
            ended = subprocess.run(
                [*command, case.name, contender.name, str(reply_file)],
                cwd=folder,
                env=_environment(contender),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unmeasured(f"not done within {LIMIT_SECONDS:.0f} seconds") from None
        if ended.returncode != 0:
            last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise Unmeasured(f"failed: {last}")
        reply = json.loads(reply_file.read_text())
    if "missing" in reply:
        raise Unmeasured(f"{reply['missing']} is not installed")
    figures: dict[str, float] = reply["figures"]
    return figures


def interpreter(contender: Contender) -> str:
    """Where a contender runs: with Handrail, or with the peers if they live apart."""
    return str(PEERS) if contender.needs and PEERS.exists() else sys.executable


def _environment(contender: Contender) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("HANDRAIL_")}
    return {**kept, "PYTHONPATH": str(ROOT), **contender.environment}
