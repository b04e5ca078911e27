"""The map of the documents has every page."""

from __future__ import annotations

from pathlib import Path

from tests.documents.page import links

DOCS = Path(__file__).parents[2] / "docs"


def test_every_page_is_on_the_map() -> None:
    index = DOCS / "index.md"
    named = {(DOCS / link.target).resolve() for link in links(index.read_text("utf-8"))}
    pages = {path.resolve() for path in DOCS.rglob("*.md")} - {index.resolve()}
    assert sorted(str(path.relative_to(DOCS.resolve())) for path in pages - named) == []
