"""One contender of one case, in a process of its own: `python -m benchmarks.child`."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from benchmarks.case import PEAK_MEMORY
from benchmarks.cases import case_of


def peak_memory_mb() -> float:
    """Most memory that was resident in this process since it began, in MB.

    `VmHWM` of proc(5). Unlike `ru_maxrss`, it does not begin with the parent's.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("/proc/self/status has no VmHWM: benchmarks need Linux")


def main() -> None:
    """Measures and writes the figures, or what is not installed, as JSON to a file."""
    case_name, contender_name, path = sys.argv[1:]
    contender = case_of(case_name).contender(contender_name)
    if contender.needs and importlib.util.find_spec(contender.needs) is None:
        reply: dict[str, object] = {"missing": contender.needs}
    else:
        figures = dict(contender.run())
        figures.setdefault(PEAK_MEMORY, peak_memory_mb())
        reply = {"figures": figures}
    Path(path).write_text(json.dumps(reply))


if __name__ == "__main__":
    main()
