from __future__ import annotations

import json
import math
from datetime import date
from pathlib import PurePosixPath

from handrail.tracking import ETLResults
from handrail.tracking.metadata import plain, storable_text
from handrail.tracking.wire import ErrorDetail


class ForeignInteger:
    def __index__(self) -> int:
        return 7


def test_metadata_becomes_json_whatever_it_holds() -> None:
    found = plain(
        {
            "path": PurePosixPath("/data/x"),
            "day": date(2024, 1, 31),
            "numbers": (1, 2.5, math.nan, ForeignInteger()),
            3: {"set": {1}},
            "bytes": b"\xff",
            "model": ETLResults(completed_successfully=True),
        }
    )
    assert found["path"] == "/data/x"
    assert found["day"] == "2024-01-31"
    assert found["numbers"] == [1, 2.5, "nan", 7]
    assert found["3"] == {"set": [1]}
    assert found["bytes"] == "b'\\xff'"
    assert found["model"]["completed_successfully"] is True
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_metadata_that_holds_itself_ends_as_text() -> None:
    loop: dict[str, object] = {}
    loop["again"] = loop
    assert "..." in json.dumps(plain(loop))


def test_texts_that_databases_refuse_are_shown_as_escapes() -> None:
    assert storable_text("a\0b\udc80é") == "a\\x00b\\udc80é"
    detail = ErrorDetail(type="OSError", message="no \udc80")
    assert detail.message == "no \\udc80"
