from __future__ import annotations

import dataclasses
import typing
from typing import Any, Generic, Literal, NotRequired, Optional, Required, TypeVar

import pytest
import typing_extensions
from pydantic import BaseModel, Field, field_validator

from handrail.errors import ChannelTypeError
from handrail.flow.graph import TaskGraph
from handrail.keep.channel import MemoryChannel
from handrail.run.context import ExecutionContext, TaskExecutionContext
from handrail.run.typed_channel import TypedChannel
from handrail.testing.channels import VALUES

T = TypeVar("T")


class Place(typing.TypedDict, total=False):
    name: Required[str]
    height: int


class Report(typing.TypedDict):
    count: int
    done: bool
    share: NotRequired[float]
    note: NotRequired[Optional[str]]  # noqa: UP045 - as people write it
    state: NotRequired[Literal["good", "bad"]]
    place: NotRequired[Place]
    places: NotRequired[dict[str, list[Place]]]
    maybe: NotRequired[Place | None]
    parts: NotRequired[list[Report]]
    box: NotRequired[Box]
    song: NotRequired[Song]
    pair: NotRequired[tuple[int, str]]


@dataclasses.dataclass
class Box:
    size: int
    place: Place | None = None
    inner: Box | None = None
    first: dataclasses.InitVar[int] = 0
    seen: list[int] = dataclasses.field(default_factory=list, init=False)


class Song(BaseModel):
    title: str = Field(alias="Title")
    plays: int = 0

    @field_validator("plays")
    @classmethod
    def not_negative(cls, plays: int) -> int:
        if plays < 0:
            raise ValueError("may not be negative")
        return plays


class Wrapped(typing_extensions.TypedDict, Generic[T]):
    value: T
    values: list[T]


@dataclasses.dataclass
class Holder(Generic[T]):
    value: T


class Open(typing_extensions.TypedDict):
    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]  # noqa: RUF012
    a: int


def channel_of(kind: Any) -> TypedChannel[Any]:
    return TypedChannel(MemoryChannel(), kind)


GOOD = {"count": 1, "done": True}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Report, GOOD),
        (Report, {**GOOD, "share": 0.5, "note": None, "state": "bad", "pair": (1, "a")}),
        (Report, {**GOOD, "place": {"name": "x"}, "maybe": None}),
        (Report, {**GOOD, "places": {"a": [{"name": "x", "height": 1}]}}),
        (Report, {**GOOD, "parts": [{**GOOD, "parts": []}]}),
        (Report, {**GOOD, "box": Box(1, {"name": "x"}, Box(2)), "song": Song(Title="One")}),
        (Box, Box(1, first=5)),
        (Song, Song(Title="One", plays=1)),
        (Wrapped[int], {"value": 1, "values": [2]}),
        (Holder[str], Holder("a")),
        (Open, {"a": 1, "b": 2}),
        (int, 1),
        (list[int], [1]),
        (str | None, None),
        (dict[str, Any], {"a": ...}),
    ],
    ids=repr,
)
def test_a_message_of_the_type_comes_back(kind: Any, message: Any) -> None:
    channel = channel_of(kind)
    channel.send("sent", message)
    channel.set("set", message)
    channel.append("list", message)
    channel.prepend("list", message)
    assert channel.receive("sent") == channel.get("set") == message
    assert type(channel.get("set")) is type(message)
    assert channel.get("list") == [message, message]


@pytest.mark.parametrize(
    ("kind", "message", "reason"),
    [
        (Report, {**GOOD, "count": True}, "Report: count: Input should be a valid integer"),
        (Report, {**GOOD, "done": 1}, "Report: done: Input should be a valid boolean"),
        (Report, {**GOOD, "count": "1"}, "count"),
        (Report, {**GOOD, "count": 1.0}, "count"),
        (Report, {**GOOD, "count": None}, "count"),
        (Report, {"count": 1}, "done: Field required"),
        (Report, {**GOOD, "more": 1}, "more: Extra inputs are not permitted"),
        (Report, {**GOOD, "share": True}, "share"),
        (Report, {**GOOD, "share": "0.5"}, "share"),
        (Report, {**GOOD, "note": 1}, "note"),
        (Report, {**GOOD, "state": "ugly"}, "state"),
        (Report, {**GOOD, "place": {}}, "place.name: Field required"),
        (Report, {**GOOD, "place": {"name": "x", "height": True}}, "place.height"),
        (Report, {**GOOD, "places": {"a": [{"name": "x", "b": 1}]}}, "places.a.0.b: Extra"),
        (Report, {**GOOD, "maybe": {"name": "x", "b": 1}}, "maybe.*b"),
        (Report, {**GOOD, "parts": [{**GOOD, "done": 0}]}, "parts.0.done"),
        (Report, {**GOOD, "parts": ({**GOOD},)}, "parts: .*list"),
        (Report, {**GOOD, "pair": [1, "a"]}, "pair: .*tuple"),
        (Report, {**GOOD, "pair": (1,)}, "pair.1: Field required"),
        (Report, {**GOOD, "box": {"size": 1}}, "box: .*instance of Box"),
        (Report, {**GOOD, "box": Box("1")}, "box: size: .*integer"),  # type: ignore[arg-type]
        (Report, {**GOOD, "song": {"Title": 1}}, "song.Title"),
        (Report, None, "dictionary"),
        (Report, [GOOD], "dictionary"),
        (Report, GOOD.items(), "dictionary"),
        (Box, Box(True), "Box: size"),
        (Box, Box(1, {"name": "x", "b": 1}), "place.b: Extra"),  # type: ignore[arg-type]
        (Box, Box(1, None, Box(1, None, Box("1"))), "inner: inner: size"),  # type: ignore[arg-type]
        (Box, {"size": 1}, "instance of Box"),
        (Song, {"Title": "One", "plays": -1}, "plays: may not be negative"),
        (Song, {"Title": "One", "plays": "1"}, "plays"),
        (Song, Box(1), "instance of Song"),
        (Wrapped[int], {"value": 1, "values": ["2"]}, "values.0"),
        (Holder[str], Holder(1), "value"),
        (int, True, "int: Input"),
        (list[int], [True], "0: "),
    ],
    ids=str,
)
def test_another_message_is_refused(kind: Any, message: Any, reason: str) -> None:
    channel = channel_of(kind)
    with pytest.raises(TypeError, match=f"^Message does not conform to .*{reason}"):
        channel.send("a", message)
    for put in (channel.set, channel.append, channel.prepend):
        with pytest.raises(ChannelTypeError, match=f"^Value does not conform to .*{reason}"):
            put("a", message)
    assert channel.keys() == []


