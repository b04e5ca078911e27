"""The reader and runner of pages, tried on small pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents.page import anchors, blocks, broken_links, links
from tests.documents.program import Failure, program, run_page
from tests.documents.support.handrail_page import matches


def write_page(folder: Path, text: str) -> Path:
    path = folder / "some-page.md"
    path.write_text(text, "utf-8")
    return path


def run(folder: Path, text: str, timeout_seconds: float = 60) -> Failure | None:
    empty = folder / "empty"
    empty.mkdir()
    return run_page(write_page(folder, text), empty, timeout_seconds)


def failure(folder: Path, text: str) -> Failure:
    found = run(folder, text)
    assert found is not None, "the page was expected to fail"
    return found


# Reading


def test_a_block_knows_its_words_and_its_line() -> None:
    (found,) = blocks('# A\n\n```python no-run title="a b.py"\nx = 1\n```\n')

    assert (found.language, found.words) == ("python", frozenset({"no-run"}))
    assert found.options == {"title": "a b.py"}
    assert (found.first_line, found.lines) == (4, ("x = 1",))


def test_a_longer_fence_holds_a_shorter_one() -> None:
    (found,) = blocks("````markdown\n```python\nx\n```\n````\n")

    assert found.language == "markdown"
    assert found.lines == ("```python", "x", "```")


def test_a_block_in_a_list_is_moved_to_the_left() -> None:
    (found,) = blocks("- item\n\n  ```python\n  if x:\n      y\n\n  ```\n")

    assert found.lines == ("if x:", "    y", "")


def test_a_fence_that_is_never_closed_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 2: the fence is never closed"):
        list(blocks("\n```python\nx = 1\n"))


def test_the_program_has_the_lines_of_the_page() -> None:
    text = "# A\n\n```python\nx = 1\n```\n\n```python no-run\ny = 2\n```\n\n```python\nz = 3\n```\n"

    lines = program(text).splitlines()
    assert len(lines) == len(text.splitlines())
    assert {number: line for number, line in enumerate(lines, 1) if line} == {
        4: "x = 1",
        12: "z = 3",
    }


# Running


def test_the_blocks_of_a_page_are_one_program(tmp_path: Path) -> None:
    assert run(tmp_path, "```python\nx = 1\n```\ntext\n```python\nassert x == 1\n```\n") is None


def test_a_page_runs_in_an_empty_folder(tmp_path: Path) -> None:
    text = "```python\nimport os\nassert os.listdir() == ['some_page_page.py'], os.listdir()\n```\n"

    assert run(tmp_path, text) is None


def test_an_error_names_the_line_of_the_page(tmp_path: Path) -> None:
    found = failure(tmp_path, "# A\n\n```python\nx = 1\nraise ValueError('boom')\n```\n")

    assert found.show("docs/a.md").startswith("docs/a.md:5: ValueError: boom")


def test_a_block_that_is_not_run_is_compiled(tmp_path: Path) -> None:
    assert run(tmp_path, "```python no-run\nraise SystemExit(3)\n```\n") is None

    found = run_page(write_page(tmp_path, "\n```python no-run\nx = = 1\n```\n"), tmp_path)
    assert found is not None
    assert (found.line, found.message) == (3, "SyntaxError: invalid syntax")


def test_functions_of_a_page_have_a_source(tmp_path: Path) -> None:
    text = (
        "```python\nimport inspect\n\ndef f() -> int:\n    return 1\n\n"
        "assert inspect.getsource(f).endswith('return 1\\n')\n```\n"
    )

    assert run(tmp_path, text) is None


def test_a_page_does_not_see_the_settings_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDRAIL_HOME", "/elsewhere")
    text = "```python\nimport os\nassert not [n for n in os.environ if 'HANDRAIL' in n]\n```\n"

    assert run(tmp_path, text) is None


def test_a_titled_block_is_a_file_for_what_follows(tmp_path: Path) -> None:
    text = '```python title="parts/etl.py"\nx = 7\n```\n\n```python\nfrom parts.etl import x\n'

    assert run(tmp_path, text + "assert x == 7\n```\n") is None


def test_a_command_is_run_where_it_stands(tmp_path: Path) -> None:
    text = (
        "```python\nfrom pathlib import Path\n\n_ = Path('a').write_text('1')\n```\n"
        "```console run\n$ cat a && echo\n1\n$ rm a\n```\n"
        "```python\nassert not Path('a').exists()\n```\n"
    )

    assert run(tmp_path, text) is None


def test_a_command_without_the_word_run_is_not_run(tmp_path: Path) -> None:
    text = "```console\n$ exit 1\n```\n```python\nx = 1\n```\n"

    assert run(tmp_path, text) is None


def test_a_failing_command_names_its_line(tmp_path: Path) -> None:
    found = failure(tmp_path, "\n```console run\n$ true\n$ echo why; exit 3\n```\n")

    assert found.line == 4
    assert found.message == "exit code 3 instead of 0: echo why; exit 3"
    assert "why" in found.output


def test_a_command_may_be_expected_to_fail(tmp_path: Path) -> None:
    assert run(tmp_path, "```console run exit=3\n$ exit 3\n```\n") is None


def test_other_output_names_the_line_and_shows_both(tmp_path: Path) -> None:
    found = failure(tmp_path, "```console run\n$ echo one\ntwo\n```\n")

    assert found.line == 2
    assert re.search(r"--- page\ntwo\n--- command\none", found.output)


def test_a_command_goes_on_after_a_backslash(tmp_path: Path) -> None:
    assert run(tmp_path, "```console run\n$ echo one \\\n>   two\none two\n```\n") is None


def test_a_page_that_hangs_is_stopped(tmp_path: Path) -> None:
    text = "```python\nimport threading\n\nthreading.Event().wait()\n```\n"

    found = run(tmp_path, text, timeout_seconds=0.5)
    assert found is not None
    assert found.message == "the page ran longer than 0.5 s"


def test_a_page_without_code_is_fine(tmp_path: Path) -> None:
    assert run(tmp_path, "# Words\n\nand nothing else\n") is None


@pytest.mark.parametrize(
    ("expected", "output"),
    [
        ("a", "a\n"),
        ("a\n", "a  \n\n"),
        ("run ... succeeded", "run 01hx succeeded\n"),
        ("first\n...\nlast", "first\nlast\n"),
        ("first\n...\nlast", "first\n2\n3\nlast\n"),
        ("first\n...", "first\n2\n3\n"),
        ("a.b", "a.b\n"),
    ],
)
def test_output_matches(expected: str, output: str) -> None:
    assert matches(expected.splitlines(), output)


@pytest.mark.parametrize(
    ("expected", "output"),
    [
        ("a", "a\nb\n"),
        ("a", ""),
        ("a.b", "axb\n"),
        ("run ... succeeded", "run 01hx failed\n"),
        ("run ... ended", "run\n01hx ended\n"),
        ("first\n...\nlast", "first\n2\n"),
    ],
)
def test_output_does_not_match(expected: str, output: str) -> None:
    assert not matches(expected.splitlines(), output)


# Links


def test_links_are_found_outside_code() -> None:
    text = "[a](b.md) ![c](d.png) `[e](f.md)`\n\n```\n[g](h.md)\n```\n\n[i]: j.md\n"

    assert [(link.target, link.line) for link in links(text)] == [
        ("b.md", 1),
        ("d.png", 1),
        ("j.md", 7),
    ]


def test_headings_are_named_as_readers_find_them() -> None:
    text = "# The `house`: 2 floors\n## A\n## A\n```\n# no heading\n```\n"

    assert anchors(text) == {"the-house-2-floors", "a", "a-1"}


def test_good_links_are_fine(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Part one\n")
    text = "# Top\n[a](other.md#part-one) [b](#top) [c](https://example.org/x) [d](.)\n"

    assert broken_links(write_page(tmp_path, text), tmp_path) == []


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("missing.md", "no such file"),
        ("#nowhere", "no heading 'nowhere' there"),
        ("../../elsewhere.md", "leads out of the repository"),
    ],
)
def test_a_broken_link_is_told_with_its_line(tmp_path: Path, target: str, why: str) -> None:
    path = write_page(tmp_path, f"# Top\n\n[a]({target})\n")

    assert broken_links(path, tmp_path) == [f"some-page.md:3: {target}: {why}"]
