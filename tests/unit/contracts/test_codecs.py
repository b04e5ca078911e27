from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest

from handrail.contracts import codecs
from handrail.contracts.codecs import UnknownCodecError, is_codec, register_codec
from handrail.contracts.foreign import decode_data, encode_data
from handrail.contracts.values import decode, encode, storage_of
from handrail.errors import RuntimeConfigError, StoreCorruptError


class Polygon:
    """Could only be pickled, were it not for its codec."""

    def __init__(self, corners: list[tuple[int, int]]) -> None:
        self.corners = corners

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


class Hole(Polygon):
    """More than a polygon."""


@dataclass
class Mark:
    name: str


@pytest.fixture(autouse=True)
def codecs_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_by_type", "_by_name", "_pending"):
        monkeypatch.setattr(codecs, name, dict(getattr(codecs, name)))


def register_polygons(kind: type | str = Polygon) -> None:
    register_codec(kind, "geo.Polygon", lambda found: found.corners, Polygon)


def test_a_value_with_a_codec_is_data() -> None:
    register_polygons()
    text = encode({"area": [Polygon([(0, 0), (1, 2)])]})
    assert storage_of(text) == "data"
    assert json.loads(text)["area"][0]["!"] == "geo.Polygon"
    assert decode(text) == {"area": [Polygon([(0, 0), (1, 2)])]}


def test_a_class_may_be_named_without_importing_it() -> None:
    register_codec("fractions:Fraction", "math.Fraction", str, Fraction)
    assert storage_of(encode(Fraction(1, 3))) == "data"
    assert decode(encode(Fraction(1, 3))) == Fraction(1, 3)


def test_a_class_that_is_not_there_does_not_hide_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    register_codec("fractions:NoSuchThing", "math.Nothing", str, str)
    register_codec("fractions:Fraction", "math.Fraction", str, Fraction)
    assert storage_of(encode(Fraction(1, 3))) == "data"
    assert "there is no fractions:NoSuchThing" in caplog.text


def test_a_codec_is_not_for_subclasses() -> None:
    register_polygons()
    assert storage_of(encode(Hole([(0, 0)]))) == "pickle"
    assert decode(encode(Hole([(0, 0)]))) == Hole([(0, 0)])


def test_a_codec_comes_before_the_form_of_a_dataclass() -> None:
    register_codec(Mark, "geo.Mark", lambda mark: mark.name.upper(), Mark)
    assert decode(encode(Mark("a"))) == Mark("A")


def test_what_a_codec_writes_may_need_codecs_itself() -> None:
    register_codec(deque, "collections.deque", lambda found: [found.maxlen, (*found,)], _deque)
    register_polygons()
    value = deque([Polygon([(1, 1)]), {2}], 5)
    found = decode(encode(value))
    assert found == value
    assert found.maxlen == 5
    assert storage_of(encode(value)) == "data"


def _deque(data: Any) -> deque[Any]:
    return deque(data[1], data[0])


def test_a_later_codec_takes_the_place_of_an_earlier_one() -> None:
    register_polygons()
    register_codec(Polygon, "geo.Polygon", lambda found: [], lambda data: Polygon([(9, 9)]))
    assert decode(encode(Polygon([]))) == Polygon([(9, 9)])


@pytest.mark.parametrize("outcome", [NotImplemented, ValueError("cannot")])
def test_what_a_codec_cannot_write_is_pickled_alone(outcome: Any) -> None:
    def write(found: Polygon) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    register_codec(Polygon, "geo.Polygon", write, Polygon)
    data = json.loads(encode([Polygon([]), {1}]))
    assert [item["!"] for item in data] == ["pickle", "set"]
    assert decode(encode([Polygon([]), {1}])) == [Polygon([]), {1}]


def test_a_value_whose_codec_is_missing_says_what_to_do() -> None:
    with pytest.raises(UnknownCodecError, match=r"codec 'geo.Polygon'.*Import the module") as found:
        decode('{"!":"geo.Polygon","v":[]}')
    assert found.value.reference == "geo.Polygon"


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(codecs._LIBRARIES, "geolib", "handrail_no_such_module")
    codecs._pending["geolib"] = [lambda: __import__("handrail_no_such_module")]
    with pytest.raises(UnknownCodecError, match="No module named 'handrail_no_such_module'"):
        decode('{"!":"geolib.Thing","v":[]}')


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (Polygon, "Polygon", "expected one with a dot"),
        (Polygon, "geo.", "expected one with a dot"),
        (Polygon, "numpy.Polygon", "not beginning with numpy"),
        ("Polygon", "geo.Polygon", "no class or 'module:Class'"),
        (list, "my.list", "have a form of their own"),
        ("datetime:date", "my.date", "have a form of their own"),
    ],
)
def test_a_codec_that_cannot_be_is_refused(kind: Any, name: str, message: str) -> None:
    with pytest.raises(RuntimeConfigError, match=message):
        register_codec(kind, name, str, str)
    assert not is_codec("geo.Polygon")


def test_values_with_codecs_may_be_where_others_write() -> None:
    register_polygons()
    assert decode_data(encode_data(Polygon([(1, 2)]), "key"), "key") == Polygon([(1, 2)])
    with pytest.raises(StoreCorruptError, match=r"unknown kind of value, 'geo.Hole'"):
        decode_data('{"!":"geo.Hole","v":[]}', "key")


def test_no_library_is_imported_for_values_of_others() -> None:
    program = (
        "import sys\n"
        "from handrail.contracts.values import decode, encode\n"
        "from handrail.errors import HandrailError\n"
        "class Thing: pass\n"
        "for value in (None, 1, [(1, {2})], Thing(), Thing):\n"
        "    decode(encode(value))\n"
        "print(*sorted({'numpy', 'pandas', 'polars', 'pyarrow'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
