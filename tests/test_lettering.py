"""Names in any script on plots, without a word of matplotlib's."""

import cv2
import matplotlib
import numpy as np
import pytest

from vidjax import lettering as module
from vidjax.apps.contact_sheet import Row, draw_sheet
from vidjax.lettering import lettering
from vidjax.tasks.classify.report import plot_confusion

CHINESE, RARE = "打架_001.mp4", "\U0001d7fe.mp4"  # the second has a letter that a font of matplotlib's other ones has


@pytest.fixture
def no_other_fonts(monkeypatch):
    monkeypatch.setattr(module, "_others", lambda: iter(()))


def test_letters_that_no_font_has_are_spelled_out(no_other_fonts):
    with lettering([CHINESE, RARE, "Übung é.mp4"]) as shown:
        assert shown(CHINESE) == r"\u6253\u67b6_001.mp4"
        assert shown(RARE) == r"\U0001d7fe.mp4"
        assert shown("Übung é.mp4") == "Übung é.mp4"
        assert shown("\udcff.mp4") == r"\udcff.mp4", "a name that is no Unicode"


def test_control_characters_are_spelled_out_but_for_the_end_of_a_line():
    with lettering(["a\tb\x07\nc"]) as shown:
        assert shown("a\tb\x07\nc") == "a\\tb\\x07\nc"


def test_another_font_that_has_them_is_taken_for_the_time_being():
    before = list(matplotlib.rcParams["font.family"])
    with lettering([RARE]) as shown:
        assert shown(RARE) == RARE
        families = list(matplotlib.rcParams["font.family"])
    assert families[: len(before)] == before and len(families) == len(before) + 1
    assert matplotlib.rcParams["font.family"] == before
    with lettering(["plain"]):
        assert matplotlib.rcParams["font.family"] == before


def sheet(path, name):
    row = Row(f"{name}\nclass\nclip 1", np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, int), np.zeros(1))
    draw_sheet(path, f"title {name}", [row])
    return cv2.imread(str(path))


@pytest.mark.parametrize("name", [CHINESE, RARE, "\x07.mp4"])
def test_plots_are_drawn_without_a_warning(name, tmp_path, caplog):
    """Warnings are errors here."""
    assert (sheet(tmp_path / "a.png", name) != sheet(tmp_path / "b.png", name[1:])).any(), "it can be seen"
    plot_confusion(tmp_path / "confusion.png", np.eye(2, dtype=int), (name, "other"))
    assert (tmp_path / "confusion.png").stat().st_size > 0
    assert caplog.text == ""


def test_the_letter_itself_is_drawn_where_a_font_has_it(tmp_path, monkeypatch):
    letter = sheet(tmp_path / "a.png", RARE)
    monkeypatch.setattr(module, "_others", lambda: iter(()))
    spelled = sheet(tmp_path / "b.png", RARE)
    ink = [(picture[:34] < 128).any(axis=-1).sum() for picture in (letter, spelled)]
    assert 0 < ink[0] < ink[1], "one letter instead of ten"


def test_a_damaged_font_has_no_letters(tmp_path):
    (tmp_path / "x.ttf").write_bytes(b"no font")
    assert module._letters(tmp_path / "x.ttf") == module._letters(tmp_path / "missing.ttf") == set()
