"""The protocol of claims on a real LakeFS: docs/understand/lakefs.md, row by row."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pydantic import SecretStr

pytest.importorskip("urllib3")

from handrail.contracts.workspace import BranchName
from handrail.errors import PublishFenceError, StoreCorruptError, StoreError
from handrail.keep.base import Adopted, Conflict
from handrail.keep.files import Claim, Claimed
from handrail.keep.lakefs.files import LakeFSFiles
from handrail.keep.lakefs.names import claim_name, root_name
from handrail.keep.lakefs.server import LakeFSServer
from handrail.testing.files import content, head, publish, stage, staged
from handrail.testing.stores import race
from tests.services import lakefs
from tests.services.lakefs_proxy import LakeFSProxy, Request


class World:
    """A repository with a branch of its own for each test."""

    def __init__(self, address: lakefs.LakeFSAddress, repository: str, folder: Path) -> None:
        self.address = address
        self.repository = repository
        self.folder = folder
        self.branch = BranchName(repository)
        self.port = int(address.endpoint.rpartition(":")[2])
        self.files = self.client()
        self.files.create(self.branch)
        self._count = 0

    def client(self, endpoint: str = "") -> LakeFSFiles:
        """Another handle, with nothing remembered."""
        server = LakeFSServer(
            endpoint or self.address.endpoint,
            self.address.access_key,
            SecretStr(self.address.secret_key),
            self.repository,
            pause=lambda seconds: None,
        )
        return LakeFSFiles(server)

    def place(self) -> Path:
        """A folder that does not exist."""
        self._count += 1
        return self.folder / str(self._count)

    def staged(self, name: str, *, files: LakeFSFiles | None = None) -> str:
        """A commit after the head that adds a file of that name."""
        return staged(files or self.files, self.branch, self.place(), {name: name})

    def publish(self, name: str) -> str:
        return publish(self.files, self.branch, self.place(), {name: name})

    def head(self) -> str:
        return head(self.client(), self.branch)

    def names(self, ref: str = "") -> set[str]:
        """The files of what was published last."""
        return set(content(self.files, ref or self.head()))

    def shown(self) -> set[str]:
        """The files that everybody sees on the visible branch."""
        found = self.ask("GET", f"/refs/{self.branch.branch}/objects/ls?prefix=")
        return {item["path"] for item in found["results"]}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        return lakefs.ask(self.port, method, f"/repositories/{self.repository}{path}", body)

    def by_hand(self, name: str) -> str:
        """A commit of somebody else on the visible branch."""
        return lakefs.commit(self.port, self.repository, self.branch.branch, {name: b"x"})

    def left(self) -> list[str]:
        """What attempts left staged."""
        found = self.ask("GET", "/branches?prefix=handrail-stage-&show_hidden=true")
        return [item["id"] for item in found["results"]]


@pytest.fixture
def world(lakefs_address: lakefs.LakeFSAddress, lakefs_repository: str, tmp_path: Path) -> World:
    return World(lakefs_address, lakefs_repository, tmp_path)


@pytest.fixture
def proxy(world: World) -> Iterator[LakeFSProxy]:
    proxy = LakeFSProxy(world.port)
    yield proxy
    proxy.close()


def attempt(world: World, files: LakeFSFiles, begin: str, key: str = "work") -> Any:
    """What an engine does: adopt what is there, else check out, change, stage and claim."""
    adopted = files.recall(world.branch, begin, key)
    if adopted is not None:
        return adopted
    opened = files.checkout(begin, "/", world.place())
    (opened.path / "work.txt").write_text("done")
    (opened.path / "old.txt").unlink()
    (opened.path / "old.sh").chmod(0o755)
    (opened.path / "hollow").mkdir()
    ref = stage(files, opened)
    # Longer than a record's metadata may be, so that this way is broken too.
    return files.claim(Claim(world.branch, begin, ref, key, '"' + "x" * 20_000 + '"'))


DONE = {"work.txt", "old.sh"}


def prepared(world: World) -> str:
    """A head with files for `attempt` to change."""
    return publish(world.files, world.branch, world.place(), {"old.txt": "1", "old.sh": "2"})


# Lost replies, crashes and stalls, at every call


def numbers(
    world: World, proxy: LakeFSProxy, act: Callable[[LakeFSFiles], Any], few: int
) -> list[int]:
    """Which requests of an act to break: with FAULTS_LAKEFS=1 all, else one of `few` writes and
    one of a dozen reads."""
    main, world.branch = world.branch, BranchName(world.repository, "unbroken")
    world.files.create(world.branch)
    proxy.requests.clear()
    proxy.decide = lambda request: ""
    act(world.client(proxy.endpoint))
    world.branch = main
    if os.environ.get("FAULTS_LAKEFS"):
        return [request.number for request in proxy.requests]
    writes = [request.number for request in proxy.requests if request.method != "GET"]
    reads = [request.number for request in proxy.requests if request.method == "GET"]
    return [*writes[::few], *reads[::12]]


def fresh(world: World, number: int) -> None:
    """A branch of its own for each trial."""
    world.branch = BranchName(world.repository, f"trial-{number}")
    world.files.create(world.branch)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "few"), [("request", 4), ("reply", 1), ("late", 2)])
def test_a_call_that_is_cut_off_is_made_again(
    world: World, proxy: LakeFSProxy, kind: str, few: int
) -> None:
    begin = prepared(world)
    for number in numbers(world, proxy, lambda files: attempt(world, files, begin), few):
        fresh(world, number)
        proxy.requests.clear()
        proxy.decide = broken(kind, number)
        answer = attempt(world, world.client(proxy.endpoint), begin)
        proxy.let_go()

        assert answer == Claimed(world.head()), number
        assert content(world.files, answer.ref).keys() == DONE, number
        assert world.shown() == {*DONE, "hollow/"}, number
        if kind != "late":  # a branch that is made late is one to sweep
            assert world.left() == [], number
        world.files.sweep(older_than_seconds=-60)
        assert world.left() == [], number


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "few"), [("request", 4), ("reply", 2), ("late", 2)])
def test_work_that_died_at_any_call_is_published_once(
    world: World, proxy: LakeFSProxy, kind: str, few: int
) -> None:
    begin = prepared(world)
    for number in numbers(world, proxy, lambda files: attempt(world, files, begin), few):
        fresh(world, number)
        proxy.requests.clear()
        proxy.decide = broken(kind, number, after="request")
        died: Any = None
        with suppress(StoreError):
            died = attempt(world, world.client(proxy.endpoint), begin)
        again = attempt(world, world.client(), begin)
        proxy.let_go()

        assert isinstance(again, (Claimed, Adopted)), number
        assert world.head() == again.ref, number
        assert died is None or died.ref == again.ref
        assert content(world.files, again.ref or "").keys() == DONE, number
        assert world.client().repair(world.branch) == ""
        assert world.shown() == {*DONE, "hollow/"}, number
        world.files.sweep(older_than_seconds=-60)
        assert world.left() == [], number


def broken(kind: str, number: int, after: str = "") -> Callable[[Request], str]:
    """One request breaks, and those after it too if said."""

    def decide(request: Request) -> str:
        if request.number < number:
            return ""
        return kind if request.number == number else after

    return decide


def stalled(
    proxy: LakeFSProxy, number: int, act: Callable[[], Any], between: Callable[[], None]
) -> Any:
    """What an act returns that is stopped at a request while something else happens."""
    proxy.requests.clear()
    proxy.is_holding.clear()
    proxy.decide = broken("hold", number)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(act()))
    thread.start()
    try:
        assert proxy.is_holding.wait(30), number
        between()
    finally:
        proxy.let_go()
        thread.join(timeout=60)
    assert len(answers) == 1, number
    return answers[0]


@pytest.mark.timeout(900)
def test_an_attempt_that_stalls_at_any_call_never_undoes_its_successors(
    world: World, proxy: LakeFSProxy
) -> None:
    """Rows 3, 4, 5, 6 and 9: stopped at a call, it goes on after others have published."""
    begin = prepared(world)
    outcomes = set()
    for number in numbers(world, proxy, lambda files: attempt(world, files, begin), 1):
        fresh(world, number)
        seen: list[Any] = []

        def others(seen: list[Any] = seen) -> None:
            seen.append(attempt(world, world.client(), begin, "other work"))
            seen.append(world.head())
            seen.append(world.publish("next.txt"))

        zombie = world.client(proxy.endpoint)
        answer = stalled(proxy, number, lambda: attempt(world, zombie, begin), others)  # noqa: B023
        successor, first, last = seen

        outcomes.add((type(answer), type(successor)))
        winner = {type(successor): successor, type(answer): answer}[Claimed]
        assert winner.ref == first, number
        assert world.head() == last, number
        assert world.names() == {*DONE, "next.txt"}, number
        assert world.client().repair(world.branch) == "", number
        assert world.shown() == {*DONE, "hollow/", "next.txt"}, number
        assert world.left() == [], number
    assert outcomes == {(Conflict, Claimed), (Claimed, Conflict)}


@pytest.mark.timeout(900)
def test_repairers_that_stall_at_any_call_do_no_harm(world: World, proxy: LakeFSProxy) -> None:
    for number in range(7):  # as many requests as it takes
        fresh(world, number)
        behind(world, "1")

        def others() -> None:
            assert world.client().repair(world.branch) == ""
            world.publish("2")

        slow = world.client(proxy.endpoint)
        assert stalled(proxy, number, lambda: slow.repair(world.branch), others) == "", number  # noqa: B023
        assert world.shown() == world.names() == {"1", "2"}, number


# Behind, and repaired


def behind(world: World, name: str) -> str:
    """Publishes a file and leaves the visible branch as it was."""
    begin = world.head()
    ref = world.staged(name)
    dirty = f"/branches/{world.branch.branch}/objects"
    world.ask("POST", f"{dirty}?path=uncommitted", b"x")
    answer = world.files.claim(Claim(world.branch, begin, ref, f"publish {name}", "1"))
    assert isinstance(answer, Claimed)
    assert "uncommitted" in answer.behind
    world.ask("DELETE", f"{dirty}?path=uncommitted")
    return ref


def test_what_is_published_stays_so_while_the_branch_lags_behind(world: World) -> None:
    first = behind(world, "1")
    assert world.shown() == set()
    assert world.head() == first

    second = world.publish("2")  # which also brings the branch forward
    assert world.head() == second
    assert world.shown() == {"1", "2"}


def test_a_branch_that_lags_by_several_claims_is_brought_to_the_last(world: World) -> None:
    for name in ("1", "2", "3"):
        behind(world, name)
    assert world.client().repair(world.branch) == ""
    assert world.shown() == {"1", "2", "3"}
    log = world.ask("GET", f"/refs/{world.branch.branch}/commits?first_parent=true")["results"]
    assert len(log) == 2


def test_a_hook_that_refuses_the_merge_does_not_undo_what_is_published(world: World) -> None:
    begin = world.head()
    opened = world.files.checkout(begin, "/", world.place())
    (opened.path / "_lakefs_actions").mkdir()
    (opened.path / "_lakefs_actions" / "no.yaml").write_text(HOOK)
    ref = stage(world.files, opened)
    answer = world.files.claim(Claim(world.branch, begin, ref, "work", "1"))
    assert isinstance(answer, Claimed)
    assert "not on my branch" in answer.behind
    assert world.head() == ref
    assert world.shown() == set()

    opened = world.files.checkout(ref, "/", world.place())
    (opened.path / "_lakefs_actions" / "no.yaml").unlink()
    last = stage(world.files, opened)
    assert world.files.claim(Claim(world.branch, ref, last, "next", "1")) == Claimed(last)


HOOK = """\
name: no
on:
  pre-merge:
hooks:
  - id: no
    type: lua
    properties:
      script: |
        error("not on my branch")
"""


def test_many_repair_at_once(world: World) -> None:
    behind(world, "1")
    last = behind(world, "2")
    clients = [world.client() for _ in range(8)]
    assert race(8, lambda one: clients[one].repair(world.branch)) == [""] * 8
    assert world.head() == last
    assert world.shown() == {"1", "2"}


def test_claims_and_repairs_of_many_at_once_end_at_the_last(world: World) -> None:
    def work(one: int) -> None:
        files = world.client()
        for round_ in range(4):
            begin = head(files, world.branch)
            place = world.folder / f"{one}-{round_}"
            opened = files.checkout(begin, "/", place)
            (opened.path / f"{one}-{round_}").write_text("x")
            files.claim(Claim(world.branch, begin, stage(files, opened), place.name, "1"))

    race(4, work)
    assert world.client().repair(world.branch) == ""
    assert world.shown() == world.names()
    log = [found for found, _ in world.files.log(world.head())]
    assert len(log) == len(world.names()) + 1  # one file with each claim that won


def test_a_branch_that_somebody_set_back_is_brought_forward_again(world: World) -> None:
    """Row 9: whoever expects the old head is refused all the same."""
    begin = world.head()
    stale = world.staged("stale")
    world.publish("1")
    last = world.publish("2")
    world.ask("PUT", f"/branches/{world.branch.branch}/hard_reset?ref={begin}")
    assert world.shown() == set()

    answer = world.client().claim(Claim(world.branch, begin, stale, "old", "1"))
    assert isinstance(answer, Conflict)
    assert world.head() == last
    assert world.client().repair(world.branch) == ""
    assert world.shown() == {"1", "2"}


def test_a_branch_that_somebody_deleted_is_made_again(world: World) -> None:
    world.branch = BranchName(world.repository, "dev")
    world.files.create(world.branch)
    last = world.publish("1")
    world.ask("DELETE", "/branches/dev")

    assert world.head() == last
    assert world.client().repair(world.branch) == ""
    assert world.shown() == {"1"}


def test_a_run_that_undid_what_it_did_is_published_without_a_merge(world: World) -> None:
    begin = prepared(world)
    opened = world.files.checkout(begin, "/", world.place())
    (opened.path / "x").write_text("x")
    opened = world.files.checkout(stage(world.files, opened), "/", world.place())
    (opened.path / "x").unlink()
    undone = stage(world.files, opened)

    assert world.files.claim(Claim(world.branch, begin, undone, "run", "1")) == Claimed(undone)
    assert world.head() == undone
    assert world.publish("next") == world.head()
    assert world.shown() == {"old.txt", "old.sh", "next"}


# Others on the branch


def test_a_commit_by_hand_before_anything_was_published_is_a_beginning(world: World) -> None:
    first = world.by_hand("theirs")
    assert world.head() == first
    world.publish("ours")
    assert world.names() == {"theirs", "ours"}


def test_a_commit_by_hand_before_the_claim_is_a_conflict(world: World) -> None:
    begin = world.publish("1")
    ref = world.staged("2")
    foreign = world.by_hand("theirs")

    answer = world.client().claim(Claim(world.branch, begin, ref, "work", "1"))
    assert isinstance(answer, Conflict)
    assert (answer.found, answer.stale) == (foreign, False)
    assert "by hand" in answer.what
    with pytest.raises(PublishFenceError, match="by hand"):
        world.head()
    assert "by hand" in world.client().repair(world.branch)
    assert world.client().recall(world.branch, begin, "work") is None
    assert world.left() == []


@pytest.mark.parametrize("where", ["/branches", "/merge/"])
def test_a_commit_by_hand_while_a_claim_is_made_changes_nothing_of_what_is_published(
    world: World, proxy: LakeFSProxy, where: str
) -> None:
    """The claim wins; the visible branch shows the stranger, and nobody builds on that."""
    begin = world.publish("1")
    ref = world.staged("2")
    claim = claim_name(world.branch, begin)

    def decide(request: Request) -> str:
        is_it = where == "/merge/" or claim.encode() in request.body
        return "hold" if request.method == "POST" and is_it and where in request.path else ""

    proxy.decide = decide
    answers: list[Any] = []
    slow = world.client(proxy.endpoint)
    thread = threading.Thread(
        target=lambda: answers.append(slow.claim(Claim(world.branch, begin, ref, "work", "1")))
    )
    thread.start()
    assert proxy.is_holding.wait(30)
    foreign = world.by_hand("theirs")
    proxy.let_go()
    thread.join(timeout=60)

    assert isinstance(answers[0], Claimed)
    assert answers[0].ref == ref
    assert answers[0].behind != ""
    with pytest.raises(PublishFenceError) as caught:
        world.head()
    assert caught.value.expected == ref
    assert world.names(ref) == {"1", "2"}
    assert "theirs" in world.shown()
    assert foreign in [item["id"] for item in world.ask("GET", "/refs/main/commits")["results"]]

    taken = world.client().take_in(world.branch)
    assert world.head() == taken
    assert world.names() == world.shown() == {"1", "2", "theirs"}
    world.publish("3")
    assert world.shown() == {"1", "2", "3", "theirs"}


def test_two_that_begin_a_chain_at_different_commits_do_not_both_win(
    world: World, proxy: LakeFSProxy
) -> None:
    begin = world.head()
    ref = world.staged("early")
    root = root_name(world.branch).encode()
    proxy.decide = lambda request: (
        "hold" if request.method == "POST" and root in request.body else ""
    )
    answers: list[Any] = []
    slow = world.client(proxy.endpoint)
    thread = threading.Thread(
        target=lambda: answers.append(slow.claim(Claim(world.branch, begin, ref, "early", "1")))
    )
    thread.start()
    assert proxy.is_holding.wait(30)
    world.by_hand("theirs")
    last = world.publish("late")
    proxy.let_go()
    thread.join(timeout=60)

    assert isinstance(answers[0], Conflict)
    assert world.head() == last
    assert world.shown() == {"theirs", "late"}


def test_what_others_changed_in_the_same_file_is_not_taken_in(world: World) -> None:
    world.publish("a")
    world.by_hand("b")
    behind_head = world.ask("GET", "/branches/main")["commit_id"]
    with pytest.raises(PublishFenceError):
        world.head()
    taken = world.client().take_in(world.branch)
    assert world.head() == taken
    assert behind_head != taken

    opened = world.files.checkout(taken, "/", world.place())
    (opened.path / "b").write_text("ours")
    ref = stage(world.files, opened)
    world.ask("POST", "/branches/main/objects?path=uncommitted", b"x")
    world.files.claim(Claim(world.branch, taken, ref, "ours", "1"))
    world.ask("DELETE", "/branches/main/objects?path=uncommitted")
    lakefs.commit(world.port, world.repository, "main", {"b": b"theirs"})
    with pytest.raises(PublishFenceError):
        world.client().take_in(world.branch)
    assert world.left() == []


def test_many_take_in_the_same_commits_at_once(world: World) -> None:
    world.publish("1")
    world.by_hand("theirs")
    clients = [world.client() for _ in range(4)]
    heads = race(4, lambda one: clients[one].take_in(world.branch))
    assert set(heads) == {world.head()}
    assert world.shown() == {"1", "theirs"}


def test_taking_in_where_nobody_was_is_harmless(world: World) -> None:
    assert world.client().take_in(world.branch) == world.head()
    last = world.publish("1")
    assert world.client().take_in(world.branch) == last


def test_a_claim_that_somebody_moved_is_told_and_not_believed(world: World) -> None:
    begin = world.head()
    world.publish("1")
    name = claim_name(world.branch, begin)
    lakefs.commit(world.port, world.repository, name, {"x": b"x"})
    with pytest.raises(StoreCorruptError, match=name):
        world.head()


def test_a_record_says_what_was_published(world: World) -> None:
    begin = world.head()
    ref = world.publish("1")
    found = world.ask("GET", f"/branches/{claim_name(world.branch, begin)}")["commit_id"]
    record = world.ask("GET", f"/commits/{found}")
    assert record["parents"] == [ref]
    assert record["metadata"]["handrail-output-ref"] == ref
    assert record["metadata"]["handrail-logical-key"] == "publish 1"


def test_people_see_their_branches_alone(world: World) -> None:
    world.files.create(BranchName(world.repository, "~run-1"))
    world.publish("1")
    world.staged("2")
    assert [item["id"] for item in world.ask("GET", "/branches")["results"]] == ["main"]


def calls(proxy: LakeFSProxy, act: Callable[[], object]) -> list[str]:
    """The requests that something takes."""
    proxy.requests.clear()
    act()
    return [f"{one.method} {unquote(one.path.partition('?')[0])}" for one in proxy.requests]


def test_a_long_chain_costs_no_more_than_a_short_one(world: World, proxy: LakeFSProxy) -> None:
    counts = []
    for number in range(6):
        world.publish(str(number))
        files = world.client(proxy.endpoint)
        counts.append(len(calls(proxy, lambda files=files: files.head(world.branch))))  # type: ignore[misc]
    assert counts[-1] == counts[0] <= 8
