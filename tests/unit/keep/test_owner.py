from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from handrail.keep.owner import Owner, process_is_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_this_process_is_not_gone() -> None:
    assert process_is_gone(Owner.current()) is False


def test_the_text_form_is_read_back() -> None:
    owner = Owner.current()
    assert str(owner).startswith(f"process {os.getpid()} on ")
    assert Owner.parse(str(owner)) == owner


@pytest.mark.parametrize("text", ["", "somebody", "process x on y", '{"pid": 1}'])
def test_other_texts_are_no_owner(text: str) -> None:
    assert Owner.parse(text) is None


def test_an_ended_process_is_gone_before_and_after_its_parent_knows() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin
    assert child.stdout
    child.stdout.readline()
    owner = replace(Owner.current(), pid=child.pid, started=_started(child.pid))
    assert process_is_gone(owner) is False
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still listed
    assert process_is_gone(owner) is True
    child.communicate()
    assert process_is_gone(owner) is True


def test_a_number_given_to_another_process_is_not_the_owner() -> None:
    assert process_is_gone(replace(Owner.current(), started=1)) is True


@pytest.mark.parametrize("value", ["elsewhere", ""])
def test_another_machine_or_container_cannot_be_judged(value: str) -> None:
    owner = replace(Owner.current(), pid=4_000_000)
    assert process_is_gone(replace(owner, boot_id=value)) is None
    assert process_is_gone(replace(owner, pid_namespace=value)) is None
    assert process_is_gone(None) is None


def _started(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19])
