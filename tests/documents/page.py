"""Reads a page: its fenced blocks with their words and lines, its headings, its links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})[ \t]*(?P<info>[^`]*?)\s*$")
HEADING = re.compile(r"^#{1,6}\s+(?P<text>.*?)\s*#*\s*$")
INLINE_LINK = re.compile(r"!?\[(?:[^\]\\]|\\.)*\]\(\s*<?(?P<target>[^)\s>]+)>?(?:\s+[^)]*)?\)")
LINK_DEFINITION = re.compile(r"^ {0,3}\[[^\]^]+\]:\s+<?(?P<target>[^\s>]+)")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    #: First word behind the fence, for example "python".
    language: str
    #: The other words; `key="value"` is in `options`.
    words: frozenset[str]
    options: dict[str, str]
    #: Number of the first line of `lines` in its page, from 1.
    first_line: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


@dataclass(frozen=True)
class Link:
    target: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order; indented ones (in lists) are moved to the left.

    Raises:
        ValueError: a fence is never closed.
    """
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        if opening := FENCE.match(lines[number]):
            end = closing_line(lines, number, opening["marks"])
            indent = len(opening["indent"])
            body = tuple(unindented(line, indent) for line in lines[number + 1 : end])
            yield block(opening["info"], number + 2, body)
            number = end
        number += 1


def closing_line(lines: list[str], start: int, marks: str) -> int:
    for number in range(start + 1, len(lines)):
        found = lines[number].strip()
        if len(found) >= len(marks) and set(found) == {marks[0]}:
            return number
    raise ValueError(f"line {start + 1}: the fence is never closed")


def unindented(line: str, indent: int) -> str:
    return line[min(indent, len(line) - len(line.lstrip(" "))) :]


def block(info: str, first_line: int, lines: tuple[str, ...]) -> Block:
    language, *rest = shlex.split(info) or [""]
    options = dict(word.split("=", 1) for word in rest if "=" in word)
    words = frozenset(word for word in rest if "=" not in word)
    return Block(language.lower(), words, options, first_line, lines)


def prose(text: str) -> list[str]:
    """The lines of a page with fenced blocks and inline code blanked."""
    lines = text.splitlines()
    for found in blocks(text):
        for number in range(found.first_line - 2, found.first_line + len(found.lines)):
            lines[number] = ""
    return [re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line) for line in lines]


def links(text: str) -> Iterator[Link]:
    """Targets of links, images and link definitions outside code."""
    for number, line in enumerate(prose(text), start=1):
        for found in INLINE_LINK.finditer(line):
            yield Link(found["target"], number)
        if definition := LINK_DEFINITION.match(line):
            yield Link(definition["target"], number)


def anchors(text: str) -> set[str]:
    """Names of the headings, as hosts of Markdown make them: `## How it works` is how-it-works."""
    lines = text.splitlines()
    inside = {
        number
        for found in blocks(text)
        for number in range(found.first_line - 1, found.first_line + len(found.lines))
    }
    names: set[str] = set(re.findall(r"<a\s+(?:id|name)=[\"']([^\"']+)", text))
    for number, line in enumerate(lines):
        if number not in inside and (heading := HEADING.match(line)):
            names.add(numbered(slug(heading["text"]), names))
    return names


def slug(heading: str) -> str:
    """Lower case, links by their text, punctuation dropped, spaces as hyphens."""
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")


def numbered(name: str, taken: set[str]) -> str:
    count = 0
    found = name
    while found in taken:
        count += 1
        found = f"{name}-{count}"
    return found


def broken_links(path: Path, root: Path) -> list[str]:
    """What is wrong with the relative links of the page at `path`, one text for each."""
    name = path.relative_to(root)
    found = ((link, broken(link.target, path, root)) for link in links(path.read_text("utf-8")))
    return [f"{name}:{link.line}: {link.target}: {why}" for link, why in found if why]


def broken(target: str, path: Path, root: Path) -> str | None:
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//", target):
        return None
    file_part, _, anchor = target.partition("#")
    goal = (path.parent / file_part).resolve() if file_part else path
    if not goal.is_relative_to(root.resolve()):
        return "leads out of the repository"
    if not goal.exists():
        return "no such file"
    if anchor and goal.suffix == ".md" and anchor not in anchors(goal.read_text("utf-8")):
        return f"no heading '{anchor}' there"
    return None
