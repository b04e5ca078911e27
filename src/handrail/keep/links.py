"""Where symbolic links of a folder lead, told from their texts alone.

Nothing is looked up on a disk, so the answer is the same for a stored folder and for its files,
and no file that comes or goes outside of it changes it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

#: Links on the way from one name; a longer way counts as one that goes round in circles. See
#: path_resolution(7).
_MAX_LINKS = 40


def leads_outside(path: str, target: str, links: Mapping[str, str]) -> bool:
    """Does the link at `path` to `target` leave the folder: by its text, or by where it ends?

    The second differs from the first when another link on the way goes up or down.

    Args:
        path: of the link, from the folder.
        links: the targets of all links of the folder, by path.
    """
    if target.startswith("/"):
        return True
    by_text = os.path.normpath(os.path.join(os.path.dirname(path), target))
    if by_text == ".." or by_text.startswith("../"):
        return True
    return _ends_outside(path, target, links)


def links_outside(links: Mapping[str, str]) -> set[str]:
    """Paths of those links that leave the folder."""
    return {path for path, target in links.items() if leads_outside(path, target, links)}


def _ends_outside(path: str, target: str, links: Mapping[str, str]) -> bool:
    here = path.split("/")[:-1]
    ahead = target.split("/")[::-1]
    followed = 0
    while ahead:
        name = ahead.pop()
        if name in ("", "."):
            continue
        if name == "..":
            if not here:
                return True
            here.pop()
            continue
        here.append(name)
        further = links.get("/".join(here))
        if further is None:
            continue
        followed += 1
        if followed > _MAX_LINKS:
            return False
        if further.startswith("/"):
            return True
        here.pop()
        ahead.extend(further.split("/")[::-1])
    return False
