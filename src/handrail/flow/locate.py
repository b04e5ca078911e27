"""Where a workflow is written, and finding it there again in a later process.

A reference is `package.module:name` or `path/to/script.py:name`, where `name` is the variable
that holds the workflow, or the workflow's own name.
"""

from __future__ import annotations

import difflib
import importlib.util
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import cloudpickle

from handrail.contracts.values import SCRIPT_MODULE, main_name
from handrail.errors import WorkflowDefinitionError
from handrail.flow.workflow import LoadingStopped, loading, workflow

_REFERENCE = re.compile(r"(?P<place>.+?\.py|[^:]+)(?::(?P<name>.+))?")
_GUARD = 'Put that call below `if __name__ == "__main__":`.'


def reference_of(flow: workflow) -> str | None:
    """Where `flow` is found again; none if no variable of a module holds it.

    `"package.module:variable"`, or the absolute path of a script: `"/songs/charts.py:flow"`.
    """
    for name in dict.fromkeys((flow.module, "__main__")):
        module = sys.modules.get(name)
        if module is None:
            continue
        for variable, value in list(vars(module).items()):
            if value is flow:
                place = _place_of(name, module)
                return f"{place}:{variable}" if place else None
    return None


def _place_of(name: str, module: ModuleType) -> str | None:
    if name == "__main__" and main_name() != name:
        return main_name()
    if name not in ("__main__", SCRIPT_MODULE):
        return name
    # Not there for notebooks, `python -c` and standard input.
    file = getattr(module, "__file__", None)
    return os.path.abspath(file) if file and os.path.isfile(file) else None


def load_workflow(reference: str, *, folder: Path | None = None) -> workflow:
    """The workflow that `reference` names; its module is loaded if need be, and never run.

    For a process that is there to run workflows, as the command line is: like `python -m` it
    puts `folder` in front of `sys.path`, and a script takes the place of `__main__`, so that
    its classes are found under the names they have when it is run itself. A module that calls
    `execute()` while it is loaded is left at that point.

    Args:
        reference: `"module:name"` or `"path.py:name"`; without a name, the module's only
            workflow.
        folder: where modules and paths are looked for; the working folder by default.

    Raises:
        WorkflowDefinitionError: the module or script cannot be loaded, or has no such workflow.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise WorkflowDefinitionError(
            f"{reference!r} names no workflow: expected 'module:name' or 'path.py:name'."
        )
    place, name = match["place"], match["name"]
    folder = Path(os.path.abspath(folder or Path.cwd()))
    if place.endswith(".py") or os.sep in place:
        module, stopped_at = _script(Path(os.path.abspath(folder / place)), folder)
    else:
        module, stopped_at = _module(place, folder)
    try:
        return _workflow_of(module, name, place)
    except WorkflowDefinitionError as error:
        if stopped_at is None:
            raise
        raise WorkflowDefinitionError(
            f"{error} Loading stopped at {stopped_at}, which calls execute(). {_GUARD}"
        ) from None


# Loading


def _module(name: str, folder: Path) -> tuple[ModuleType, str | None]:
    """The module, and where its loading stopped, if it did."""
    if name == main_name():
        return sys.modules["__main__"], None
    if name in sys.modules:
        return sys.modules[name], None
    _put_first(folder)
    with _loading(f"Module '{name}' cannot be imported", f" It was looked for in {folder}."):
        return _imported(name)


def _imported(name: str) -> tuple[ModuleType, str | None]:
    # As importlib.import_module does, except that a module that was stopped is kept.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = importlib.util.module_from_spec(spec)
    stopped_at = _execute(partial(spec.loader.exec_module, module), module, name)
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    return module, stopped_at


def _script(file: Path, folder: Path) -> tuple[ModuleType, str | None]:
    main = sys.modules["__main__"]
    if main_name() == "__main__" and _is_same(getattr(main, "__file__", None), file):
        return main, None
    _put_first(folder)
    _put_first(file.parent)
    module = ModuleType(SCRIPT_MODULE)
    module.__file__ = str(file)
    with _loading(f"Script {file} cannot be loaded"):
        with io.open_code(str(file)) as source:
            code = compile(source.read(), str(file), "exec", dont_inherit=True)
        run = partial(exec, code, vars(module))
        stopped_at = _execute(run, module, SCRIPT_MODULE, "__main__")
    # As for those of `__main__`: no other process can import its functions and classes.
    cloudpickle.register_pickle_by_value(module)
    return module, stopped_at


def _execute(run: Callable[[], object], module: ModuleType, *names: str) -> str | None:
    """Runs a module's code, the module entered in `sys.modules`; returns where it stopped."""
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(dict.fromkeys(names, module))
    try:
        run()
    except LoadingStopped as stop:
        return stop.place
    except BaseException:
        for name, known in before.items():
            if known is not None:
                sys.modules[name] = known
            else:
                sys.modules.pop(name, None)
        raise
    return None


