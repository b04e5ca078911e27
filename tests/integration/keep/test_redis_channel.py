"""The channel in Redis: many processes, killed ones, and a server that goes away."""

from __future__ import annotations

import base64
import json
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from handrail.errors import (
    LockLost,
    LockTimeout,
    NotSerializableError,
    RuntimeConfigError,
    StoreCorruptError,
    StoreError,
)
from handrail.keep.channel import Channel
from handrail.testing.channels import ChannelContract
from tests.services import redis as service

redis = pytest.importorskip("redis")

# The modules below need the library.
from handrail.keep.redis_channel import RedisChannel  # noqa: E402
from handrail.keep.redis_server import RedisServer  # noqa: E402

_WORKER = Path(__file__).with_name("channel_worker.py")


class TestRedisChannel(ChannelContract):
    @pytest.fixture(autouse=True)
    def server(self, redis_url: str) -> Iterator[None]:
        self._server = RedisServer(redis_url)
        yield
        self._server.close()

    def make(self, folder: Path) -> RedisChannel:
        return RedisChannel(self._server, "r1")

    def another(self, channel: Channel) -> Channel:
        return self.make(Path())


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


@pytest.fixture
def channel(redis_url: str) -> Iterator[RedisChannel]:
    server = RedisServer(redis_url)
    channel = RedisChannel(server, "r1", keep_seconds=60, lock_lease_seconds=1)
    yield channel
    channel.end(succeeded=False)
    server.close()


def start(mode: str, url: str, number: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(_WORKER), mode, url, "r1", str(number)],
        stdout=subprocess.PIPE,
        text=True,
    )


