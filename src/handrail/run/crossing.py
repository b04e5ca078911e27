"""Values as bytes that another process opens, and the name of what cannot cross.

Code that can be imported travels as `module:qualname`, all other code by value (cloudpickle).
Pickle protocol 5; only for processes of this user on this machine, never for what a container
or a network sends back.
"""

from __future__ import annotations

import functools
import io
import pickle
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cloudpickle

from handrail.contracts.task import Task, TaskDefinition
from handrail.contracts.values import SCRIPT_MODULE
from handrail.errors import NotSerializableError
from handrail.plug import import_attribute

PROTOCOL = 5
_SHOWN = 40


def dumps(value: Any, name: str, advice: str = "") -> bytes:
    """`value` as bytes.

    Args:
        name: what it is, for the error: "task 'load': argument 'rows'".
        advice: last sentence of the error: what to do.

    Raises:
        NotSerializableError: says why, and which part of `value` is the cause.
    """
    try:
        return _dumps(value)
    except Exception as exc:
        where, cause = _culprit(value, exc)
        raise NotSerializableError(
            f"{name[:1].upper()}{name[1:]} cannot be sent to another process: {cause}"
            f"{f' (in {where})' if where else ''}.{f' {advice}' if advice else ''}"
        ) from exc


def loads(content: bytes | bytearray) -> Any:
    """The value that `dumps` made bytes of.

    Raises:
        Exception: whatever unpickling raises; modules that are missing here, most often.
    """
    return pickle.loads(content)


def _dumps(value: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, PROTOCOL).dump(value)
    return buffer.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Cloudpickle that finds the functions behind the tasks of a module by name, too.

    A decorated function's name leads to its task, so cloudpickle alone would copy the function
    and every global it uses.
    """

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, TaskDefinition):
            reference = _reference(obj.fn, lambda task: task.definition is obj)
            if reference is not None:
                return definition_at, (reference,)
        elif isinstance(obj, types.FunctionType):
            reference = _reference(obj, lambda task: task.fn is obj)
            if reference is not None:
                return function_at, (reference,)
        return super().reducer_override(obj)


def _reference(fn: Any, is_it: Callable[[Task], bool]) -> str | None:
    module, qualname = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "")
    if not module or module in ("__main__", SCRIPT_MODULE) or not qualname or "<" in qualname:
        return None
    reference = f"{module}:{qualname}"
    try:
        found = import_attribute(reference)
    except (ImportError, AttributeError, ValueError):
        return None
    return reference if isinstance(found, Task) and is_it(found) else None


def definition_at(reference: str) -> TaskDefinition:
    """Definition of the task that `"module:qualname"` names."""
    return _task_at(reference).definition


def function_at(reference: str) -> Callable[..., Any]:
    """Function of the task that `"module:qualname"` names."""
    return _task_at(reference).fn


def _task_at(reference: str) -> Task:
    found = import_attribute(reference)
    if not isinstance(found, Task):
        raise ImportError(f"{reference} is a {type(found).__name__} here, not a task")
    return found


# Which part of a value cannot be pickled


def _culprit(value: Any, error: Exception) -> tuple[str, str]:
    """`(path, message)` of the innermost part that cannot be pickled; path "" is the value."""
    path, cause, seen = "", error, [value]
    while (found := _bad_part(value, seen)) is not None:
        step, value, cause = found
        path += step
    text = str(cause).strip() or type(cause).__name__
    return path.lstrip(". "), text.rstrip(".")


def _bad_part(value: Any, seen: list[Any]) -> tuple[str, Any, Exception] | None:
    for step, part in _parts(value):
        if any(part is known for known in seen):
            continue
        seen.append(part)
        try:
            _dumps(part)
        except Exception as exc:
            return step, part, exc
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"[{_short(key)}]", item
            yield f" key {_short(key)}", key
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((f" member {_short(item)}", item) for item in value)
    elif isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, functools.partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    if not isinstance(value, (type, types.ModuleType, types.FunctionType)):
        yield from _attributes(value)


def _parts_of_function(fn: types.FunctionType) -> Iterator[tuple[str, Any]]:
    name = fn.__qualname__.rpartition("<locals>.")[2]
    for variable, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            yield f" closure variable '{variable}' of {name}()", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for variable in fn.__code__.co_names:
        if variable in fn.__globals__:
            yield f" global variable '{variable}' of {name}()", fn.__globals__[variable]
    yield from ((f" default of {name}()", default) for default in fn.__defaults__ or ())
    for parameter, default in (fn.__kwdefaults__ or {}).items():
        yield f" default of '{parameter}' of {name}()", default


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    for name, item in getattr(value, "__dict__", {}).items():
        yield f".{name}", item
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield f".{name}", getattr(value, name)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
