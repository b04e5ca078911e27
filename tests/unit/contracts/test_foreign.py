from __future__ import annotations

import base64
import dataclasses
import enum
import json
import pickle
import threading
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
from pydantic import BaseModel

from handrail.contracts.foreign import decode_data, encode_data
from handrail.contracts.values import encode
from handrail.errors import NotSerializableError, StoreCorruptError, UnknownClassError
from handrail.testing.channels import VALUES


class Colour(enum.Enum):
    RED = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: int


class Opaque:
    """Has no form as data."""


@dataclasses.dataclass
class Box:
    content: Any


class Note(BaseModel):
    content: Any = None


@pytest.mark.parametrize("value", [*VALUES, Colour.RED, Flags.A | Flags.B, Point(1)], ids=repr)
def test_data_comes_back(value: Any) -> None:
    assert decode_data(encode_data(value, "value"), "value") == value


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (Opaque(), r"a tests\.unit\.contracts\.test_foreign\.Opaque has no form"),
        ({"a": [1, Opaque()]}, r"Opaque \(in \['a'\]\[1\]\) has no form"),
        (threading.Lock(), r"a _thread\.lock has no form"),
        (Box(Opaque()), r"Opaque .*has no form"),
        (Note(content=(1, Opaque())), r"Opaque .*has no form"),
        (lambda: 1, "function has no form"),
        (ValueError("x"), "a ValueError has no form"),
    ],
    ids=["top", "inside", "lock", "dataclass", "model", "function", "error"],
)
def test_what_only_a_pickle_could_keep_is_refused_and_named(value: Any, named: str) -> None:
    with pytest.raises(NotSerializableError, match=f"^Channel key 'a': .*{named}"):
        encode_data(value, "channel key 'a'")


class Trap:
    """Tells when it is unpickled or made."""

    sprung: ClassVar[list[str]] = []

    def __new__(cls, *args: object) -> Trap:
        cls.sprung.append("made")
        return super().__new__(cls)

    def __reduce__(self) -> Any:
        return Trap, ()

    def __class_getitem__(cls, item: object) -> None:
        cls.sprung.append("asked")


def trap(name: str) -> None:
    Trap.sprung.append(name)


HERE = __name__
PICKLE = base64.b64encode(pickle.dumps(Trap())).decode()


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"!": "pickle", "of": f"{HERE}:Trap", "v": PICKLE}),
        json.dumps({"v": PICKLE, "of": "builtins:int", "!": "pickle"}, indent=3),
        json.dumps({"!": "pickle", "of": "x", "v": PICKLE}).replace("!", "\\u0021"),
        json.dumps({"!": "pickle", "of": "x", "v": PICKLE}).replace("pickle", "\\u0070ickle"),
        json.dumps([{"a": {"!": "tuple", "v": [{"!": "pickle", "of": "x", "v": PICKLE}]}}]),
        json.dumps({"!": "datetime", "v": {"!": "pickle", "of": "x", "v": PICKLE}}),
        json.dumps({"!": "model", "of": f"{HERE}:Note", "v": {}, "p": {"a": {"!": "pickle"}}}),
        json.dumps({"!": "flag", "of": f"{HERE}:trap", "v": "called"}),
        json.dumps({"!": "flag", "of": "os:system", "v": "false"}),
        json.dumps({"!": "flag", "of": f"{HERE}:Trap", "v": 1}),
        json.dumps({"!": "flag", "of": f"{HERE}:Colour", "v": 1}),
        json.dumps({"!": "enum", "of": f"{HERE}:Trap", "v": "x"}),
        json.dumps({"!": "model", "of": f"{HERE}:Trap", "v": {}}),
        json.dumps({"!": "dataclass", "of": f"{HERE}:Trap", "v": {}}),
        json.dumps({"!": "namedtuple", "of": f"{HERE}:Trap", "v": []}),
        json.dumps({"!": "dataclass", "of": f"{HERE}:trap", "v": {}}),
        json.dumps({"!": "newer", "v": 1}),
        json.dumps({"!": ["pickle"], "v": 1}),
        json.dumps({"!": None}),
        json.dumps({"!": "model"}),
        json.dumps({"!": "memory", "of": "x", "why": "y"}),
        encode(Opaque()),
        "[" * 100_000,
        "no json",
        "",
    ],
    ids=lambda text: text[:60],
)
def test_what_could_run_code_or_is_no_value_is_refused_untouched(text: str) -> None:
    Trap.sprung.clear()
    with pytest.raises(StoreCorruptError, match=r"^Channel key 'a' cannot be read"):
        decode_data(text, "channel key 'a'")
    assert Trap.sprung == []


def test_a_class_that_is_gone_is_named() -> None:
    text = encode_data(Note(), "value").replace(":Note", ":Gone")
    with pytest.raises(UnknownClassError, match="Gone"):
        decode_data(text, "value")


def test_values_of_other_libraries_are_data_where_they_have_a_codec() -> None:
    numpy = pytest.importorskip("numpy")
    found = decode_data(encode_data({"a": numpy.arange(3)}, "value"), "value")
    assert found["a"].tolist() == [0, 1, 2]
    text = encode_data([numpy.arange(3)], "value").replace("<i8", "|O")
    with pytest.raises(StoreCorruptError):
        decode_data(text, "value")
    inner = json.dumps({"!": "numpy.array", "v": {"!": "pickle", "of": "x", "v": PICKLE}})
    with pytest.raises(StoreCorruptError, match="pickle"):
        decode_data(inner, "value")


def test_paths_are_data() -> None:
    assert decode_data(encode_data([Path("!")], "value"), "value") == [Path("!")]
