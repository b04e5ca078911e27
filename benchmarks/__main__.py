"""`python -m benchmarks [CASE ...]`: measures, prints a table, compares with peers and floors."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.case import Case
from benchmarks.cases import CASES, case_of
from benchmarks.report import as_json, machine, rows, table, today, updated
from benchmarks.runner import ROOT, Outcome, in_child, run_case

RESULTS = Path(__file__).with_name("RESULTS.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the cases; returns 1 if Handrail itself could not be measured in one of them."""
    options = _options(arguments)
    outcomes = []
    for case in _chosen(options.cases, options.quick):
        outcomes.append(_run(case, options))
        print(f"\n{case.about}\n{table(rows(outcomes[-1:], today()))}\n", flush=True)
    about = f"{machine(ROOT)}. `{_command(options)}`, {today()}."
    if options.json:
        options.json.write_text(json.dumps(as_json(outcomes, about), indent=1) + "\n")
    if options.write:
        order = [case.name for case in CASES]
        RESULTS.write_text(updated(RESULTS.read_text(), rows(outcomes, today()), order, about))
    return 1 if any(outcome.measured[0].problem for outcome in outcomes) else 0


def _run(case: Case, options: argparse.Namespace) -> Outcome:
    return run_case(
        case,
        repeats=1 if options.quick else options.repeats,
        warm_up=not options.quick,
        measure=in_child,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )


def _chosen(names: Sequence[str], quick: bool) -> list[Case]:
    if names:
        return [case_of(name) for name in names]
    return [case for case in CASES if not (quick and case.is_slow)]


def _command(options: argparse.Namespace) -> str:
    quick = " --quick" if options.quick else f" --repeats {options.repeats}"
    return "python -m benchmarks" + quick


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures each case in fresh processes, in turn with its peers and floors.",
        epilog="Cases: " + ", ".join(case.name for case in CASES),
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="all by default")
    parser.add_argument("--repeats", type=_count, default=5, help="rounds of each case (5)")
    parser.add_argument("--quick", action="store_true", help="one round, slow cases left out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round as JSON")
    parser.add_argument("--write", action="store_true", help="update the table in RESULTS.md")
    options = parser.parse_args(arguments)
    unknown = set(options.cases) - {case.name for case in CASES}
    if unknown:
        parser.error(f"no case is called {' or '.join(sorted(unknown))}")
    return options


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError
    return count


if __name__ == "__main__":
    sys.exit(main())
