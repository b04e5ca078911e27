"""Frames on a pipe: `!I` number of parts, `!Q` length of each part, the parts."""

from __future__ import annotations

import os
import struct

#: What pipes give: large contents come as `bytearray`, without another copy.
Content = bytes | bytearray

_COUNT = struct.Struct("!I")


def write_frame(fd: int, parts: list[Content]) -> None:
    """Writes one frame to a pipe.

    Raises:
        BrokenPipeError: nobody reads it.
    """
    head = struct.pack(f"!I{len(parts)}Q", len(parts), *map(len, parts))
    waiting = [memoryview(part) for part in (head, *parts) if part]
    while waiting:
        written = os.writev(fd, waiting)
        while waiting and written >= len(waiting[0]):
            written -= len(waiting.pop(0))
        if written:
            waiting[0] = waiting[0][written:]


def read_frame(fd: int) -> list[Content] | None:
    """Reads one frame from a pipe; none if the other side has closed it."""
    head = _read(fd, _COUNT.size)
    if head is None:
        return None
    (count,) = _COUNT.unpack(head)
    lengths = _read(fd, 8 * count)
    if lengths is None:
        return None
    parts = []
    for length in struct.unpack(f"!{count}Q", lengths):
        part = _read(fd, length)
        if part is None:
            return None
        parts.append(part)
    return parts


def _read(fd: int, length: int) -> Content | None:
    """Exactly `length` bytes; none at the end of the stream."""
    if not length:
        return b""
    first = os.read(fd, min(length, 1 << 16))
    if len(first) == length:
        return first
    if not first:
        return None
    content = bytearray(length)
    content[: len(first)] = first
    rest = memoryview(content)[len(first) :]
    while rest:
        count = os.readv(fd, [rest])
        if not count:
            return None
        rest = rest[count:]
    return content