def test_a_field_that_is_set_later_is_checked() -> None:
    box = Box(1)
    box.seen = ["x"]  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"seen\.0"):
        channel_of(Box).send("a", box)


def test_a_mapping_that_fits_a_model_becomes_one() -> None:
    channel = channel_of(Song)
    channel.send("a", {"Title": "One"})
    assert channel.receive("a") == channel.channel.get("a") == Song(Title="One")


def test_what_is_sent_is_not_changed_by_its_sender_later() -> None:
    channel, message = channel_of(Report), dict(GOOD)
    channel.send("a", message)
    message["count"] = 2
    assert channel.receive("a") == GOOD


def test_a_refusal_shows_no_value() -> None:
    with pytest.raises(TypeError) as caught:
        channel_of(Report).send("a", {**GOOD, "count": "secret", "secret2": 1})
    assert "'secret'" not in str(caught.value)


def test_many_reasons_are_not_all_told() -> None:
    with pytest.raises(TypeError, match=r"0: .*4: .*; and 95 more$"):
        channel_of(list[int]).send("a", ["x"] * 100)


# Reading


def test_nothing_there_gives_the_default() -> None:
    channel = channel_of(Report)
    assert channel.receive("a") is None
    assert channel.receive("a", {"count": 0, "done": False}) == {"count": 0, "done": False}
    assert channel.get("a", 7) == 7


@pytest.mark.parametrize("value", [5, None, {}, {**GOOD, "count": "1"}, "text"], ids=repr)
def test_something_else_that_is_there_is_an_error(value: Any) -> None:
    channel = channel_of(Report)
    channel.channel.set("a", value)
    text = "^What channel key 'a' holds does not conform to Report: "
    with pytest.raises(ChannelTypeError, match=text):
        channel.get("a", 7)
    with pytest.raises(ChannelTypeError, match=text):
        channel.receive("a")


def test_a_list_with_something_else_in_it_is_an_error() -> None:
    channel = channel_of(Report)
    channel.append("a", {"count": 1, "done": True})
    channel.channel.append("a", {"count": 1})
    with pytest.raises(ChannelTypeError, match=r"list of channel key 'a' .* Report: 1\.done"):
        channel.get("a")


# As any channel


def test_the_other_calls_are_the_channels() -> None:
    channel = channel_of(Report)
    channel.send("a", {"count": 1, "done": True})
    assert channel.exists("a")
    assert "a" in channel
    assert channel.keys() == ["a"]
    with channel.lock("a", timeout=0):
        assert channel.delete("a")
    channel.send("b", {"count": 1, "done": True})
    channel.clear()
    assert channel.channel.keys() == []


def test_only_a_channel_of_numbers_adds() -> None:
    assert channel_of(int).atomic_add("a", 2) == 2
    for kind, amount in ((int, 0.5), (int, True), (Report, 1)):
        with pytest.raises(ChannelTypeError):
            channel_of(kind).atomic_add("a", amount)


def test_messages_have_a_time_to_live() -> None:
    now = [1000.0]
    channel = TypedChannel(MemoryChannel(now=lambda: now[0]), int)
    channel.send("a", 1, ttl=5)
    channel.set("b", 1, ttl=5)
    channel.append("c", 1, ttl=5)
    channel.prepend("d", 1, ttl=5)
    assert len(channel.keys()) == 4
    now[0] += 6
    assert channel.keys() == []


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_anything_is_a_message_of_any_type(value: Any) -> None:
    channel = channel_of(Any)
    channel.send("a", value)
    assert channel.receive("a") == value


def test_a_type_that_cannot_be_checked_is_said() -> None:
    class Local(typing.TypedDict):
        other: Other  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ChannelTypeError, match="type Local cannot be checked: name 'Other'"):
        channel_of(Local)
    with pytest.raises(ChannelTypeError, match="type 5 cannot be checked"):
        channel_of(5)


def test_the_users_type_is_left_as_it_was() -> None:
    before = dict(vars(Place))
    channel_of(Place).send("a", {"name": "x"})
    assert dict(vars(Place)) == before


# From a context


def test_contexts_give_typed_channels() -> None:
    execution = ExecutionContext(TaskGraph(), inputs={"a": {"name": "x"}})
    context = TaskExecutionContext(None, execution=execution)
    assert execution.get_typed_channel(Place).get("a") == {"name": "x"}
    context.get_typed_channel(Place).send("b", {"name": "y"})
    assert execution.get_channel().get("b") == {"name": "y"}
    with pytest.raises(TypeError, match="Message does not conform to Place"):
        context.get_typed_channel(Place).send("b", {"height": 1})  # type: ignore[typeddict-item]
