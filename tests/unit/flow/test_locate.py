from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from handrail.contracts.values import SCRIPT_MODULE, decode, encode
from handrail.errors import WorkflowDefinitionError
from handrail.flow.locate import load_workflow, reference_of
from handrail.flow.workflow import workflow
from handrail.run.crossing import dumps

HEAD = """\
from __future__ import annotations
from dataclasses import dataclass
from handrail.contracts.task import task
from handrail.flow.workflow import workflow

@dataclass
class Row:
    name: str

@task
def load() -> int:
    return 1

with workflow("songs: daily") as flow:
    load >> load(task_id="again")
"""

#: A whole program: says what it is, and runs its workflow without a guard.
UNGUARDED = HEAD + "\nprint('before')\nflow.execute()\nprint('after')\nlate = flow\n"


@pytest.fixture(autouse=True)
def restored_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets a test import what it writes."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop(SCRIPT_MODULE, None)  # left by another test's script
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        if name == SCRIPT_MODULE or name.startswith("located_"):
            del sys.modules[name]
    sys.modules["__main__"] = before["__main__"]


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dedent(text), encoding="utf-8")
    return file


def python(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# Finding


def test_a_workflow_of_a_module_is_found_by_its_variable(tmp_path: Path) -> None:
    write(tmp_path / "located_a.py", HEAD)

    flow = load_workflow("located_a:flow", folder=tmp_path)

    assert flow.name == "songs: daily"
    assert reference_of(flow) == "located_a:flow"
    assert load_workflow("located_a:flow", folder=tmp_path) is flow


def test_a_workflow_is_found_by_its_own_name(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", HEAD)

    assert load_workflow(f"{script}:songs: daily").name == "songs: daily"


def test_the_only_workflow_needs_no_name(tmp_path: Path) -> None:
    write(tmp_path / "located_pkg/__init__.py", "")
    write(tmp_path / "located_pkg/daily.py", HEAD + "alias = flow\n")

    flow = load_workflow("located_pkg.daily", folder=tmp_path)

    assert reference_of(flow) == "located_pkg.daily:flow"


def test_a_workflow_that_was_only_imported_comes_second(tmp_path: Path) -> None:
    write(tmp_path / "located_b.py", HEAD)
    write(
        tmp_path / "located_c.py",
        """
        from handrail.flow.workflow import workflow
        from located_b import flow
        own = workflow("own")
        """,
    )

    assert load_workflow("located_c", folder=tmp_path).name == "own"
    assert load_workflow("located_c:flow", folder=tmp_path).name == "songs: daily"


def test_a_factory_is_found_under_its_name(tmp_path: Path) -> None:
    write(
        tmp_path / "located_d.py",
        """
        from handrail.contracts.task import task
        from handrail.flow.workflow import workflow

        @workflow("made")
        def etl():
            @task
            def only() -> int:
                return 1
            return only
        """,
    )

    assert reference_of(load_workflow("located_d:etl", folder=tmp_path)) == "located_d:etl"


def test_a_script_is_found_by_its_path_in_the_folder(tmp_path: Path) -> None:
    script = write(tmp_path / "jobs/charts.py", HEAD)

    flow = load_workflow("jobs/charts.py:flow", folder=tmp_path)

    assert reference_of(flow) == f"{script}:flow"
    assert load_workflow(f"{script}", folder=Path("/")) is flow


def test_a_script_finds_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path / "jobs/located_beside.py", "NAME = 'beside'\n")
    write(
        tmp_path / "jobs/charts.py",
        """
        from located_beside import NAME
        from handrail.flow.workflow import workflow
        flow = workflow(NAME)
        """,
    )

    assert load_workflow("jobs/charts.py", folder=tmp_path).name == "beside"


def test_a_workflow_held_by_no_variable_has_no_reference() -> None:
    assert reference_of(workflow("nowhere")) is None


# Loading without running


def test_a_script_that_runs_itself_is_left_where_it_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = write(tmp_path / "charts.py", UNGUARDED)

    flow = load_workflow(f"{script}:flow")

    assert capsys.readouterr().out == "before\n"
    assert flow.name == "songs: daily"


def test_a_module_that_runs_itself_is_left_where_it_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "located_e.py", UNGUARDED)

    flow = load_workflow("located_e:flow", folder=tmp_path)

    assert capsys.readouterr().out == "before\n"
    row = sys.modules["located_e"].Row("x")
    assert type(decode(encode(row))) is type(row)
    assert load_workflow("located_e:flow", folder=tmp_path) is flow


