"""Prints the counts of a JUnit report on one line: `412 passed, 0 failed, 3 skipped`."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path


def count(report: Path) -> Counter[str]:
    """Tests by outcome. An error in a fixture is a failure; no report means no test ran."""
    if not report.is_file() or not report.stat().st_size:
        return Counter()
    totals: Counter[str] = Counter()
    for suite in ElementTree.parse(report).iter("testsuite"):
        numbers = {name: int(suite.get(name, "0")) for name in ("tests", "skipped")}
        failed = int(suite.get("failures", "0")) + int(suite.get("errors", "0"))
        totals["failed"] += failed
        totals["skipped"] += numbers["skipped"]
        totals["passed"] += numbers["tests"] - numbers["skipped"] - failed
    return totals


def line(totals: Counter[str]) -> str:
    """The counts as text; skipped ones are told when there are any."""
    text = f"{totals['passed']} passed, {totals['failed']} failed"
    return f"{text}, {totals['skipped']} skipped" if totals["skipped"] else text


if __name__ == "__main__":
    print(line(count(Path(sys.argv[1]))))
