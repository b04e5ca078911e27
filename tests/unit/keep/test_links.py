from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.keep.links import leads_outside, links_outside


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a", "/etc/passwd"),
        ("a", ".."),
        ("a", "../x"),
        ("sub/a", "../../x"),
        ("a", "sub/../../x"),
    ],
)
def test_a_link_that_leaves_by_its_text_leads_outside(path: str, target: str) -> None:
    assert leads_outside(path, target, {})


@pytest.mark.parametrize(
    ("path", "target"), [("a", "b"), ("sub/a", "../b"), ("sub/a", ".."), ("a", "sub/../b")]
)
def test_a_link_that_stays_leads_nowhere_outside(path: str, target: str) -> None:
    assert not leads_outside(path, target, {})


def test_a_link_that_leaves_through_another_one_leads_outside() -> None:
    links = {"sub/up": "..", "a": "sub/up/..", "b": "sub/up/x"}
    assert links_outside(links) == {"a"}


def test_links_in_a_circle_stay_inside() -> None:
    assert links_outside({"a": "b", "b": "a", "c": "c/../d"}) == set()


_NAMES = st.sampled_from(["a", "b", "c"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_TARGETS = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=5).map(
    "/".join
)


@given(st.dictionaries(_PATHS, _TARGETS, max_size=5))
def test_the_file_system_agrees(tmp_path_factory: pytest.TempPathFactory, links: object) -> None:
    """Against real links; where a link is the parent of another one, that one cannot be."""
    assert isinstance(links, dict)
    root = tmp_path_factory.mktemp("outer") / "one/two/three/four/five/root"
    root.mkdir(parents=True)
    made: dict[str, str] = {}
    for path, target in sorted(links.items()):
        parents = [path[:at] for at, letter in enumerate(path) if letter == "/"]
        if made.keys() & set(parents):
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(root / path):
            (root / path).symlink_to(target)
            made[path] = target
    for path, target in made.items():
        by_text = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if by_text == ".." or by_text.startswith("../"):
            assert leads_outside(path, target, made)
            continue
        if _goes_round(root / path):
            continue
        ends = Path(os.path.realpath(root / path))
        assert leads_outside(path, target, made) == (not ends.is_relative_to(root))


def _goes_round(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
