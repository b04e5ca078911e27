"""Codecs by type: how values of other libraries are written as data and read again.

A codec belongs to exactly one class; a subclass may hold more than it can write. Codecs of
libraries are in modules of their own, imported when a value of the library turns up or is read.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from handrail.errors import RuntimeConfigError, StoreError, UnknownClassError
from handrail.plug import import_attribute

log = logging.getLogger("handrail.contracts")


class Codec(NamedTuple):
    """How values of one class are written and read."""

    #: Stands in the written value; has a dot, as the kinds of `values` have none.
    name: str
    #: Returns a value that has a form as data, or `NotImplemented`: this one is pickled.
    write: Callable[[Any], Any]
    #: Is given what `write` returned, and returns an equal value of the class.
    read: Callable[[Any], Any]


class UnknownCodecError(UnknownClassError):
    """A stored value was written by a codec that this process does not have."""

    def __init__(self, name: str, reason: str = "nobody has registered it") -> None:
        self.reference = name
        StoreError.__init__(
            self,
            f"A stored value was written by the codec '{name}', which is not here: {reason}. "
            f"Import the module that calls register_codec for it, or install its library.",
        )


#: Codecs of one library: its package, and the module here that registers them when imported.
_LIBRARIES = {
    "numpy": "handrail.contracts.arrays",
    "pandas": "handrail.contracts.frames",
    "polars": "handrail.contracts.polars_frames",
    "pyarrow": "handrail.contracts.arrow",
}

#: Modules whose types `handrail.contracts.values` writes itself.
_OF_VALUES = frozenset(["builtins", "datetime", "decimal", "pathlib", "uuid"])

_by_type: dict[type, Codec] = {}
_by_name: dict[str, Codec] = {}
#: By package: what is to be done before codecs of its classes are looked for.
_pending: dict[str, list[Callable[[], object]]] = {}
_lock = threading.RLock()


def register_codec(
    kind: type | str, name: str, write: Callable[[Any], Any], read: Callable[[Any], Any]
) -> None:
    """Makes values of a class data, so that a run can be resumed with them anywhere.

    Call it in a module that is imported both where values are written and where they are read,
    such as the workflow's own. A later call for the same class or name replaces an earlier one.

    Args:
        kind: the class, or `"package.module:Class"` so as not to import it; the class's
            `__module__` must then begin with the same package. Subclasses are not meant.
        name: stands in the written value and must stay the same; has a dot: `"geo.Polygon"`.
        write: turns a value into plain data, or into values that are data themselves, such as
            arrays. `NotImplemented` leaves this value to pickle, as does an error.
        read: turns what `write` returned into the value.

    Raises:
        RuntimeConfigError: the name has no dot, or begins with a library whose codecs are built
            in; or `kind` is neither; or it is a type of Python's that is data already.
    """
    package, dot, rest = name.partition(".")
    if not dot or not package or not rest or package in _LIBRARIES:
        raise RuntimeConfigError(
            f"Codec name {name!r}: expected one with a dot, not beginning with "
            f"{', '.join(sorted(_LIBRARIES))}: 'geo.Polygon'."
        )
    module = kind.__module__ if isinstance(kind, type) else str(kind).partition(":")[0]
    if module in _OF_VALUES:
        raise RuntimeConfigError(f"Codec '{name}': types of '{module}' have a form of their own.")
    add_codec(kind, Codec(name, write, read))


def add_codec(kind: type | str, codec: Codec) -> None:
    """Registers a codec under any name."""
    with _lock:
        if isinstance(kind, type):
            _by_type[kind] = codec
        elif isinstance(kind, str) and ":" in kind:
            package = kind.partition(":")[0].partition(".")[0]
            _pending.setdefault(package, []).append(partial(_resolve, kind, codec))
        else:
            raise RuntimeConfigError(
                f"Codec '{codec.name}': {kind!r} is no class or 'module:Class'"
            )
        _by_name[codec.name] = codec


def codec_of(kind: type) -> Codec | None:
    """The codec of a class, if it has one."""
    found = _by_type.get(kind)
    if found is None and (package := kind.__module__.partition(".")[0]) in _pending:
        _prepare(package)
        found = _by_type.get(kind)
    return found


def codec_named(name: str) -> Codec:
    """The codec that wrote a value.

    Raises:
        UnknownCodecError: there is none of that name, or its library is not installed.
    """
    if name not in _by_name and (package := name.partition(".")[0]) in _LIBRARIES:
        try:
            _prepare(package)
        except ImportError as exc:
            raise UnknownCodecError(name, str(exc)) from exc
    try:
        return _by_name[name]
    except KeyError:
        raise UnknownCodecError(name) from None


def is_codec(name: str) -> bool:
    """Is it the name of a codec that is built in or registered?"""
    return name in _by_name or name.partition(".")[0] in _LIBRARIES


def _prepare(package: str) -> None:
    # Under a lock: a second thread must find the codecs, not a package that is being prepared.
    with _lock:
        for step in _pending.get(package, ()):
            step()
        _pending.pop(package, None)


def _resolve(reference: str, codec: Codec) -> None:
    try:
        _by_type[import_attribute(reference)] = codec
    except Exception as exc:  # the codec of one class must not keep the others from being found
        log.warning("codec '%s': there is no %s: %s", codec.name, reference, exc)


for _package, _module in _LIBRARIES.items():
    _pending[_package] = [partial(importlib.import_module, _module)]