def until_it_says(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    if process.stdout is not None:
        process.stdout.close()


def key(name: str) -> str:
    return f"handrail:channel:r1:{name}"


# What is in Redis


def test_a_list_is_a_list_there_and_a_value_is_json(channel: RedisChannel, client: Any) -> None:
    channel.append("list", (1, 2))
    channel.set("set", ["a"])
    channel.append("set", "b")
    channel.set("a", {"b": [1, None]})
    assert client.lrange(key("value:list"), 0, -1) == [b'{"!":"tuple","v":[1,2]}']
    assert client.lrange(key("value:set"), 0, -1) == [b'"a"', b'"b"']
    assert json.loads(client.get(key("value:a"))) == {"b": [1, None]}


def test_runs_do_not_see_each_other(channel: RedisChannel, redis_url: str) -> None:
    other = RedisChannel(redis_url, "r2")
    channel.set("a", 1)
    other.set("a", 2)
    with channel.lock("a"), other.lock("a", timeout=0):
        other.clear()
    other.end(succeeded=True)
    assert channel.get("a") == 1


def test_times_to_live_are_the_servers(channel: RedisChannel, client: Any) -> None:
    channel.set("a", 1, ttl=500)
    channel.append("b", 1, ttl=500)
    channel.set("c", [1], ttl=500)
    assert all(400 < client.ttl(key(f"value:{name}")) <= 500 for name in "abc")


def test_what_only_a_pickle_could_keep_is_refused(channel: RedisChannel) -> None:
    for put in (channel.set, channel.append, channel.prepend):
        with pytest.raises(NotSerializableError, match=r"Channel key 'a': a _thread\.lock"):
            put("a", threading.Lock())
        with pytest.raises(NotSerializableError, match=r"_thread\.lock \(in \['b'\]\)"):
            put("a", {"b": threading.Lock()})
    with pytest.raises(NotSerializableError):
        channel.set("a", [1, threading.Lock()])
    assert channel.keys() == []


def test_a_pickle_that_somebody_put_there_is_not_loaded(channel: RedisChannel, client: Any) -> None:
    content = base64.b64encode(pickle.dumps(ValueError("x"))).decode()
    text = json.dumps({"v": content, "!": "pickle", "of": "builtins:ValueError"})
    client.set(key("value:a"), text)
    client.rpush(key("value:b"), text)
    for name in "ab":
        with pytest.raises(StoreCorruptError, match=f"key '{name}' of run r1 .* pickle"):
            channel.get(name)
    with pytest.raises(StoreCorruptError):
        channel.atomic_add("a")


# A run's life


def test_inputs_are_put_once_in_a_runs_life(channel: RedisChannel) -> None:
    channel.begin({"a": (1,), "b": [1]}, resumed=False)
    channel.set("a", 2)
    channel.delete("b")
    channel.begin({"a": (1,), "b": [1]}, resumed=True)
    channel.begin({"a": (1,), "b": [1]}, resumed=False)
    assert (channel.get("a"), channel.exists("b")) == (2, False)


def test_a_resumed_run_whose_values_are_gone_is_refused(channel: RedisChannel, client: Any) -> None:
    channel.begin({"a": 1}, resumed=False)
    client.flushdb()
    for _ in range(2):
        with pytest.raises(StoreError, match="run r1 is no longer in Redis"):
            channel.begin({"a": 1}, resumed=True)


def test_nothing_is_left_after_success(channel: RedisChannel, client: Any) -> None:
    channel.begin({"a": 1, "list": [1, 2]}, resumed=False)
    channel.set("b", 1, ttl=500)
    channel.atomic_add("c", 0.5)
    channel.lock("left").__enter__()
    channel.take_lock("left", "waits", 0)
    client.set("handrail:channel:r10:value:a", 1)
    channel.end(succeeded=True)
    assert client.keys("*") == [b"handrail:channel:r10:value:a"]


def test_everything_ends_some_time_after_a_failure(channel: RedisChannel, client: Any) -> None:
    channel.begin({"a": 1, "list": [1, 2], "empty": []}, resumed=False)
    channel.set("b", 1, ttl=30)
    channel.end(succeeded=False)
    assert channel.get("a") == 1
    assert [name for name in client.keys("*") if not 0 < client.ttl(name) <= 60] == []
    assert client.ttl(key("value:b")) <= 30


def test_everything_ends_some_time_after_a_kill(redis_url: str, client: Any) -> None:
    process = start("live", redis_url)
    until_it_says(process, "lives")
    kill(process)
    names = client.keys("*")
    assert key("value:given").encode() in names
    assert [name for name in names if not 0 < client.ttl(name) <= 60] == []


def test_values_of_a_run_that_lives_do_not_end(redis_url: str) -> None:
    channel = RedisChannel(redis_url, "r1", keep_seconds=0.6)
    channel.begin({"a": 1, "list": [1]}, resumed=False)
    channel.set("mine", 1, ttl=0.9)
    time.sleep(1.5)
    assert sorted(channel.keys()) == ["a", "list"]
    channel.begin({}, resumed=True)
    channel.end(succeeded=True)


# Processes


def test_no_update_of_four_processes_with_eight_threads_each_is_lost(
    channel: RedisChannel, redis_url: str
) -> None:
    processes = [start("add", redis_url, number) for number in range(4)]
    assert [process.wait(100) for process in processes] == [0, 0, 0, 0]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    assert channel.get("sum") == 800
    assert channel.get("float") == 400.0
    assert channel.get("count") == 96
    expected = [(p, t, r) for p in range(4) for t in range(8) for r in range(25)]
    assert sorted(channel.get("list")) == expected


def test_a_lock_of_another_process_is_waited_for_and_freed_by_its_death(
    channel: RedisChannel, redis_url: str
) -> None:
    process = start("hold", redis_url)
    until_it_says(process, "held")
    with pytest.raises(LockTimeout), channel.lock("a", timeout=1.5):  # longer than its lease
        pass
    kill(process)
    started = time.monotonic()
    with channel.lock("a", timeout=20):
        assert time.monotonic() - started < 3


def test_who_dies_while_waiting_holds_nobody_up(channel: RedisChannel, redis_url: str) -> None:
    channel.take_lock("a", "mine", 0)
    process = start("wait", redis_url)
    until_it_says(process, "waits")
    kill(process)
    channel.drop_lock("a", "mine")
    with channel.lock("a", timeout=20):
        pass


def test_a_lock_is_renewed_while_it_is_held(channel: RedisChannel, redis_url: str) -> None:
    other = RedisChannel(redis_url, "r1", lock_lease_seconds=1)
    with channel.lock("a"), pytest.raises(LockTimeout), other.lock("a", timeout=2.5):
        pass
    with other.lock("a", timeout=0):
        pass


def test_a_lock_that_was_lost_is_told_at_its_end(channel: RedisChannel, client: Any) -> None:
    with pytest.raises(LockLost), channel.lock("a"):
        client.delete(key("lock:a"))
    with channel.lock("a", timeout=0):
        pass


# A server that goes away


def test_nothing_is_lost_or_done_twice_when_the_server_is_restarted(
    redis_server: service.RedisServer,
) -> None:
    server = RedisServer(redis_server.url, deadline_seconds=60)
    channel = RedisChannel(server, "r1")
    over = threading.Event()

    def work(number: int) -> int:
        count = 0
        while not over.is_set():
            channel.atomic_add("sum")
            channel.atomic_add("float", 0.5)
            channel.append("list", (number, count))
            count += 1
        return count

    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(work, number) for number in range(4)]
        for _ in range(3):
            before = channel.get("sum", 0)
            while channel.get("sum", 0) < before + 50:
                time.sleep(0.01)
            redis_server.kill()
            redis_server.start_again()
        over.set()
        counts = [job.result(60) for job in jobs]
    assert channel.get("sum") == sum(counts)
    assert channel.get("float") == sum(counts) / 2
    assert [n for number, n in channel.get("list") if number == 2] == list(range(counts[2]))
    assert len(channel.get("list")) == sum(counts)
    server.close()


