from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import pathlib
import re
import threading
import uuid
import zoneinfo
from collections import OrderedDict, defaultdict, deque
from typing import Any, Generic, NamedTuple, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, RootModel, computed_field

from handrail.contracts.values import InMemoryOnly, decode, encode, storage_of

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "r"
    ROUGE = "r"  # noqa: PIE796 - an alias
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    label: str = ""


@dataclasses.dataclass
class Song:
    title: str
    tags: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    at: tuple[int, ...]


@dataclasses.dataclass
class Counted:
    """Its constructor changes what it is given, and adds what is no field."""

    count: int
    start: dataclasses.InitVar[int] = 0
    seen: int = dataclasses.field(init=False, default=0)

    def __post_init__(self, start: int) -> None:
        self.count += 10 + start
        self.seen = 5
        self.cache = {"a": 1}


@dataclasses.dataclass
class Several(list[int]):
    name: str = ""


class Track(BaseModel):
    title: str = Field(alias="Title")
    seconds: float = 0.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def minutes(self) -> float:
        return self.seconds / 60


class Tree(BaseModel):
    name: str
    children: list[Tree] = []
    marks: tuple[Colour, ...] = ()
    data: Any = None


class Swapped(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    a: int = Field(alias="b")
    b: int = Field(alias="a")


class Secretive(BaseModel):
    x: int
    _seen: int = PrivateAttr(default=0)
    _never_set: int = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        self._seen += 1

    @functools.cached_property
    def doubled(self) -> int:
        return self.x * 2


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    x: int = 1


class Names(RootModel[list[str]]):
    pass


class Box(BaseModel, Generic[T]):
    content: T


Box[int]  # as an annotation in this module would


class Plain:
    """Nothing special: pickled by name."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and other.x == self.x

    __hash__ = None  # type: ignore[assignment]


def again(value: Any) -> Any:
    text = encode(value)
    json.loads(text)  # it is JSON whatever it holds
    return decode(text)


# Plain values

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.dates(),
    st.times().map(lambda time: time.replace(fold=0)),
    st.timedeltas(),
    st.datetimes(),
    st.datetimes(timezones=st.just(datetime.UTC)),
    st.datetimes(timezones=st.sampled_from([*map(zoneinfo.ZoneInfo, ["UTC", "Europe/Berlin"])])),
    st.sampled_from([Colour.RED, Colour.BLUE, Level.LOW, Access.READ, Access.READ | Access.WRITE]),
    st.builds(pathlib.PurePosixPath, st.sampled_from(["a", "/a/b", "../c"])),
)
keys = st.one_of(st.text(), st.just("!"), st.integers(), st.booleans(), st.none(), st.uuids())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(st.tuples(st.integers(), st.text()), inner, max_size=2),
        st.builds(lambda data: Tree(name="t", data=data), inner),
        st.builds(Frozen, st.tuples(st.integers(), st.integers())),
        st.builds(Point, st.integers(), st.text()),
        st.frozensets(st.one_of(st.integers(), st.text(), st.binary()), max_size=4),
        st.sets(st.integers(), max_size=4),
    ),
    max_leaves=8,
)


@settings(max_examples=80)
@given(values)
def test_a_value_comes_back_the_same(value: Any) -> None:
    found = again(value)
    assert found == value
    assert type(found) is type(value)
    assert storage_of(encode(value)) == "data"


def same_types(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return [*map(type, left)] == [*map(type, right)] and all(
            same_types(left[key], right[key]) for key in left
        )
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same_types, left, right))
    return True


@settings(max_examples=40)
@given(values)
def test_types_within_come_back_the_same(value: Any) -> None:
    # 1 == 1.0 == True, so equality alone would not tell.
    assert same_types(again(value), value)


def test_plain_values_are_plain_json() -> None:
    value = {"a": [1, 2.5, "x", None, True], "b": {"c": {}}}
    assert json.loads(encode(value)) == value
    assert encode(None) == "null"
    assert decode("null") is None


def test_numbers_that_json_does_not_know_come_back() -> None:
    found = again([math.nan, math.inf, -math.inf, -0.0])
    assert math.isnan(found[0])
    assert found[1:3] == [math.inf, -math.inf]
    assert math.copysign(1, found[3]) == -1
    assert again(decimal.Decimal("sNaN")).is_snan()
    assert again(10**5000) == 10**5000


@pytest.mark.parametrize(
    "value",
    [
        {"!": "pickle", "v": "x"},
        {"!": {"!": "memory"}, "a": [{"!": None}]},
        {1: {"!": 2}, "1": 3},
        '{"!":"pickle","v":""}',
        ['{"!":"memory"'],
        "\ud800 half a pair",
        {"\0": "\n"},
    ],
)
def test_a_value_that_looks_like_ours_is_no_trap(value: Any) -> None:
    assert again(value) == value
    assert storage_of(encode(value)) == "data"


# Times and paths


def test_a_moment_keeps_its_zone() -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    for fold in (0, 1):
        moment = datetime.datetime(2024, 10, 27, 2, 30, tzinfo=berlin, fold=fold)
        found = again(moment)
        assert found.tzinfo is berlin
        assert (found, found.fold, found.utcoffset()) == (moment, fold, moment.utcoffset())


def test_unusual_times_come_back() -> None:
    class Odd(datetime.tzinfo):
        def utcoffset(self, when: datetime.datetime | None) -> datetime.timedelta:
            return datetime.timedelta(minutes=7)

        def dst(self, when: datetime.datetime | None) -> None:
            return None

        def tzname(self, when: datetime.datetime | None) -> str:
            return "odd"

    found = again(datetime.datetime(2024, 1, 1, tzinfo=Odd()))
    assert found.tzname() == "odd"
    assert again(datetime.time(1, 2, fold=1)).fold == 1
    assert again(datetime.datetime(2024, 1, 1, fold=1)).fold == 1
    zoned = datetime.time(12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    assert again(zoned).tzinfo == zoned.tzinfo


def test_paths_keep_their_kind() -> None:
    class Elsewhere(pathlib.PurePosixPath):
        """As libraries make them for buckets."""

    assert type(again(pathlib.Path("a"))) is type(pathlib.Path("a"))
    assert type(again(pathlib.PurePath("a"))) is type(pathlib.PurePath("a"))
    assert storage_of(encode(Elsewhere("a"))) == "pickle"


# Objects


@pytest.mark.parametrize(
    "value",
    [
        Colour.ROUGE,
        Level.LOW,
        Access(0),
        re.IGNORECASE | re.MULTILINE,
        Point(1, "a"),
        Song("a", {"x"}),
        Frozen((1, 2)),
        Track(Title="a", seconds=90),
        Tree(name="a", children=[Tree(name="b", marks=(Colour.RED,))], data={1: Point(1)}),
        Swapped(a=1, b=2),
        Names(["a", "b"]),
        Box[int](content=1),
        [Song("a"), {"k": (Track(Title="b"),)}],
    ],
    ids=repr,
)
def test_objects_are_data(value: Any) -> None:
    found = again(value)
    assert found == value
    assert type(found) is type(value)
    assert storage_of(encode(value)) == "data"


def test_a_dataclass_is_not_constructed_again() -> None:
    value = Counted(1, start=2)
    found = again(value)
    assert (found.count, found.seen, found.cache) == (13, 5, {"a": 1})


def test_a_dataclass_that_holds_more_than_fields_comes_back_whole() -> None:
    value = Several(name="a")
    value.extend([1, 2])
    found = again(value)
    assert (list(found), found.name) == ([1, 2], "a")


def test_what_a_model_was_not_told_stays_unsaid() -> None:
    assert again(Tree(name="a")).model_fields_set == {"name"}
    assert again(Tree(name="a", children=[])).model_dump(exclude_unset=True) == {
        "name": "a",
        "children": [],
    }


def test_private_and_further_values_of_a_model_come_back() -> None:
    value = Secretive(x=2)
    value._seen = 9
    assert value.doubled == 4
    found = again(value)
    assert (found, found._seen, found.doubled) == (value, 9, 4)
    assert again(Open(y=[Point(1)])).model_extra == {"y": [Point(1)]}


def test_a_model_that_was_never_filled_comes_back_as_it_is() -> None:
    found = again(Tree.model_construct(children=[]))  # type: ignore[call-arg]
    assert not hasattr(found, "name")


def test_a_later_class_may_have_more_or_fewer_fields() -> None:
    reference = f"{Tree.__module__}:Tree"
    written = {"!": "model", "of": reference, "v": {"name": "a", "gone": 1}}
    assert decode(json.dumps(written)) == Tree(name="a")
    song = {"!": "dataclass", "of": f"{Song.__module__}:Song", "v": {"title": "a"}}
    assert decode(json.dumps(song)) == Song("a")
    unreadable = {"!": "model", "of": reference, "v": {"children": []}}
    with pytest.raises(InMemoryOnly, match="'name' that was not written"):
        decode(json.dumps(unreadable))


# Pickles, and what stays in memory


@pytest.mark.parametrize(
    "value",
    [
        bytearray(b"x"),
        OrderedDict(b=1, a=2),
        defaultdict(list, a=[1]),
        deque([1, 2], maxlen=3),
        range(3),
        Plain(3),
        len,
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_pickled_and_marked(value: Any) -> None:
    found = again(value)
    assert found == value
    assert type(found) is type(value)
    assert storage_of(encode(value)) == "pickle"


def test_objects_of_local_classes_are_pickled() -> None:
    class Local(BaseModel):
        x: int

    @dataclasses.dataclass
    class Here:
        x: int

    class Shade(enum.Enum):
        DARK = 1

    for value in (Local(x=1), Here(1), Shade.DARK):
        assert storage_of(encode(value)) == "pickle"
    assert again(Local(x=1)).x == 1
    assert again([Here(1)])[0].x == 1
    assert again(uuid.UUID(int=1)) == uuid.UUID(int=1)


def test_a_value_that_holds_itself_is_pickled() -> None:
    value: list[Any] = [1]
    value.append(value)
    found = again(value)
    assert found[1] is found
    assert storage_of(encode(value)) == "pickle"


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: {"a": [x]}, lambda x: Tree(name="a", data=x)]
)
def test_what_cannot_be_pickled_stays_in_memory(wrap: Any) -> None:
    text = encode(wrap(threading.Lock()))
    assert storage_of(text) == "memory"
    with pytest.raises(InMemoryOnly, match="lock was kept in memory only"):
        decode(text)


def test_writing_down_never_fails() -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            raise RuntimeError("not me")

    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    for value in (Hostile(), {"a": Hostile()}, deep):
        assert storage_of(encode(value)) == "memory"
    while deep:  # taken apart here, since nested deallocation is slow to unwind
        deep = deep.pop()


def test_a_pickle_that_cannot_be_loaded_says_so() -> None:
    with pytest.raises(InMemoryOnly, match="cannot be read back"):
        decode('{"!":"pickle","of":"m:C","v":"AAAA"}')