def test_what_lies_behind_the_point_where_loading_stopped_is_explained(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", UNGUARDED)

    with pytest.raises(WorkflowDefinitionError) as caught:
        load_workflow(f"{script}:late")

    line = UNGUARDED.splitlines().index("flow.execute()") + 1
    assert f"Loading stopped at {script}:{line}, which calls execute()" in str(caught.value)
    assert 'if __name__ == "__main__":' in str(caught.value)


def test_a_package_that_runs_itself_is_named(tmp_path: Path) -> None:
    write(tmp_path / "located_f/__init__.py", UNGUARDED)
    write(tmp_path / "located_f/daily.py", HEAD)

    with pytest.raises(WorkflowDefinitionError, match=r"located_f/__init__\.py:\d+, in a package"):
        load_workflow("located_f.daily:flow", folder=tmp_path)


def test_a_guarded_part_of_a_script_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = write(
        tmp_path / "charts.py", HEAD + "\nif __name__ == '__main__':\n    print('ran')\n"
    )

    load_workflow(str(script))

    assert capsys.readouterr().out == ""


def test_after_loading_workflows_run_again(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", UNGUARDED)

    assert load_workflow(str(script)).execute(journal="memory") == 1


# What is not there


@pytest.mark.parametrize("reference", ["", ":", ":flow", "songs:"])
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(WorkflowDefinitionError, match=r"expected 'module:name' or 'path\.py:name'"):
        load_workflow(reference)


def test_a_module_that_is_missing_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(WorkflowDefinitionError) as caught:
        load_workflow("no_such_module:flow", folder=tmp_path)

    assert str(caught.value) == (
        "Module 'no_such_module' cannot be imported: ModuleNotFoundError: No module named "
        f"'no_such_module'. It was looked for in {tmp_path}."
    )
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_module_that_fails_keeps_its_error_and_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "located_g.py", "raise RuntimeError('the source is away.\\nand more')\n")

    with pytest.raises(WorkflowDefinitionError) as caught:
        load_workflow("located_g:flow", folder=tmp_path)

    assert "cannot be imported: RuntimeError: the source is away. It was" in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "located_g" not in sys.modules


def test_a_script_that_fails_leaves_the_program_as_it_was(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", "import no_such_module\n")
    main = sys.modules["__main__"]

    with pytest.raises(WorkflowDefinitionError, match=r"charts\.py cannot be loaded: ModuleNot"):
        load_workflow(str(script))

    assert sys.modules["__main__"] is main
    assert SCRIPT_MODULE not in sys.modules


def test_a_script_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkflowDefinitionError) as caught:
        load_workflow("gone.py:flow", folder=tmp_path)

    assert str(caught.value) == (
        f"Script {tmp_path / 'gone.py'} cannot be loaded: No such file or directory."
    )


def test_a_script_with_a_mistake_in_it_is_named_with_the_mistake(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", "x = = 1\n")

    with pytest.raises(WorkflowDefinitionError, match=r"SyntaxError: invalid syntax \(charts\.py"):
        load_workflow(str(script))


def test_a_script_that_ends_the_program_is_refused(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", "import sys\nsys.exit(3)\n")

    with pytest.raises(WorkflowDefinitionError, match=r"it ends the program \(SystemExit: 3\)"):
        load_workflow(str(script))


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", HEAD + "other = workflow('other')\n")

    with pytest.raises(WorkflowDefinitionError) as caught:
        load_workflow(f"{script}:flaw")

    assert str(caught.value) == (
        f"'{script}' holds no workflow 'flaw'. Known workflows: flow (called 'songs: daily'), "
        f"other. Did you mean 'flow'?"
    )


def test_something_else_of_that_name_is_named(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", HEAD)

    with pytest.raises(WorkflowDefinitionError, match="is a Task, not a workflow"):
        load_workflow(f"{script}:load")


def test_several_workflows_without_a_name_are_listed(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", HEAD + "other = workflow('other')\n")

    with pytest.raises(WorkflowDefinitionError) as caught:
        load_workflow(str(script))

    assert "several workflows. Known workflows: flow (called 'songs: daily'), other." in str(
        caught.value
    )
    assert f"'{script}:flow'" in str(caught.value)


def test_two_workflows_of_one_name_want_the_variable(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", HEAD + "other = workflow('songs: daily')\n")

    with pytest.raises(WorkflowDefinitionError, match="Name the variable instead: flow, other"):
        load_workflow(f"{script}:songs: daily")


def test_a_module_without_workflows_says_so(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", "")

    with pytest.raises(WorkflowDefinitionError, match=r"holds no workflow\. One is found if"):
        load_workflow(str(script))


# From one process to the next

#: Says its reference, and writes a value of its own class.
SAYING = HEAD + dedent(
    """
    from handrail.contracts.values import encode
    from handrail.flow.locate import load_workflow, reference_of

    def say() -> None:
        print(reference_of(flow))
        print(encode([Row("a")]))
        print(load_workflow(reference_of(flow)) is flow)

    if __name__ == "__main__":
        say()
    """
)

#: Loads a workflow and reads a value, as a later process does.
READING = """\
import sys
from handrail.contracts.values import decode, encode
from handrail.flow.locate import load_workflow, reference_of
flow = load_workflow(sys.argv[1])
row = decode(sys.argv[2])[0]
print(reference_of(flow), type(row).__name__, row.name, encode([row]) == sys.argv[2])
"""


def said(lines: str) -> tuple[str, str]:
    reference, value, is_same = lines.splitlines()
    assert is_same == "True"
    return reference, value


def test_a_script_and_its_values_are_found_in_a_later_process(tmp_path: Path) -> None:
    script = write(tmp_path / "charts.py", SAYING)

    reference, value = said(python("charts.py", folder=tmp_path))

    assert reference == f"{os.path.realpath(script)}:flow"
    assert value == '[{"!":"dataclass","of":"__main__:Row","v":{"name":"a"}}]'
    later = python("-c", READING, reference, value, folder=Path("/"))
    assert later == f"{reference} Row a True"


def test_a_module_run_as_a_program_is_found_in_a_later_process(tmp_path: Path) -> None:
    write(tmp_path / "charts/__init__.py", "")
    write(tmp_path / "charts/daily.py", SAYING)

    reference, value = said(python("-m", "charts.daily", folder=tmp_path))

    assert reference == "charts.daily:flow"
    assert value == '[{"!":"dataclass","of":"charts.daily:Row","v":{"name":"a"}}]'
    assert python("-c", READING, reference, value, folder=tmp_path) == f"{reference} Row a True"


def test_a_script_that_was_loaded_writes_what_the_script_itself_reads(tmp_path: Path) -> None:
    script = write(
        tmp_path / "charts.py",
        HEAD + "\nif __name__ == '__main__':\n"
        "    import sys\n"
        "    from handrail.contracts.values import decode\n"
        "    print(decode(sys.argv[1]) == Row('a'))\n",
    )
    load_workflow(str(script))

    value = encode(sys.modules["__main__"].Row("a"))

    assert python("charts.py", value, folder=tmp_path) == "True"


def test_a_value_of_a_script_that_is_not_loaded_names_the_class(tmp_path: Path) -> None:
    value = '{"!":"dataclass","of":"__main__:Row","v":{"name":"a"}}'
    program = (
        "import sys\n"
        "from handrail.contracts.values import decode\n"
        "from handrail.errors import StoreError\n"
        "try:\n    decode(sys.argv[1])\nexcept StoreError as error:\n    print(error)\n"
    )

    shown = python("-c", program, value, folder=tmp_path)

    assert shown.startswith("A stored value is a 'Row' of module '__main__', which is not found:")


def test_code_of_a_loaded_script_travels_to_a_process_that_cannot_import_it(
    tmp_path: Path,
) -> None:
    script = write(tmp_path / "charts.py", HEAD)
    load_workflow(str(script))
    module = sys.modules[SCRIPT_MODULE]
    sent = tmp_path / "sent"
    sent.write_bytes(dumps((module.load.definition, module.Row("a")), "the task"))

    program = (
        "import pickle, sys\n"
        "definition, row = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(definition.fn(), row.name)\n"
    )

    assert python("-W", "ignore", "-c", program, str(sent), folder=Path("/")) == "1 a"
    assert pickle.loads(sent.read_bytes())[0].name == "load"


def test_python_without_a_file_has_no_reference(tmp_path: Path) -> None:
    program = HEAD + "\nfrom handrail.flow.locate import reference_of\nprint(reference_of(flow))\n"

    assert python("-c", program, folder=tmp_path) == "None"
