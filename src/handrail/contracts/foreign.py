"""Encoded values from where others may write, too: read as data, whatever they say.

`decode` of `handrail.contracts.values` trusts its text: a pickle runs code, and a tag may name
any class. Here pickles are refused, and a class that a tag names must be of the tag's kind.
Codecs are trusted: one that is registered must not run what it reads.
Naming a class still imports its module, so the module search path must be one's own.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from handrail.contracts.codecs import is_codec
from handrail.contracts.values import InMemoryOnly, decode, encode, main_name
from handrail.errors import NotSerializableError, StoreCorruptError
from handrail.plug import import_attribute

_TAG = "!"

#: Tags whose content is plain data.
_PLAIN = (
    frozenset({"dict", "tuple", "set", "frozenset", "bytes", "decimal", "uuid", "complex"})
    | {"date", "datetime", "time", "timedelta", "path", "purepath"}
)  # fmt: skip

#: What the class that a tag names must be.
_CLASSES: Mapping[str, Callable[[type], bool]] = {
    "model": lambda kind: issubclass(kind, BaseModel),
    "dataclass": lambda kind: dataclasses.is_dataclass(kind),
    "namedtuple": lambda kind: issubclass(kind, tuple) and hasattr(kind, "_fields"),
    "enum": lambda kind: issubclass(kind, enum.Enum),
    "flag": lambda kind: issubclass(kind, enum.Flag),
}


def encode_data(value: Any, name: str) -> str:
    """`value` as JSON text that `decode_data` reads.

    Args:
        name: what it is, for the error: "channel key 'rows'".

    Raises:
        NotSerializableError: only a pickle could keep it.
    """
    text = encode(value)
    if _may_have_tags(text):
        for path, tag in _tags(json.loads(text), ""):
            if tag[_TAG] in ("pickle", "memory"):
                kind = str(tag["of"]).replace(":", ".").removeprefix("builtins.")
                raise NotSerializableError(
                    f"{name[:1].upper()}{name[1:]}: a {kind}{f' (in {path})' if path else ''} "
                    f"has no form as data, and a pickle is not put where others may write. "
                    f"Use plain data, a pydantic model or a dataclass of a module."
                )
    return text


def decode_data(text: str, name: str) -> Any:
    """The value that `encode_data` made `text` of. Runs no code that the text brings.

    Raises:
        StoreCorruptError: it is no such text, or holds what is not read from here.
        UnknownClassError: its class is not where it was.
    """
    try:
        if _may_have_tags(text):
            for path, tag in _tags(json.loads(text), ""):
                _check(tag, path)
        return decode(text)
    except (_Refused, InMemoryOnly, ValueError, RecursionError) as exc:
        raise StoreCorruptError(f"{name[:1].upper()}{name[1:]} cannot be read: {exc}") from exc


class _Refused(Exception):
    """The text says what it may not say."""


def _may_have_tags(text: str) -> bool:
    # A tag's key is written as it is or as its JSON escape.
    return _TAG in text or "\\u0021" in text


def _tags(data: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(path, tag)` of every tagged object, outer ones first."""
    if isinstance(data, list):
        for index, item in enumerate(data):
            yield from _tags(item, f"{path}[{index}]")
    elif isinstance(data, dict):
        tagged = _TAG in data
        if tagged:
            yield path, data
        for key, item in data.items():
            yield from _tags(item, path if tagged else f"{path}[{key!r}]")


def _check(tag: Mapping[str, Any], path: str) -> None:
    kind = str(tag[_TAG])
    where = f" (in {path})" if path else ""
    if kind == "pickle":
        raise _Refused(f"it holds a pickle{where}, which is never loaded from here")
    if kind in _PLAIN or kind == "memory" or is_codec(kind):
        return
    if kind not in _CLASSES:
        raise _Refused(f"it holds an unknown kind of value, {kind!r}{where}")
    if not _is_class(tag.get("of"), _CLASSES[kind]):
        raise _Refused(f"{tag.get('of')}{where} is no {kind}")


def _is_class(reference: Any, is_kind: Callable[[type], bool]) -> bool:
    module, _, name = str(reference).partition(":")
    # As `decode` does: the program's own module is not imported a second time.
    module = "__main__" if module == main_name() else module
    try:
        found = import_attribute(f"{module}:{name}")
    except Exception:  # modules run code of their own; `decode` tells why there is no such class
        return True
    return isinstance(found, type) and is_kind(found)
