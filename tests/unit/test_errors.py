from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

import handrail.errors as errors
from handrail.errors import HandrailError

Tree = dict[str, frozenset[str]]

#: A drawn line: branches, a name, its other parents in brackets, and words after two spaces.
DRAWN = re.compile(r"^    (?P<branches>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: \((?P<others>[\w, ]+)\))?")

#: One of each error whose constructor wants more than a sentence.
BUILT: list[HandrailError] = [
    errors.DuplicateTaskError("load"),
    errors.UnknownTaskError("lode", ["load", "store"]),
    errors.CycleError(["a", "b", "a"]),
    errors.MissingParameterError("load", ["path", "year"]),
    errors.ParallelWritersError("north", "south"),
    errors.TaskFailed("the source is away"),
    errors.TaskTerminalError("the source is gone"),
    errors.StaleAttemptError("load", "token 1.1 is behind 1.2"),
    errors.PublishFenceError("main", "a" * 64, "b" * 64, "run 01"),
    errors.PublishFenceError("main", "a" * 64, None),
    errors.AttemptTimeout("load", 2.5, stopped=True),
    errors.AttemptTimeout("load", 2.5, stopped=False),
    errors.ParallelGroupError(
        "g", "1 task(s) failed", failed_tasks=[("a", "ValueError: no")], successful_tasks=["b"]
    ),
    errors.ResourceError("database", OSError("no server")),
    errors.RunWaiting("01", []),
    errors.RunTimeout("01", 2.5),
    errors.LockTimeout("key", 2.5),
    errors.LockLost("a"),
    errors.RunFailed("Run 01 failed", run_id="01", task_id="load", cause=KeyError("x")),
    errors.RunCancelled("01", "interrupted"),
    errors.RunNotFound("01", ".handrail"),
    errors.RunBusy("01", "host:42", 12.5),
    errors.RunChanged("01", ["load", "store"]),
    errors.CycleLimitExceeded("load", 11, 10),
    errors.StepLimitExceeded("01", 5),
    errors.UnknownHandlerError("ferry", ["direct", "process"]),
    errors.NotInstalledError("The task handler 'docker'", "docker"),
    errors.RemoteError(
        "task 'a': lib.Odd: no", type_name="lib.Odd", original="no", traceback="", retryable=True
    ),
    errors.StoreVersionError("journal.db", 9, 3),
    errors.UnknownClassError("songs:Row", "module 'songs' has no attribute 'Row'"),
    errors.WatcherAPIError(
        "The server refused it",
        status_code=409,
        response_headers={"a": "b"},
        error_details={"field": "name"},
    ),
    errors.TrackedResultError("extract", 7, "Return ETLResults(...)."),
]


def public_classes() -> list[type[HandrailError]]:
    return [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, HandrailError) and not found.__name__.startswith("_")
    ]


def public_bases(cls: type) -> frozenset[str]:
    """Names of the parents; a private parent stands for its own."""
    names: set[str] = set()
    for base in cls.__bases__:
        names |= public_bases(base) if base.__name__.startswith("_") else {base.__name__}
    return frozenset(names)


def real_tree() -> Tree:
    return {cls.__name__: public_bases(cls) for cls in public_classes() if cls is not HandrailError}


def drawn_tree(text: str) -> Tree:
    """Reads the tree drawn in a docstring: four columns of branches for each step down."""
    tree: Tree = {}
    above: list[str] = []
    for line in text.splitlines():
        if not (found := DRAWN.match(line)):
            continue
        depth, rest = divmod(len(found["branches"]), 4)
        assert rest == 0, f"branches are four columns wide: {line!r}"
        above[depth:] = [found["name"]]
        if depth:
            others = [name.strip() for name in (found["others"] or "").split(",") if name.strip()]
            assert found["name"] not in tree, f"drawn twice: {found['name']}"
            tree[found["name"]] = frozenset([above[depth - 1], *others])
    return tree


#: Those made from a sentence alone, as any exception is.
PLAIN = [cls for cls in public_classes() if not inspect.isfunction(cls.__init__)]
EXAMPLES = [*BUILT, *(cls("what happened, to which thing, what to do") for cls in PLAIN)]


def named(error: HandrailError) -> str:
    return type(error).__name__


def test_every_error_is_drawn() -> None:
    assert set(drawn_tree(errors.__doc__ or "")) == set(real_tree())