class Wire:
    """Stands before a server and loses some of its replies."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, count: int) -> None:
        """Loses so many replies, and the connection with each."""
        self._lost = count

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            while content := client.recv(1 << 16):
                server.sendall(content)
                reply = server.recv(1 << 16)
                if self._lost:
                    self._lost -= 1
                    return
                client.sendall(reply)


def test_a_change_whose_reply_was_lost_is_done_once(redis_url: str) -> None:
    host, _, rest = redis_url.removeprefix("redis://").partition(":")
    port, _, database = rest.partition("/")
    wire = Wire(int(port))
    server = RedisServer(f"redis://{host}:{wire.port}/{database}")
    channel = RedisChannel(server, "r1")
    channel.set("gone", 1)
    # Once without losses: connections and scripts are there from then on.
    for count in range(1, 4):
        wire.lose(0 if count == 1 else 2)
        assert channel.atomic_add("sum") == count
        wire.lose(0 if count == 1 else 2)
        assert channel.atomic_add("float", 0.5) == count / 2
        wire.lose(0 if count == 1 else 2)
        assert channel.append("list", count) == count
    wire.lose(1)
    assert channel.delete("gone")
    assert channel.take_lock("a", "ticket", 0)
    wire.lose(1)
    assert channel.drop_lock("a", "ticket")
    assert channel.get("list") == [1, 2, 3]
    wire.close()
    server.close()


def test_a_server_that_stays_away_is_an_error_that_hides_the_password() -> None:
    free = socket.create_server(("127.0.0.1", 0))
    number = free.getsockname()[1]
    free.close()
    url = f"redis://me:secret@127.0.0.1:{number}/3"
    channel = RedisChannel(RedisServer(url, deadline_seconds=0.2), "r1")
    with pytest.raises(StoreError, match=rf"127\.0\.0\.1:{number}/3 did not answer") as caught:
        channel.set("a", 1)
    assert caught.value.retryable
    assert "secret" not in str(caught.value)


def test_a_wrong_password_is_said_at_once(redis_server: service.RedisServer) -> None:
    url = redis_server.url.replace("redis://", "redis://nobody:secret@")
    with pytest.raises(StoreError, match="refused") as caught:
        RedisChannel(url, "r1").get("a")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "http://me:secret@host", "redis://me:secret@host:x/0"])
def test_an_address_that_cannot_be_is_said_without_its_password(url: str) -> None:
    with pytest.raises(RuntimeConfigError, match="no address of a Redis server") as caught:
        RedisChannel(url, "r1")
    assert "secret" not in str(caught.value)


def test_a_missing_library_is_said_with_the_command() -> None:
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "from handrail.keep.redis_channel import RedisChannel\n"
        "try: RedisChannel('redis://host', 'r1')\n"
        "except Exception as exc: print(type(exc).__name__, exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("NotInstalledError The client library of Redis")
    assert "pip install 'handrail[redis]'" in done.stdout
