"""What a page's program calls for its console blocks and its named files."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path


class PageError(AssertionError):
    """A command of the page did something else than the page says."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")


def write(name: str, text: str) -> None:
    """Saves a block under the name in its title."""
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


def run(first_line: int, expected_code: int, lines: Sequence[str]) -> None:
    """Runs each `$ command` of a block and compares what it prints, where the page shows it.

    Raises:
        PageError: another exit code or another output; the message names the line of the page.
    """
    for line, command, expected in commands(first_line, lines):
        done = subprocess.run(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        if done.returncode != expected_code:
            raise PageError(
                line,
                f"exit code {done.returncode} instead of {expected_code}: {command}\n{done.stdout}",
            )
        if expected and not matches(expected, done.stdout):
            shown = "\n".join(expected)
            raise PageError(
                line, f"other output: {command}\n--- page\n{shown}\n--- command\n{done.stdout}"
            )


def commands(first_line: int, lines: Sequence[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Line of the page, command and expected lines; a backslash continues a command."""
    number = 0
    while number < len(lines):
        line, start = lines[number], number
        number += 1
        if not line.startswith("$ "):
            if line.strip():
                raise PageError(first_line + start, f"output without a '$ command' above: {line}")
            continue
        command = line[2:]
        while command.endswith("\\") and number < len(lines):
            command = f"{command}\n{lines[number].removeprefix('> ')}"
            number += 1
        expected = []
        while number < len(lines) and not lines[number].startswith("$ "):
            expected.append(lines[number])
            number += 1
        yield first_line + start, command, expected


def matches(expected: Sequence[str], output: str) -> bool:
    """Compares line by line; `...` alone stands for any lines, within a line for any text.

    Blank lines at the end and spaces at line ends do not count.
    """
    pattern = "".join(line_pattern(line.rstrip()) for line in trimmed(expected))
    found = "".join(f"{line.rstrip()}\n" for line in trimmed(output.splitlines()))
    return re.fullmatch(pattern, found) is not None


def trimmed(lines: Sequence[str]) -> list[str]:
    kept = list(lines)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def line_pattern(line: str) -> str:
    if line.strip() in {"...", "…"}:
        return r"(?:[^\n]*\n)*?"
    return r"[^\n]*?".join(re.escape(part) for part in re.split(r"\.\.\.|…", line)) + r"\n"
