"""What is placed in a picture, whatever it stands for: things, and links between them.

`along` is the direction in which one thing follows another, `across` the other one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True)
class Thing:
    """What is placed: a node, a box of nodes, a port in the border of a box, a passing link."""

    along: float
    across: float
    #: -1: before all others (a port for what comes in); 1: after all others.
    rank: int = 0
    is_passing: bool = False
    #: May it be drawn as long as others in its layer?
    stretches: bool = False
    layer: int = 0
    #: Its centre.
    at_along: float = 0.0
    at_across: float = 0.0


@dataclass(slots=True)
class Link:
    """One thing follows another."""

    before: int
    after: int
    #: It leads back: drawn out of the end of `before`, around, and into the start of `after`.
    is_back: bool = False
    #: Where it leaves and enters, from the centres of the two.
    leaves: float = 0.0
    enters: float = 0.0
    #: What it passes, in the order of `before` to `after`.
    passing: list[int] = field(default_factory=list)


class Step(NamedTuple):
    """A piece of a link, from a layer to the one after it."""

    earlier: int
    later: int
    #: Where it leaves and enters, from the centres of the two.
    leaves: float
    enters: float
    #: How much it should be straight.
    weight: float
