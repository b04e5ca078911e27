"""Values as data: JSON that gives back the same value in a later process.

Plain values stay plain JSON. Others are tagged objects `{"!": kind, ...}`: pydantic models and
dataclasses by `module:qualname` and their fields, the common types of the standard library, and
types of other libraries that have a codec (`handrail.contracts.codecs`). A class of the program
itself is written `__main__:qualname`, or under its module's name if the program was started with
`python -m`. What has no such form is pickled and marked as such, for a reader on the same machine
only; what cannot be pickled either is marked as kept in memory.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import json
import logging
import pathlib
import pickle
import sys
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any

import cloudpickle
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from handrail.contracts.codecs import Codec, codec_named, codec_of
from handrail.errors import HandrailError, UnknownClassError
from handrail.plug import import_attribute

log = logging.getLogger("handrail.contracts")

#: Made once: `json.dumps` makes one at each call.
_json = json.JSONEncoder(separators=(",", ":")).encode

_SCALARS = (str, int, float, bool, type(None))
_TAG = "!"

#: `__name__` of a script that was loaded to find its workflows; its classes are `__main__`'s.
SCRIPT_MODULE = "__handrail_main__"


class InMemoryOnly(HandrailError):
    """Decoding met a value that existed only in the process that made it."""


def encode(value: Any) -> str:
    """`value` as JSON text. Never raises: what cannot be written is marked as such."""
    if value is None:
        return "null"
    try:
        data = value if _is_plain(value) else _tagged(value)
        return _json(data)
    except Exception:  # a value that holds itself, a huge number, a field that was never set
        return _json(_pickled(value))


def decode(text: str) -> Any:
    """The value that `encode` made `text` of.

    Raises:
        InMemoryOnly: the value could not be written down; its task must run again.
        UnknownClassError: its class is not where it was.
    """
    if text == "null":
        return None
    try:
        return _restore(json.loads(text))
    except HandrailError:
        raise
    except Exception as exc:  # classes are imported and pickles are loaded: any code may fail
        raise InMemoryOnly(f"a value cannot be read back: {type(exc).__name__}: {exc}") from exc


def storage_of(text: str) -> str:
    """How an encoded value is kept: `"data"`, `"pickle"` (read only here) or `"memory"`."""
    if '{"!":"memory"' in text:
        return "memory"
    return "pickle" if '{"!":"pickle"' in text else "data"


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is list:
        return all(map(_is_plain, value))
    if kind is dict:
        return (
            _TAG not in value
            and all(type(key) is str for key in value)
            and all(map(_is_plain, value.values()))
        )
    return False


def _tagged(value: Any) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is list:
        return [_tagged(item) for item in value]
    if kind is dict:
        if _TAG not in value and all(type(key) is str for key in value):
            return {key: _tagged(item) for key, item in value.items()}
        return {_TAG: "dict", "v": [[_tagged(k), _tagged(v)] for k, v in value.items()]}
    if kind in _WRITE:
        return {_TAG: _NAMES[kind], "v": _WRITE[kind](value)}
    codec = codec_of(kind)
    if codec is not None:
        return _tagged_by_codec(value, codec) or _pickled(value)
    return _tagged_by_class(value, kind) or _pickled(value)


def _tagged_by_codec(value: Any, codec: Codec) -> dict[str, Any] | None:
    try:
        written = codec.write(value)
    except Exception:  # of others; a pickle may do
        log.debug("codec '%s' cannot write a value", codec.name, exc_info=True)
        return None
    return None if written is NotImplemented else {_TAG: codec.name, "v": _tagged(written)}


def _tagged_by_class(value: Any, kind: type) -> dict[str, Any] | None:
    reference = _reference(kind)
    if reference is None:
        return None
    if isinstance(value, enum.Flag):
        return {_TAG: "flag", "of": reference, "v": value.value}
    if isinstance(value, enum.Enum):
        return {_TAG: "enum", "of": reference, "v": value.name}
    if isinstance(value, BaseModel):
        return _tagged_model(value, reference)
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return {_TAG: "namedtuple", "of": reference, "v": _sequence(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, _WITH_CONTENT):
        names = [f.name for f in dataclasses.fields(value) if hasattr(value, f.name)]
        fields = {name: getattr(value, name) for name in names}
        # What __post_init__ added is no field, and it is not called again.
        return {
            _TAG: "dataclass",
            "of": reference,
            "v": _mapping({**fields, **getattr(value, "__dict__", {})}),
        }
    return None


def _tagged_model(value: BaseModel, reference: str) -> dict[str, Any]:
    # By what the model holds: aliases, validators and computed fields have no say.
    state = value.__getstate__()
    if not type(value).model_fields.keys() <= state["__dict__"].keys():
        return _pickled(value)  # made without all of its fields
    data = {_TAG: "model", "of": reference, "v": _mapping(state["__dict__"])}
    for letter, name in (("x", "__pydantic_extra__"), ("p", "__pydantic_private__")):
        if state.get(name):
            data[letter] = _mapping(state[name])
    if state["__pydantic_fields_set__"] != state["__dict__"].keys():
        data["s"] = sorted(state["__pydantic_fields_set__"])
    return data


def _reference(kind: type) -> str | None:
    # Only a class that is found again under its name can be written by name.
    module = "__main__" if kind.__module__ == SCRIPT_MODULE else kind.__module__
    try:
        if import_attribute(f"{module}:{kind.__qualname__}") is not kind:
            return None
    except (ImportError, AttributeError, ValueError):
        return None
    return f"{main_name() if module == '__main__' else module}:{kind.__qualname__}"


def main_name() -> str:
    """The program's module name: `"pkg.mod"` if started by `python -m pkg.mod`, else
    `"__main__"`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return str(spec.name) if spec is not None else "__main__"


