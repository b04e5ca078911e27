"""Mounting and unmounting, by the calls of the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from handrail.errors import StoreError

#: umount2(2): the mount disappears at once, and is closed when its last user is gone.
_MNT_DETACH = 2
#: mount(2): programs in it get no rights of their owner, devices in it do not work.
_MS_NOSUID, _MS_NODEV = 2, 4

#: See Documentation/filesystems/overlayfs.rst.
#: - redirect_dir=on: folders of the layers below can be renamed; off, rename(2) fails (EXDEV).
#: - metacopy=off: a changed mode copies the file up, so that its content stands beside.
#: - index=off: hard links below are no matter, as no two names of a layer share a file.
_OPTIONS = "redirect_dir=on,metacopy=off,index=off"
#: What is written is private and thrown away, so nothing waits for the disk. Linux 5.10.
_VOLATILE = ",volatile"


def mount_overlay(target: Path, layers: Sequence[Path], upper: Path, work: Path) -> None:
    """Shows `layers`, the first one on top, as one folder at `target`; changes go to `upper`.

    Args:
        target: an empty folder; its rights are those of `upper`.
        work: an empty folder of the kernel's own, on the file system of `upper`.

    Raises:
        OSError: not permitted, or not possible on that file system.
    """
    with ExitStack() as stack:
        # By number, since a path may hold what separates options, and 4096 bytes hold them all.
        below = ":".join(_numbered(stack, layer) for layer in layers)
        options = f"lowerdir={below},upperdir={_numbered(stack, upper)},"
        options += f"workdir={_numbered(stack, work)},{_OPTIONS}"
        try:
            _mount(target, options + _VOLATILE)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            _mount(target, options)


def mounts_below(path: Path) -> list[str]:
    """Mount points in a folder, deepest first; see proc(5), `mountinfo`.

    Raises:
        StoreError: they cannot be seen, though there may be some.
    """
    inside = os.path.realpath(path) + "/"
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError as error:
        if os.geteuid() != 0:  # nobody but root makes mounts that we would meet
            return []
        raise StoreError(
            f"/proc/self/mountinfo cannot be read ({error}), so what is mounted in {path} cannot "
            f"be seen. Mount /proc with: mount -t proc proc /proc"
        ) from error
    points = [_unescape(os.fsdecode(line.split(b" ", 5)[4])) for line in lines]
    return sorted((point for point in points if point.startswith(inside)), reverse=True)


def unmount(point: str) -> None:
    """Takes a mount away, whoever still uses it.

    Raises:
        StoreError: that is not permitted.
    """
    if _system().umount2(os.fsencode(point), _MNT_DETACH) != 0:
        number = ctypes.get_errno()
        raise StoreError(
            f"{point} is a mount inside of an attempt's folder and cannot be unmounted "
            f"({os.strerror(number)}). Unmount it with: sudo umount {point}"
        )


def _mount(target: Path, options: str) -> None:
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV)
    place = os.fsencode(target)
    if _system().mount(b"handrail", place, b"overlay", flags, options.encode("ascii")) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def _numbered(stack: ExitStack, folder: Path) -> str:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, number)
    return f"/proc/self/fd/{number}"


def _system() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
