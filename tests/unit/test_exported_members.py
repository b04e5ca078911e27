from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

import handrail

#: Core libraries that take longer to import than Handrail itself may, and optional ones.
HEAVY = {
    "asyncio",
    "cloudpickle",
    "matplotlib",
    "numpy",
    "pandas",
    "pydantic",
    "rich",
    "sqlite3",
    "typer",
}


def modules_after(statement: str) -> set[str]:
    """Top-level modules loaded in a fresh interpreter after `statement`."""
    program = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("name", sorted(handrail.__all__))
def test_a_public_name_can_be_had(name: str) -> None:
    assert getattr(handrail, name) is not None


@pytest.mark.parametrize(("name", "module"), sorted(handrail._EXPORTS.items()))
def test_a_lazy_name_is_the_object_of_its_module(name: str, module: str) -> None:
    assert getattr(handrail, name) is getattr(importlib.import_module(module), name)


def test_every_lazy_name_is_public() -> None:
    assert set(handrail._EXPORTS) <= set(handrail.__all__)


def test_a_public_name_is_said_once() -> None:
    assert len(handrail.__all__) == len(set(handrail.__all__))


def test_dir_shows_the_public_names() -> None:
    assert set(handrail.__all__) <= set(dir(handrail))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = handrail.no_such_name


def test_a_star_import_brings_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from handrail import *", names)

    assert set(handrail.__all__) <= set(names)


def test_importing_handrail_imports_nothing_heavy() -> None:
    already = modules_after("pass")

    assert not (modules_after("import handrail") - already) & HEAVY