def _class_at(reference: str) -> Any:
    module, _, qualname = reference.partition(":")
    # Importing the program's own module again would make a second class of that name.
    found_in = "__main__" if module == main_name() else module
    try:
        return import_attribute(f"{found_in}:{qualname}")
    except (ImportError, AttributeError) as exc:
        raise UnknownClassError(reference, str(exc)) from exc


def _pickled(value: Any) -> dict[str, Any]:
    try:
        content = cloudpickle.dumps(value)
    except Exception as exc:
        kind = type(value)
        return {_TAG: "memory", "of": f"{kind.__module__}.{kind.__qualname__}", "why": str(exc)}
    return {
        _TAG: "pickle",
        "of": f"{type(value).__module__}:{type(value).__qualname__}",
        "v": base64.b64encode(content).decode("ascii"),
    }


def _sequence(value: Any) -> list[Any]:
    return [_tagged(item) for item in value]


def _mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tagged(item) for name, item in value.items()}


def _write_datetime(value: datetime.datetime) -> Any:
    zone = value.tzinfo
    key = zone.key if type(zone) is zoneinfo.ZoneInfo else None
    if key or (zone is None and value.fold):
        return [value.replace(tzinfo=None).isoformat(), key, value.fold]
    return _write_time(value)


def _read_datetime(data: Any) -> datetime.datetime:
    if isinstance(data, list):
        at, key, fold = data
        zone = zoneinfo.ZoneInfo(key) if key else None
        return datetime.datetime.fromisoformat(at).replace(tzinfo=zone, fold=fold)
    found: datetime.datetime = _read_time(datetime.datetime)(data)
    return found


def _write_time(value: datetime.datetime | datetime.time) -> Any:
    # The text tells the offset from UTC; what else a zone knows would be lost.
    zone = value.tzinfo
    is_told = not value.fold if zone is None else type(zone) is datetime.timezone
    return value.isoformat() if is_told else _pickled(value)


def _read_time(kind: Any) -> Callable[[Any], Any]:
    return lambda data: kind.fromisoformat(data) if isinstance(data, str) else _restore(data)


#: A dataclass that is one of these holds more than its fields.
_WITH_CONTENT = (list, dict, set, frozenset, tuple, str, bytes, int, float, BaseException)

