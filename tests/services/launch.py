"""Becomes another program that dies with the process that started it.

python launch.py SIGNAL USER GROUP PARENT COMMAND...

The kernel sends SIGNAL when PARENT ends, however it ends (prctl(2), PR_SET_PDEATHSIG). It
forgets that when rights change, so they are given up first; from there on the standard library
may be out of reach. COMMAND begins with a whole path.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    number, user, group, parent = map(int, sys.argv[1:5])
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0):
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it ended before the kernel was asked
        sys.exit("the parent is gone")
    os.execv(sys.argv[5], sys.argv[5:])


main()