def test_errors_are_drawn_below_their_parents() -> None:
    assert drawn_tree(errors.__doc__ or "") == real_tree()


def test_every_error_is_tried_here() -> None:
    assert {type(error) for error in EXAMPLES} == set(public_classes())


def test_a_drawing_is_read_with_its_other_parents() -> None:
    drawing = """
    Top
    ├── First (ValueError)     words (in brackets)
    │   └── Below (KeyError, OSError)  words
    └── Last                   words
    """

    assert drawn_tree(drawing) == {
        "First": frozenset({"Top", "ValueError"}),
        "Below": frozenset({"First", "KeyError", "OSError"}),
        "Last": frozenset({"Top"}),
    }


@pytest.mark.parametrize("error", EXAMPLES, ids=named)
def test_an_error_shows_a_sentence(error: HandrailError) -> None:
    assert len(str(error).split()) > 1
    assert "None" not in str(error)
    assert not str(error).startswith(("'", '"')), "shown as a repr"


@pytest.mark.parametrize(
    ("error", "next_step"),
    [
        (errors.DuplicateTaskError("load"), "@task(id=...)"),
        (errors.UnknownTaskError("lode", ["load"]), "load"),
        (errors.CycleError(["a", "b", "a"]), "max_cycles"),
        (errors.MissingParameterError("load", ["path"]), "execute(path=...)"),
        (errors.ParallelWritersError("north", "south"), ">>"),
        (errors.RunNotFound("01", ".handrail"), "handrail runs"),
        (errors.RunChanged("01", ["load"]), "handrail resume 01"),
        (errors.CycleLimitExceeded("load", 11, 10), "max_cycles"),
        (errors.StepLimitExceeded("01", 5), "max_steps"),
        (errors.UnknownHandlerError("ferry"), "register_handler('ferry'"),
        (errors.NotInstalledError("Docker", "docker"), "pip install 'handrail[docker]'"),
        (errors.StoreVersionError("journal.db", 9, 3), "pip install --upgrade handrail"),
    ],
    ids=lambda value: named(value) if isinstance(value, HandrailError) else "",
)
def test_an_error_says_the_next_step(error: HandrailError, next_step: str) -> None:
    assert next_step in str(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=named)
def test_an_error_survives_pickling(error: HandrailError) -> None:
    found = pickle.loads(pickle.dumps(error))

    assert type(found) is type(error)
    assert str(found) == str(error)
    assert found.args == error.args
    assert comparable(found) == comparable(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=named)
def test_an_error_survives_copying(error: HandrailError) -> None:
    found = copy.copy(error)

    assert (type(found), str(found)) == (type(error), str(error))
    assert comparable(found) == comparable(error)


def comparable(error: HandrailError) -> dict[str, object]:
    """Attributes by name; errors inside are compared by what they show."""
    return {
        name: repr(value) if isinstance(value, BaseException) else value
        for name, value in vars(error).items()
    }


@pytest.mark.parametrize(
    ("cls", "retryable"),
    [
        (errors.TaskFailed, True),
        (errors.PostGuardrailViolation, True),
        (errors.AttemptTimeout, True),
        (errors.WorkerLost, True),
        (errors.StoreError, True),
        (errors.TaskTerminalError, False),
        (errors.TaskInputError, False),
        (errors.PreGuardrailViolation, False),
        (errors.StaleAttemptError, False),
        (errors.PublishFenceError, False),
        (errors.RuntimeConfigError, False),
        (errors.StoreCorruptError, False),
    ],
)
def test_an_error_says_whether_another_attempt_may_do_better(
    cls: type[HandrailError], retryable: bool
) -> None:
    assert cls.retryable is retryable


@pytest.mark.parametrize("cls", [errors.TaskFailed, errors.TaskTerminalError])
def test_a_reason_is_text(cls: type[errors.TaskFailed] | type[errors.TaskTerminalError]) -> None:
    assert cls("disk is full").reason == "disk is full"
    with pytest.raises(TypeError, match="reason must be a string, not 7"):
        cls(7)  # type: ignore[arg-type]


def test_those_who_catch_built_in_errors_still_do() -> None:
    with pytest.raises(KeyError):
        raise errors.UnknownTaskError("lode")
    with pytest.raises(TimeoutError):
        raise errors.AttemptTimeout("load", 1, stopped=True)
    with pytest.raises(ImportError):
        raise errors.NotInstalledError("Docker", "docker")
