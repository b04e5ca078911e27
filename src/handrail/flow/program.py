"""Digests of all that a function may use of its own program, to tell whether a result still holds.

Wider than `handrail.flow.digest`: from a function on, everything is followed that it names, also
through modules, closures, defaults and annotations. Functions and classes count by their code,
other values as data; values that have no form as data do not count, nor do variables that one of
the functions is seen to change. What is installed (the standard library, site-packages) is not
followed, unless it is the function's own package.
"""

from __future__ import annotations

import datetime
import decimal
import dis
import enum
import hashlib
import inspect
import json
import os
import pathlib
import re
import sys
import sysconfig
import typing
import uuid
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from pydantic import BaseModel

from handrail.contracts.codecs import codec_of
from handrail.contracts.task import Task
from handrail.contracts.values import SCRIPT_MODULE, encode, storage_of
from handrail.flow.digest import names_in, parts_of

_NOTHING: Any = object()
#: Values within values, and modules within modules, are followed so deep.
_DEEPEST = 20

_STANDARD = os.path.realpath(sysconfig.get_path("stdlib")) + os.sep
_HANDRAIL = os.path.dirname(os.path.dirname(os.path.realpath(__file__))) + os.sep
_INSTALLED = re.compile(r"[\\/](site|dist)-packages[\\/]")
_WORD = re.compile(r"[^\W\d]\w*")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

_SCALARS = (str, int, float, bool, type(None), bytes, complex, decimal.Decimal, uuid.UUID)
_MOMENTS = (datetime.date, datetime.time, datetime.timedelta)


def program_digest(fn: Callable[..., Any], *classes: type | None) -> str:
    """64 hex digits that change when `fn`, the classes, or what they use of their program change.

    Empty where `fn` is no function: what it holds cannot be told.
    """
    inner = inspect.unwrap(fn)
    if not isinstance(inner, FunctionType):
        return ""
    survey = _Survey(inner)
    # What decorators put around it counts as far as it is the program's own.
    while fn is not inner:
        survey.add("", fn)
        fn = getattr(fn, "__wrapped__", inner)
    for each in classes:
        survey.add("", each)
    return survey.digest()


def value_digest(value: Any) -> str | None:
    """32 hex digits that are the same for equal data in every process.

    The order of mappings counts, that of sets does not. None: the value has no form as data; it
    would have to be pickled, which differs from one time to the next.
    """
    text = encode(value)
    if storage_of(text) != "data":
        return None
    if '"!":"set"' in text or '"!":"frozenset"' in text:
        text = json.dumps(_sets_sorted(json.loads(text)))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _sets_sorted(data: Any) -> Any:
    if isinstance(data, list):
        return [_sets_sorted(item) for item in data]
    if not isinstance(data, dict):
        return data
    found = {key: _sets_sorted(item) for key, item in data.items()}
    if data.get("!") in ("set", "frozenset"):
        found["v"] = sorted(found["v"], key=json.dumps)
    return found


class _Variable(NamedTuple):
    """A value that is used, and the variable that holds it."""

    holder: Hashable
    name: str
    value: Any


class _Survey:
    """Walks through a program from one function on, always in the same order."""

    def __init__(self, start: FunctionType) -> None:
        self._start = start
        self._package = (start.__module__ or "").partition(".")[0]
        self._seen: set[int] = {id(start)}
        self._waiting: list[FunctionType | type] = [start]
        self._found: list[bytes | _Variable] = []
        #: Holders of variables that a function changes.
        self._changed: set[Hashable] = set()

    def digest(self) -> str:
        for thing in self._waiting:  # grows meanwhile
            if isinstance(thing, type):
                self._take_class(thing)
            else:
                self._take_function(thing)
        digest = hashlib.sha256()
        for found in self._found:
            if isinstance(found, bytes):
                digest.update(found)
            elif found.holder not in self._changed:
                digest.update(f"{found.name}={value_digest(found.value)}\n".encode())
        return digest.hexdigest()

    def add(self, name: str, value: Any, holder: Hashable = None) -> None:
        """Adds what a variable holds: code, or data."""
        if isinstance(value, re.Pattern):
            value = (value.pattern, value.flags)
        code: list[Any] = [*_functions_in(value)]
        if isinstance(value, type):
            code += value.__mro__
        for thing in code:
            if id(thing) not in self._seen and self._is_own(thing):
                self._seen.add(id(thing))
                self._waiting.append(thing)
        if not code and _is_data(value):
            self._found.append(_Variable(holder, name, value))

    def _note(self, text: str) -> None:
        text = _ADDRESS.sub("", text).replace(SCRIPT_MODULE, "__main__")
        self._found.append(f"{text}\n".encode("utf-8", "backslashreplace"))

    # Functions

    def _take_function(self, fn: FunctionType) -> None:
        # The first by no name: it may be found under another one after a move.
        self._note("" if fn is self._start else fn.__qualname__)
        self._found.extend(parts_of(fn.__code__))
        cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
        for name in _changed_by(fn.__code__):
            self._changed.add(id(cells[name]) if name in cells else (id(fn.__globals__), name))
        for name, cell in cells.items():
            try:
                self.add(name, cell.cell_contents, id(cell))
            except ValueError:  # not assigned yet
                continue
        names = names_in(fn.__code__)
        for name in names:
            self._add_global(name, fn.__globals__, names)
        for name, value in _defaults_of(fn):
            self.add(name, value)
        for annotation in fn.__annotations__.values():
            self._add_types(annotation, fn.__globals__)

    def _add_global(
        self, name: str, within: Mapping[str, Any], names: list[str], prefix: str = ""
    ) -> None:
        value = within.get(name, _NOTHING)
        if not isinstance(value, ModuleType):
            if value is not _NOTHING:
                self.add(prefix + name, value, (id(within), name))
        elif self._is_own(value) and prefix.count(".") < _DEEPEST:
            for attribute in names:
                self._add_global(attribute, vars(value), names, f"{prefix}{name}.")

    def _add_types(self, annotation: Any, within: Mapping[str, Any]) -> None:
        if isinstance(annotation, str):
            for word in _WORD.findall(annotation):
                if isinstance(within.get(word), type):
                    self.add(word, within[word])
        elif isinstance(annotation, type) and not typing.get_args(annotation):
            self.add(annotation.__name__, annotation)
        else:
            for part in typing.get_args(annotation):
                self._add_types(part, within)

    # Classes

    def _take_class(self, kind: type) -> None:
        self._note(kind.__qualname__)
        within = vars(sys.modules.get(kind.__module__, object))
        for name, annotation in inspect.get_annotations(kind).items():
            self._note(f"{name}: {annotation!r}")
            self._add_types(annotation, within)
        if issubclass(kind, enum.Enum):
            for member in kind:
                self.add(member.name, member.value)
        elif issubclass(kind, BaseModel):
            for name, field in kind.model_fields.items():
                self._note(f"{name}: {field!r}")
                for part in field.metadata:
                    self.add(name, getattr(part, "func", None))
        for name, value in kind.__dict__.items():
            # Where a dataclass has its fields' defaults; Python and pydantic keep theirs there too.
            if any(_functions_in(value)) or not name.startswith(("_", "model_")):
                self.add(name, value)

    def _is_own(self, thing: Any) -> bool:
        if isinstance(thing, ModuleType):
            name, file = thing.__name__, getattr(thing, "__file__", None)
        else:
            name = thing.__module__ or ""
            file = getattr(sys.modules.get(name), "__file__", None)
        if isinstance(thing, FunctionType):
            file = thing.__code__.co_filename
        if name.partition(".")[0] == self._package:
            return True
        return name == "__main__" or (file is not None and not _is_installed(file))