#: Kind, how to write it, how to read it.
_CODECS: list[tuple[type, str, Callable[[Any], Any], Callable[[Any], Any]]] = [
    (tuple, "tuple", _sequence, lambda v: tuple(map(_restore, v))),
    (set, "set", _sequence, lambda v: set(map(_restore, v))),
    (frozenset, "frozenset", _sequence, lambda v: frozenset(map(_restore, v))),
    (bytes, "bytes", lambda v: base64.b64encode(v).decode("ascii"), base64.b64decode),
    (datetime.datetime, "datetime", _write_datetime, _read_datetime),
    (datetime.date, "date", datetime.date.isoformat, datetime.date.fromisoformat),
    (datetime.time, "time", _write_time, _read_time(datetime.time)),
    (
        datetime.timedelta,
        "timedelta",
        lambda v: [v.days, v.seconds, v.microseconds],
        lambda v: datetime.timedelta(*v),
    ),
    (decimal.Decimal, "decimal", str, decimal.Decimal),
    (uuid.UUID, "uuid", str, uuid.UUID),
    (complex, "complex", lambda v: [v.real, v.imag], lambda v: complex(*v)),
    (type(pathlib.Path()), "path", str, pathlib.Path),
    (type(pathlib.PurePath()), "purepath", str, pathlib.PurePath),
]
_WRITE = {kind: write for kind, _, write, _ in _CODECS}
_NAMES = {kind: name for kind, name, _, _ in _CODECS}
_READ = {name: read for _, name, _, read in _CODECS}


def _restore(data: Any) -> Any:
    if isinstance(data, list):
        return [_restore(item) for item in data]
    if not isinstance(data, dict):
        return data
    kind = data.get(_TAG)
    if kind is None:
        return {key: _restore(item) for key, item in data.items()}
    if kind in _READ:
        return _READ[kind](data["v"])
    if kind in _RESTORE:
        return _RESTORE[kind](data)
    return codec_named(kind).read(_restore(data["v"]))


def _restored(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _restore(item) for name, item in data.items()}


def _holds(model: type[BaseModel], name: str) -> bool:
    # A cached property is kept beside the fields.
    return name in model.model_fields or hasattr(model, name)


def _restore_model(data: dict[str, Any]) -> Any:
    model: type[BaseModel] = _class_at(data["of"])
    # The class may have been changed since: fields that it lost are left out, fields that it
    # gained have their defaults.
    values = {name: item for name, item in _restored(data["v"]).items() if _holds(model, name)}
    for name, field in model.model_fields.items():
        if name not in values:
            if field.is_required():
                raise ValueError(f"{data['of']} has a field '{name}' that was not written")
            values[name] = field.get_default(call_default_factory=True, validated_data=values)
    made = model.__new__(model)
    made.__setstate__(
        {
            "__dict__": values,
            "__pydantic_fields_set__": set(data.get("s", data["v"])),
            "__pydantic_extra__": (
                _restored(data.get("x", {})) if model.model_config.get("extra") == "allow" else None
            ),
            "__pydantic_private__": _restored_private(model, data.get("p", {})),
        }
    )
    return made


def _restored_private(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any] | None:
    attributes = model.__private_attributes__
    if not attributes:
        return None
    defaults = {name: attribute.get_default() for name, attribute in attributes.items()}
    said = {name: value for name, value in defaults.items() if value is not PydanticUndefined}
    return {**said, **_restored(data)}


def _restore_dataclass(data: dict[str, Any]) -> Any:
    kind = _class_at(data["of"])
    values = _restored(data["v"])
    made = kind.__new__(kind)
    for field in dataclasses.fields(kind):
        if field.name not in values and field.default_factory is not dataclasses.MISSING:
            values[field.name] = field.default_factory()
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def _restore_pickle(data: dict[str, Any]) -> Any:
    try:
        return pickle.loads(base64.b64decode(data["v"]))
    except (ImportError, AttributeError) as exc:
        raise UnknownClassError(data["of"], str(exc)) from exc


def _restore_memory(data: dict[str, Any]) -> Any:
    raise InMemoryOnly(f"a {data['of']} was kept in memory only: {data['why']}")


_RESTORE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dict": lambda data: {_restore(k): _restore(v) for k, v in data["v"]},
    "flag": lambda data: _class_at(data["of"])(data["v"]),
    "enum": lambda data: _class_at(data["of"])[data["v"]],
    "model": _restore_model,
    "dataclass": _restore_dataclass,
    "namedtuple": lambda data: _class_at(data["of"])._make(map(_restore, data["v"])),
    "pickle": _restore_pickle,
    "memory": _restore_memory,
}
