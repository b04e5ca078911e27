"""Channels of one type of message: what does not fit is refused, when written and when read."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar, Union, cast

import typing_extensions
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.errors import PydanticUserError
from pydantic_core import CoreSchema, core_schema

from handrail.errors import ChannelTypeError
from handrail.keep.channel import Channel
from handrail.keep.lock import ChannelLock

Message = TypeVar("Message")

_MISSING: Any = object()
_SHOWN_COUNT = 5


class TypedChannel(Generic[Message]):
    """A channel seen as one of messages of one type.

    The type's own rules decide, and nothing is converted to make it fit: a truth value is no
    number, a text is no number, a tuple is no list. Keys that a TypedDict does not have are
    refused, at every depth. A mapping that fits a pydantic model becomes one.

    Args:
        channel: where messages are kept.
        message_type: a TypedDict, a dataclass, a pydantic model, or any type pydantic knows.

    Raises:
        ChannelTypeError: the type cannot be checked.
    """

    def __init__(self, channel: Channel, message_type: type[Message]) -> None:
        self.channel = channel
        self.message_type = message_type
        self._rules = _rules_of(cast("Hashable", message_type))

    # Whole messages

    def send(self, key: str, message: Message, ttl: float | None = None) -> None:
        """Puts a message under `key`, for `ttl` seconds if given.

        Raises:
            ChannelTypeError (TypeError): it is not of the type; says where and why.
        """
        self.channel.set(key, self._rules.checked(message, "Message"), ttl)

    def receive(self, key: str, default: Message | None = None) -> Message | None:
        """The message under `key`, or `default`; see `get`."""
        return cast("Message | None", self.get(key, default))

    def set(self, key: str, value: Message, ttl: float | None = None) -> None:
        """Sets `key`, for `ttl` seconds if given.

        Raises:
            ChannelTypeError (TypeError): the value is not of the type.
        """
        self.channel.set(key, self._rules.checked(value, "Value"), ttl)

    def get(self, key: str, default: Any = None) -> Any:
        """The message under `key`, the list of messages made by `append`, or `default`.

        Raises:
            ChannelTypeError (TypeError): what is there is something else.
        """
        found = self.channel.get(key, _MISSING)
        return default if found is _MISSING else self._rules.read(key, found)

    # Lists of messages, numbers

    def append(self, key: str, value: Message, ttl: float | None = None) -> int:
        """Adds a message to the end of a list, made if need be; returns its length."""
        return self.channel.append(key, self._rules.checked(value, "Value"), ttl)

    def prepend(self, key: str, value: Message, ttl: float | None = None) -> int:
        """Adds a message to the front of a list, made if need be; returns its length."""
        return self.channel.prepend(key, self._rules.checked(value, "Value"), ttl)

    def atomic_add(self, key: str, amount: Any = 1) -> Any:
        """Adds to a number, if numbers are what the channel holds; returns the sum."""
        return self.channel.atomic_add(key, self._rules.checked(amount, "Value"))

    # As any channel

    def delete(self, key: str) -> bool:
        """Removes `key`. False: there was none."""
        return self.channel.delete(key)

    def exists(self, key: str) -> bool:
        """Is there such a key?"""
        return self.channel.exists(key)

    def __contains__(self, key: str) -> bool:
        return self.channel.exists(key)

    def keys(self) -> list[str]:
        """All keys of the channel, whatever they hold."""
        return self.channel.keys()

    def clear(self) -> None:
        """Removes every key of the channel."""
        self.channel.clear()

    def lock(self, key: str, timeout: float | None = None) -> ChannelLock:
        """Keeps others from the lock of this name; see `Channel.lock`."""
        return self.channel.lock(key, timeout)


class _Rules:
    """What a type of message asks for."""

    def __init__(self, message_type: Any) -> None:
        self.name = getattr(message_type, "__name__", None) or str(message_type)
        try:
            one = _Twins().of(message_type)
            self._one: TypeAdapter[Any] = TypeAdapter(one)
            self._many: TypeAdapter[list[Any]] = TypeAdapter(list[one])  # type: ignore[valid-type]
        except (PydanticUserError, NameError, TypeError, AttributeError) as exc:
            raise ChannelTypeError(
                f"Messages of type {self.name} cannot be checked: {_first_line(exc)} Use a "
                f"TypedDict, a dataclass or a pydantic model of a module."
            ) from exc

    def checked(self, value: Any, what: str) -> Any:
        """The value, if it fits."""
        try:
            return self._one.validate_python(value, strict=True)
        except ValidationError as exc:
            raise self._error(f"{what} does not conform to", exc) from None

    def read(self, key: str, found: Any) -> Any:
        """A message or a list of messages that was stored."""
        try:
            return self._one.validate_python(found, strict=True)
        except ValidationError as exc:
            if type(found) is not list:
                text = f"What channel key {key!r} holds does not conform to"
                raise self._error(text, exc) from None
        try:
            return self._many.validate_python(found, strict=True)
        except ValidationError as exc:
            text = f"What the list of channel key {key!r} holds does not conform to"
            raise self._error(text, exc) from None

    def _error(self, text: str, exc: ValidationError) -> ChannelTypeError:
        return ChannelTypeError(f"{text} {self.name}: {_reasons(exc)}")


@lru_cache(maxsize=256)
def _rules_of(message_type: Any) -> _Rules:
    return _Rules(message_type)


def _reasons(exc: ValidationError) -> str:
    # Without the values: they may be secrets, and are in the caller's hands.
    found = exc.errors(include_url=False, include_input=False, include_context=False)
    told = [_reason(error["loc"], error["msg"]) for error in found[:_SHOWN_COUNT]]
    if len(found) > _SHOWN_COUNT:
        told.append(f"and {len(found) - _SHOWN_COUNT} more")
    return "; ".join(told)


def _first_line(exc: Exception) -> str:
    return f"{str(exc).partition(chr(10))[0].rstrip('.')}."


def _reason(place: tuple[int | str, ...], text: str) -> str:
    text = text.removeprefix("Value error, ")
    return f"{'.'.join(map(str, place))}: {text}" if place else text


class _Twins:
    """Makes types that pydantic checks by the rules said above, from those that users declare.

    A TypedDict becomes one that refuses other keys; it may come from `typing` also where
    pydantic asks for another module's (https://errors.pydantic.dev/2/u/typed-dict-version).
    A dataclass of the standard library, which checks nothing when it is made, has its fields
    checked.
    """

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def of(self, kind: Any, bound: Mapping[Any, Any] | None = None) -> Any:
        """The type to check by.

        Args:
            bound: types by type variable.
        """
        bound = bound or {}
        if isinstance(kind, TypeVar):
            return bound.get(kind, kind)
        origin, args = typing_extensions.get_origin(kind), typing_extensions.get_args(kind)
        if origin is typing.Literal or origin is typing_extensions.Literal:
            return kind
        if origin is Annotated:
            return Annotated[(self.of(args[0], bound), *kind.__metadata__)]
        declared = origin or kind
        if typing_extensions.is_typeddict(declared) or _is_plain_dataclass(declared):
            inner = tuple(self.of(arg, bound) for arg in args)
            return self._twin(declared, inner)
        return self._with(kind, origin, args, bound) if args else kind

    def _with(self, kind: Any, origin: Any, args: tuple[Any, ...], bound: Mapping[Any, Any]) -> Any:
        inner = tuple(arg if isinstance(arg, list) else self.of(arg, bound) for arg in args)
        if all(after is before for after, before in zip(inner, args, strict=True)):
            return kind
        if origin is types.UnionType or origin is Union:
            return Union[inner]  # noqa: UP007 - made of a tuple
        return origin[inner if len(inner) > 1 else inner[0]]

    def _twin(self, declared: Any, args: tuple[Any, ...]) -> Any:
        known = self._made.get((declared, args))
        if known is None:
            bound = dict(zip(getattr(declared, "__parameters__", ()), args, strict=False))
            make = self._typed_dict if typing_extensions.is_typeddict(declared) else self._dataclass
            known = make(declared, args, bound)
        return known

    def _typed_dict(self, declared: Any, args: tuple[Any, ...], bound: Mapping[Any, Any]) -> Any:
        make: Any = typing_extensions.TypedDict
        twin = make(declared.__name__, {})
        # Known before its keys are looked at: they may be of the same type.
        self._made[declared, args] = twin
        hints = typing_extensions.get_type_hints(declared, include_extras=True)
        twin.__annotations__ = {name: self.of(hint, bound) for name, hint in hints.items()}
        twin.__required_keys__ = frozenset(declared.__required_keys__)
        twin.__optional_keys__ = frozenset(declared.__optional_keys__)
        own = getattr(declared, "__pydantic_config__", ConfigDict())
        twin.__pydantic_config__ = {"extra": "forbid", **own}
        return twin

    def _dataclass(self, declared: Any, args: tuple[Any, ...], bound: Mapping[Any, Any]) -> Any:
        hints = typing_extensions.get_type_hints(declared, include_extras=True)
        names = [field.name for field in dataclasses.fields(declared)]

        @lru_cache(maxsize=1)
        def fields() -> TypeAdapter[Any]:
            # Made when the first instance is checked: its fields may be of the same type.
            make: Any = typing_extensions.TypedDict
            kinds = {name: self.of(hints[name], bound) for name in names}
            return TypeAdapter(make(declared.__name__, kinds))

        twin = Annotated[Any, _Instance(declared, _check_of(fields, names))]
        self._made[declared, args] = twin
        return twin


class _Instance:
    """Tells pydantic to ask for an instance and to check it, and nothing else."""

    def __init__(self, kind: type, check: Callable[[Any], Any]) -> None:
        self._kind = kind
        self._check = check

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        instance = core_schema.is_instance_schema(self._kind)
        return core_schema.no_info_after_validator_function(self._check, instance)


def _check_of(fields: Callable[[], TypeAdapter[Any]], names: list[str]) -> Callable[[Any], Any]:
    def check(instance: Any) -> Any:
        values = {name: getattr(instance, name) for name in names if hasattr(instance, name)}
        try:
            fields().validate_python(values, strict=True)
        except ValidationError as exc:
            raise ValueError(_reasons(exc)) from None
        return instance

    return check


def _is_plain_dataclass(kind: Any) -> bool:
    return (
        isinstance(kind, type)
        and dataclasses.is_dataclass(kind)
        and not is_pydantic_dataclass(kind)
    )
