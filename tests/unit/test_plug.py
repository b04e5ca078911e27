from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from handrail.errors import NotInstalledError
from handrail.plug import Registry, Slot, handlers, import_attribute


def registry(**built_in: str) -> Registry:
    return Registry("plug", "handrail.tests.no_such_group", built_in)


def write_distribution(folder: Path, name: str, group: str, entry: str) -> None:
    """Makes `folder` look like a place where a package with one entry point is installed."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")


def test_a_reference_names_a_function_of_a_module() -> None:
    assert import_attribute("json:dumps") is json.dumps


def test_a_reference_reaches_into_classes() -> None:
    assert import_attribute("json:JSONDecoder.decode") is json.JSONDecoder.decode


@pytest.mark.parametrize("reference", ["json", "json:", ":dumps", "", "json.dumps"])
def test_a_reference_without_both_parts_is_refused(reference: str) -> None:
    with pytest.raises(ValueError, match="expected 'module:name'"):
        import_attribute(reference)


def test_a_reference_to_a_missing_module_is_an_import_error() -> None:
    with pytest.raises(ImportError):
        import_attribute("handrail_has_no_such_module:thing")


def test_a_reference_to_a_missing_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        import_attribute("json:no_such_name")


def test_a_plug_is_imported_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plug_imported_late.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugs = registry(late="plug_imported_late:Thing")

    assert "late" in plugs
    assert plugs.names() == ["late"]
    assert "plug_imported_late" not in sys.modules
    assert plugs.get("late").__name__ == "Thing"
    monkeypatch.delitem(sys.modules, "plug_imported_late")


def test_an_imported_plug_is_kept() -> None:
    plugs = registry(dumps="json:dumps")

    assert plugs.get("dumps") is plugs.get("dumps") is json.dumps


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        registry().get("nothing")


def test_a_known_plug_whose_extra_is_missing_tells_the_pip_command() -> None:
    plugs = Registry(
        "task handler",
        "handrail.tests.no_such_group",
        {"ferry": "handrail_has_no_such_module:Ferry"},
        extras={"ferry": "ferry"},
    )

    assert "ferry" in plugs
    with pytest.raises(NotInstalledError, match=r"pip install 'handrail\[ferry\]'") as caught:
        plugs.get("ferry")
    assert caught.value.extra == "ferry"
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_broken_plug_without_an_extra_shows_its_own_import_error() -> None:
    plugs = registry(broken="handrail_has_no_such_module:Thing")

    with pytest.raises(ImportError) as caught:
        plugs.get("broken")
    assert not isinstance(caught.value, NotInstalledError)


def test_a_registered_object_is_given_back_as_it_is() -> None:
    plugs, thing = registry(), object()
    plugs.register("thing", thing)

    assert plugs.get("thing") is thing


def test_a_registration_replaces_a_built_in_plug() -> None:
    plugs, mine = registry(dumps="json:dumps"), object()
    plugs.register("dumps", mine)

    assert plugs.get("dumps") is mine


def test_a_registered_reference_is_imported() -> None:
    plugs = registry()
    plugs.register("loads", "json:loads")

    assert plugs.get("loads") is json.loads


def test_an_unregistered_name_is_unknown() -> None:
    plugs = registry()
    plugs.register("thing", object())
    plugs.unregister("thing")
    plugs.unregister("was never there")

    assert "thing" not in plugs
    assert plugs.names() == []


def test_names_are_sorted() -> None:
    assert registry(b="json:dumps", a="json:dumps", c="json:dumps").names() == ["a", "b", "c"]


def test_an_installed_package_adds_a_plug_by_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path, "plug_giver", "handrail.tests.givers", "given = json:dumps")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugs = Registry("plug", "handrail.tests.givers", {})

    assert "given" in plugs
    assert plugs.names() == ["given"]
    assert plugs.get("given") is json.dumps


def test_an_entry_point_does_not_replace_a_built_in_plug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path, "plug_taker", "handrail.tests.takers", "dumps = json:loads")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugs = Registry("plug", "handrail.tests.takers", {"dumps": "json:dumps"})

    assert plugs.names() == ["dumps"]
    assert plugs.get("dumps") is json.dumps


@pytest.mark.parametrize("name", sorted(handlers.names()))
def test_every_built_in_handler_can_be_had_or_says_which_extra_it_needs(name: str) -> None:
    found, extra = None, ""
    try:
        found = handlers.get(name)
    except NotInstalledError as missing:
        extra = missing.extra

    assert isinstance(found, type) or extra


def test_an_empty_slot_calls_its_default() -> None:
    assert Slot("builtins:dict")() == {}


def test_a_filled_slot_calls_what_fills_it() -> None:
    slot = Slot("builtins:dict")
    slot.fill(lambda: "filled")

    assert slot() == "filled"


def test_filling_a_slot_gives_back_what_was_there() -> None:
    slot = Slot("builtins:dict")

    def make() -> str:
        return "first"

    assert slot.fill(make) is None
    assert slot.fill(None) is make
    assert slot() == {}
