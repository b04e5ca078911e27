from __future__ import annotations

import builtins
import struct
import sys
from typing import Any

import pytest

from handrail.errors import NotInstalledError
from handrail.flow.pictures.layout import Layout, lay_out
from handrail.flow.pictures.picture import Picture
from handrail.flow.pictures.png import png
from tests.unit.flow.samples import five, hostile, sixty


def size(image: bytes) -> tuple[int, int]:
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", image[16:24])
    return width, height


def test_an_image_has_two_pixels_for_one_of_the_layout() -> None:
    pytest.importorskip("matplotlib")
    layout = lay_out(Picture.of(five(), {"clean": "succeeded", "check": "skipped"}))
    width, height = size(png(layout))
    assert width == pytest.approx(2 * layout.width, abs=2)
    assert height == pytest.approx(2 * layout.height, abs=2)


def test_any_name_can_be_drawn() -> None:
    pytest.importorskip("matplotlib")
    # Characters that no font has would be warned of, which is an error here.
    assert size(png(lay_out(Picture.of(hostile()))))
    assert size(png(lay_out(Picture.of(sixty(), {"start": "running"}))))


def test_a_large_picture_is_drawn_smaller() -> None:
    pytest.importorskip("matplotlib")
    width, height = size(png(Layout(300, 100_000, (), (), (), ())))
    assert height <= 60_001
    assert width == pytest.approx(180, abs=2)


def test_without_the_library_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_matplotlib(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "matplotlib", raising=False)
    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    with pytest.raises(NotInstalledError, match=r"pip install 'handrail\[draw\]'"):
        png(lay_out(Picture.of(five())))
