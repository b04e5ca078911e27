from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from handrail.keep.channel import Channel, MemoryChannel
from handrail.run.callback import CALL, CALLABLE, Calls, answer
from handrail.run.frames import read_frame, write_frame
from handrail.run.remote_channel import RemoteChannel, lent
from handrail.testing.channels import ChannelContract


class Border:
    """Both ends of the pipes of one attempt; the near side is a thread."""

    def __init__(self, objects: Mapping[str, Any]) -> None:
        commands, self._commands = os.pipe()
        self._replies, replies = os.pipe()
        self._far = (commands, replies)
        self._objects = objects
        self.calls = Calls(commands, replies, "works")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while (parts := read_frame(self._replies)) is not None:
            assert parts[0] == CALL
            reply = answer(parts[2], bytes(parts[1]).decode(), self._objects)
            write_frame(self._commands, reply.pack())

    def close(self) -> None:
        os.close(self._far[1])
        self._thread.join(10)
        for fd in (self._far[0], self._commands, self._replies):
            os.close(fd)


class TestRemoteChannel(ChannelContract):
    @pytest.fixture(autouse=True)
    def borders(self) -> Iterator[None]:
        self._borders: list[Border] = []
        self._near = MemoryChannel()
        yield
        for border in self._borders:
            border.close()

    def make(self, folder: Path) -> RemoteChannel:
        border = Border({"channel": self._near})
        self._borders.append(border)
        return RemoteChannel(border.calls)

    def another(self, channel: Channel) -> Channel:
        return self.make(Path())


def test_every_method_for_tasks_can_be_called() -> None:
    engine = {"restore", "begin", "end", "lock"}
    names = {name for name in vars(Channel) if not name.startswith("_")} - engine
    assert names == CALLABLE["channel"]
    assert names <= set(vars(RemoteChannel))


@pytest.fixture
def near() -> MemoryChannel:
    return MemoryChannel()


def far_of(channel: Any) -> Callable[..., Any]:
    return lambda name, method, *args: getattr(channel, method)(*args)


def test_locks_that_a_body_left_behind_are_given_back(near: MemoryChannel) -> None:
    with lent(near) as channel:
        far = RemoteChannel(far_of(channel))
        far.set("a", 1)
        far.lock("a").__enter__()
        far.lock("b").__enter__()
        assert not far.take_lock("a", "waits", 0)
        assert not near.take_lock("a", "other", 0)
    assert near.take_lock("a", "other", 0)
    assert near.take_lock("b", "other", 0)
    assert near.get("a") == 1


def test_locks_that_were_given_back_are_nobodys(near: MemoryChannel) -> None:
    with lent(near) as channel:
        far = RemoteChannel(far_of(channel))
        with far.lock("a"):
            pass
        with near.lock("a"):
            pass
        assert near.take_lock("a", "other", 0)
    assert near.drop_lock("a", "other")


def test_other_threads_of_a_body_call_while_one_waits_for_a_lock(near: MemoryChannel) -> None:
    border = Border({"channel": near})
    far = RemoteChannel(border.calls)
    near.take_lock("a", "near", 0)
    entered = threading.Event()

    def wait() -> None:
        with far.lock("a", timeout=20):
            entered.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    for _ in range(50):
        far.atomic_add("sum")
    assert not entered.is_set()
    near.drop_lock("a", "near")
    waiting.join(20)
    assert entered.is_set()
    border.close()
    assert near.get("sum") == 50
