"""Digests of tasks' code, to tell on a resume which tasks are no longer what they were.

A digest covers the function and, followed by name, the functions and classes of its top-level
package that it names. It does not change with line numbers, comments or docstrings.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

_KNOWN: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def code_digest(fn: Callable[..., Any]) -> str:
    """16 hex digits that change when the code of `fn` changes; empty where it has none."""
    fn = getattr(fn, "__wrapped__", fn)
    if not isinstance(fn, FunctionType):
        return ""
    found = _KNOWN.get(fn)
    if found is None:
        digest = hashlib.sha256()
        for name, code in _reached(fn):
            digest.update(name.encode())
            for part in parts_of(code):
                digest.update(part)
        found = _KNOWN[fn] = digest.hexdigest()[:16]
    return found


def _reached(fn: FunctionType) -> Iterator[tuple[str, CodeType]]:
    package = fn.__module__.partition(".")[0]
    seen: set[int] = set()
    waiting: list[FunctionType] = [fn]
    while waiting:
        current = waiting.pop()
        if id(current.__code__) in seen:
            continue
        seen.add(id(current.__code__))
        # The first by no name: it may be found under another one after a move.
        yield ("" if current is fn else current.__qualname__), current.__code__
        named = [current.__globals__.get(name) for name in names_in(current.__code__)]
        for value in named:
            waiting += [f for f in _functions(value) if f.__module__.partition(".")[0] == package]


def _functions(value: Any) -> list[FunctionType]:
    value = getattr(value, "fn", value) if type(value).__name__ == "Task" else value
    if isinstance(value, FunctionType):
        return [value]
    if isinstance(value, type):
        return [member for member in vars(value).values() if isinstance(member, FunctionType)]
    return []


def names_in(code: CodeType) -> list[str]:
    """Names of globals and attributes that the code uses, sorted."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += names_in(constant)
    return sorted(set(names))


def parts_of(code: CodeType) -> Iterator[bytes]:
    """What changes when the code does something else, and with nothing else."""
    yield f"{sys.version_info[:2]}".encode()  # byte code is that of one minor version
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, code.co_freevars)).encode()
    doc = code.co_consts[0] if code.co_consts else None
    for number, constant in enumerate(code.co_consts):
        if isinstance(constant, CodeType):
            yield from parts_of(constant)
        elif not (number == 0 and isinstance(doc, str)):
            yield _in_order(constant).encode()


def _in_order(constant: object) -> str:
    # The order of a set of texts is another one in each process.
    if isinstance(constant, frozenset):
        return f"frozenset({sorted(map(_in_order, constant))})"
    shown = repr(constant)
    if isinstance(constant, tuple) and "frozenset" in shown:
        return f"({', '.join(map(_in_order, constant))})"
    return shown
