from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from handrail.contracts.values import decode, encode, storage_of
from handrail.errors import StoreError, UnknownClassError


class Row(BaseModel):
    name: str


@dataclass(frozen=True)
class Pair:
    left: int
    right: Row


class Point(NamedTuple):
    x: int
    y: int


class Colour(Enum):
    RED = "r"


class Plain:
    """Has no codec, so it is pickled, by name."""


VALUES = [Row(name="a"), Pair(1, Row(name="b")), Point(1, 2), Colour.RED]


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """A module that this test may change."""
    made = ModuleType("module_of_values")
    sys.modules[made.__name__] = made
    exec(
        "from dataclasses import dataclass\n\n@dataclass\nclass Song:\n    name: str\n\n"
        "class Plain:\n    pass\n",
        vars(made),
    )
    yield made
    del sys.modules[made.__name__]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_objects_of_classes_come_back_the_same(value: Any) -> None:
    text = encode([value])

    assert storage_of(text) == "data"
    assert decode(text) == [value]
    assert type(decode(text)[0]) is type(value)


def test_a_class_that_is_gone_is_named_with_its_module(module: ModuleType) -> None:
    text = encode(module.Song("x"))
    del module.Song

    with pytest.raises(UnknownClassError) as caught:
        decode(text)

    assert isinstance(caught.value, StoreError)
    assert caught.value.reference == "module_of_values:Song"
    assert str(caught.value).startswith(
        "A stored value is a 'Song' of module 'module_of_values', which is not found: "
    )


@pytest.mark.parametrize("kind", ["model", "dataclass", "namedtuple", "enum"])
def test_a_module_that_is_gone_is_named(kind: str) -> None:
    text = json.dumps({"!": kind, "of": "no_such_module:Song", "v": {}})

    with pytest.raises(UnknownClassError, match="'Song' of module 'no_such_module'"):
        decode(text)


def test_a_pickle_whose_class_is_gone_names_it(module: ModuleType) -> None:
    text = encode([module.Plain()])
    assert storage_of(text) == "pickle"
    del module.Plain

    with pytest.raises(UnknownClassError, match="'Plain' of module 'module_of_values'"):
        decode(text)


def test_a_class_of_the_program_itself_is_written_as_main(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", module)
    module.Song.__module__ = "__main__"
    module.__spec__ = None

    text = encode(module.Song("x"))

    assert json.loads(text)["of"] == "__main__:Song"
    assert decode(text) == module.Song("x")


def test_a_class_of_a_program_started_as_a_module_is_written_under_that_name(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", module)
    module.Song.__module__ = "__main__"
    module.__spec__ = ModuleSpec("charts.daily", None)

    text = encode(module.Song("x"))

    assert json.loads(text)["of"] == "charts.daily:Song"
    # And is not imported a second time.
    assert type(decode(text)) is module.Song


def test_a_class_made_in_a_function_is_pickled_and_marked() -> None:
    @dataclass
    class Local:
        name: str

    text = encode(Local("x"))

    assert storage_of(text) == "pickle"
    assert decode(text).name == "x"
