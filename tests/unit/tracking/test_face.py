from __future__ import annotations

import subprocess
import sys

from handrail import tracking


def test_every_name_of_the_face_is_there_and_listed_once() -> None:
    assert len(set(tracking.__all__)) == len(tracking.__all__)
    for name in tracking.__all__:
        assert getattr(tracking, name) is not None


def test_newer_spellings_name_the_same_classes() -> None:
    assert tracking.ETLResult is tracking.ETLResults
    assert tracking.WatcherContext is tracking.WatcherExecutionContext


def test_tracking_is_usable_alone() -> None:
    program = (
        "import sys, handrail.tracking; "
        "print(*sorted({name.split('.')[1] for name in sys.modules if name[:9] == 'handrail.'}))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.split() == ["errors", "ids", "tracking"], found.stderr
