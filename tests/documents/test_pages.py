"""Every page of the documents: its code runs, its links lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents.page import broken_links
from tests.documents.program import run_page

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted([*ROOT.glob("README.md"), *ROOT.glob("docs/**/*.md")])
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PROGRAMS, ids=name)
def test_the_code_of_a_page_runs(path: Path, tmp_path: Path) -> None:
    if failure := run_page(path, tmp_path):
        pytest.fail(failure.show(name(path)), pytrace=False)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(path: Path) -> None:
    if broken := broken_links(path, ROOT):
        pytest.fail("\n".join(broken), pytrace=False)
