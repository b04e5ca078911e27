"""Turns a page into one program and runs it in an empty folder.

Line N of the program is line N of the page, so errors point into the page, and the source of
the page's functions can be found by `inspect`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.documents.page import Block, blocks

CONSOLES = {"console", "bash", "shell", "sh"}


@dataclass(frozen=True)
class Failure:
    """Why a page failed; `line` is of the page."""

    line: int
    message: str
    output: str = ""

    def show(self, page: str) -> str:
        return f"{page}:{self.line}: {self.message}\n{self.output}".rstrip()


def is_run(block: Block) -> bool:
    if block.language == "python":
        return "no-run" not in block.words and "title" not in block.options
    return block.language in CONSOLES and "run" in block.words


def program(text: str) -> str:
    """The page as a program of as many lines."""
    lines = [""] * len(text.splitlines())
    for block in blocks(text):
        start = block.first_line - 1
        if block.language == "python" and is_run(block):
            lines[start : start + len(block.lines)] = block.lines
        elif block.language == "python" and "title" in block.options:
            lines[start] = call("write", block.options["title"], block.text)
        elif is_run(block) and block.lines:
            code = int(block.options.get("exit", "0"))
            lines[start] = call("run", block.first_line, code, list(block.lines))
    return "".join(f"{line}\n" for line in lines)


def call(function: str, *arguments: object) -> str:
    return f"__import__('handrail_page').{function}({', '.join(map(repr, arguments))})"


def syntax_failure(text: str) -> Failure | None:
    """The first Python block of the page that is not Python, whether it is run or not."""
    for block in blocks(text):
        if block.language != "python":
            continue
        try:
            compile("\n" * (block.first_line - 1) + block.text, "page", "exec")
        except SyntaxError as exc:
            return Failure(exc.lineno or block.first_line, f"SyntaxError: {exc.msg}")
    return None


def environment() -> dict[str, str]:
    """The caller's, without its Handrail settings and with this installation's commands first."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("HANDRAIL_")}
    found["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{found.get('PATH', os.defpath)}"
    found["PYTHONPATH"] = str(Path(__file__).parent / "support")
    found.update(NO_COLOR="1", COLUMNS="120", PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8")
    return found


def run_page(path: Path, folder: Path, timeout_seconds: float = 100) -> Failure | None:
    """Runs the page at `path` in `folder`, which should be empty."""
    text = path.read_text("utf-8")
    if failure := syntax_failure(text):
        return failure
    if not any(is_run(block) for block in blocks(text)):
        return None
    file = folder / (re.sub(r"\W", "_", path.stem) + "_page.py")
    file.write_text(program(text), "utf-8")
    try:
        done = subprocess.run(
            [sys.executable, str(file)],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired as exc:
        shown = exc.output.decode("utf-8", "replace") if isinstance(exc.output, bytes) else ""
        return Failure(1, f"the page ran longer than {timeout_seconds:g} s", shown)
    return None if done.returncode == 0 else failure_of(done.stdout, file, done.returncode)


def failure_of(output: str, file: Path, code: int) -> Failure:
    """Points at the last line of the page that the traceback names."""
    named = re.findall(rf'File "{re.escape(str(file))}", line (\d+)', output)
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    if not named:
        return Failure(1, f"the page ended with exit code {code}", output)
    if told := re.search(r"^(?:handrail_page\.)?PageError: line (\d+): (.*)", output, re.M):
        return Failure(int(told[1]), told[2], output[told.end() :].strip("\n"))
    return Failure(int(named[-1]), last, output)
