"""Stops a body that runs in the engine's own thread, as Ctrl-C would."""

from __future__ import annotations

import ctypes
import signal
import threading


def interrupt(thread_id: int) -> None:
    """Raises `KeyboardInterrupt` in a thread.

    In the main thread that also ends a system call it waits in, unless the program handles
    SIGINT in its own way. In another thread it comes when the thread runs Python code again.
    Source: https://docs.python.org/3/c-api/init.html#c.PyThreadState_SetAsyncExc
    """
    is_main = thread_id == threading.main_thread().ident
    if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.pthread_kill(thread_id, signal.SIGINT)
    else:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread_id), ctypes.py_object(KeyboardInterrupt)
        )