@contextmanager
def _loading(failure: str, hint: str = "") -> Iterator[None]:
    token = loading.set(True)
    try:
        yield
    except LoadingStopped as stop:
        raise WorkflowDefinitionError(
            f"{failure}: {stop.place}, in a package above it, calls execute(). {_GUARD}"
        ) from None
    except (Exception, SystemExit) as exc:
        raise WorkflowDefinitionError(f"{failure}: {_one_line(exc)}.{hint}") from exc
    finally:
        loading.reset(token)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, SystemExit):
        return f"it ends the program (SystemExit: {error.code}) instead of defining its workflows"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def _put_first(folder: Path) -> None:
    text = str(folder)
    if text in sys.path:
        sys.path.remove(text)
    sys.path.insert(0, text)


def _is_same(first: str | None, second: Path) -> bool:
    return first is not None and os.path.realpath(first) == os.path.realpath(second)


# Choosing


def _workflow_of(module: ModuleType, name: str | None, place: str) -> workflow:
    held = {key: value for key, value in vars(module).items() if isinstance(value, workflow)}
    if name is None:
        return _only(held, module.__name__, place)
    if name in held:
        return held[name]
    named = _distinct({key: value for key, value in held.items() if value.name == name})
    if len(named) == 1:
        return next(iter(named.values()))
    if named:
        raise WorkflowDefinitionError(
            f"'{place}' holds several workflows called '{name}'. Name the variable instead: "
            f"{', '.join(named)}."
        )
    if name in vars(module):
        kind = type(vars(module)[name]).__name__
        raise WorkflowDefinitionError(f"'{place}:{name}' is a {kind}, not a workflow.")
    near = difflib.get_close_matches(name, [*held, *(flow.name for flow in held.values())], 1)
    raise WorkflowDefinitionError(
        f"'{place}' holds no workflow '{name}'. {_known(held)}"
        f"{f' Did you mean {near[0]!r}?' if near else ''}"
    )


def _only(held: Mapping[str, workflow], module: str, place: str) -> workflow:
    found = _distinct(held)
    own = {key: flow for key, flow in found.items() if flow.module == module}
    if len(own or found) == 1:
        return next(iter((own or found).values()))
    if not found:
        raise WorkflowDefinitionError(
            f"'{place}' holds no workflow. One is found if a variable of the module holds it."
        )
    raise WorkflowDefinitionError(
        f"'{place}' holds several workflows. {_known(found)} "
        f"Name one, as in '{place}:{next(iter(own or found))}'."
    )


def _distinct(held: Mapping[str, workflow]) -> dict[str, workflow]:
    """Each workflow once, under the first variable that holds it."""
    first: dict[int, str] = {}
    for key, flow in held.items():
        first.setdefault(id(flow), key)
    return {key: held[key] for key in first.values()}


def _known(held: Mapping[str, workflow]) -> str:
    shown = [
        key if key == flow.name else f"{key} (called '{flow.name}')"
        for key, flow in _distinct(held).items()
    ]
    return f"Known workflows: {', '.join(shown) or 'none'}."