def _is_installed(file: str) -> bool:
    if file.startswith("<frozen") or _INSTALLED.search(file):
        return True
    return os.path.realpath(file).startswith((_STANDARD, _HANDRAIL))


def _functions_in(value: Any) -> Iterator[FunctionType]:
    if isinstance(value, Task):
        value = value.fn
    parts: tuple[Any, ...] = (value,)
    if isinstance(value, (classmethod, staticmethod)):
        parts = (value.__func__,)
    elif isinstance(value, property):
        parts = (value.fget, value.fset, value.fdel)
    elif isinstance(value, cached_property):
        parts = (value.func,)
    for part in parts:
        if isinstance(part, FunctionType):
            yield part


def _defaults_of(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    defaults = fn.__defaults__ or ()
    names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    yield from zip(names[len(names) - len(defaults) :], defaults, strict=True)
    yield from (fn.__kwdefaults__ or {}).items()


def _is_data(value: Any, depth: int = 0) -> bool:
    """Can it be written as data? Told by types alone: nothing is pickled to find out."""
    kind = type(value)
    if kind in _SCALARS or isinstance(value, (*_MOMENTS, enum.Enum, pathlib.PurePath)):
        return True
    if depth > _DEEPEST:
        return False
    parts: Iterable[Any]
    if kind is dict:
        parts = [*value.keys(), *value.values()]
    elif kind in (list, tuple, set, frozenset):
        parts = value
    elif isinstance(value, BaseModel):
        parts = value.__dict__.values()
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name, None) for field in fields(value)]
    else:
        return codec_of(kind) is not None
    return all(_is_data(part, depth + 1) for part in parts)


# What functions change

#: Methods of lists, dicts and sets that change them.
_CHANGERS = frozenset(
    {
        "add", "append", "clear", "difference_update", "discard", "extend", "insert",
        "intersection_update", "pop", "popitem", "remove", "reverse", "setdefault", "sort",
        "symmetric_difference_update", "update",
    }
)  # fmt: skip
#: Instructions that put a variable of another scope on the stack, and that assign to it.
_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME"})
_STORES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"})
_NO_WORK = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PUSH_NULL", "RESUME"})


def _changed_by(code: CodeType) -> Iterator[str]:
    """Variables of outer scopes that the code assigns to, or whose content it changes.

    Found where the text is plain: `x = 1`, `x.append(1)`, `x[key] = 1`, `x.name += 1`.
    """
    steps = [step for step in dis.get_instructions(code) if step.opname not in _NO_WORK]
    for index, step in enumerate(steps):
        is_load = step.opname in _LOADS
        if step.opname in _STORES or (is_load and _is_changed(steps[index + 1 : index + 3])):
            yield str(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _changed_by(constant)


def _is_changed(following: list[dis.Instruction]) -> bool:
    """Is what was put on the stack changed by the next two instructions?"""
    steps = [(step.opname, step.argval) for step in following] + [("", None)] * 2
    (first, argument), (second, depth) = steps[0], steps[1]
    if first in ("LOAD_METHOD", "LOAD_ATTR"):
        return argument in _CHANGERS
    if first == "COPY":
        return second == "LOAD_ATTR"  # x.name += 1
    if first in ("STORE_ATTR", "DELETE_ATTR"):
        return True
    # x[key] = 1, del x[key], x[key] += 1
    return second in ("STORE_SUBSCR", "DELETE_SUBSCR") or (second == "COPY" and depth == 2)
