"""Text of plots in any script: fonts with the needed letters, or else escaped letters."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

# Fonts tried first, because they are complete; any other font with the letters is accepted.
_COMPLETE = ("Noto Sans CJK", "Source Han Sans", "WenQuanYi", "Droid Sans Fallback", "Unifont", "Arial Unicode")


@contextlib.contextmanager
def lettering(texts: Iterable[str]) -> Iterator[Callable[[str], str]]:
    """Context in which matplotlib can draw and save figures with `texts`, without warnings of missing glyphs.

    Yields a function that makes a text displayable: letters that no installed font has are replaced by their numbers,
    such as `\\\\u6253`, and so are control characters other than the end of a line.
    """
    import matplotlib
    from matplotlib import font_manager

    own = _letters(font_manager.findfont(font_manager.FontProperties()))
    wanted = {c for text in texts for c in text if c.isprintable()} - own
    families = list(matplotlib.rcParams["font.family"])
    for family, letters in _others() if wanted else ():
        if wanted & letters:
            families.append(family)
            wanted -= letters
        if not wanted:
            break

    def shown(text: str) -> str:
        unknown = {c for c in text if c in wanted or not (c.isprintable() or c == "\n")}
        return "".join(c.encode("unicode_escape").decode() if c in unknown else c for c in text)

    # Many of these fonts have only one weight, and matplotlib would warn whenever another is requested.
    remarks = logging.getLogger("matplotlib.font_manager")
    level = remarks.level
    remarks.setLevel(logging.ERROR)
    try:
        with matplotlib.rc_context({"font.family": families}):
            yield shown
    finally:
        remarks.setLevel(level)


def _others() -> Iterator[tuple[str, set[str]]]:
    """Family and letters of each installed font."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    known = {Path(entry.fname) for entry in manager.ttflist}
    for path in font_manager.findSystemFonts():
        if Path(path) not in known:  # installed since matplotlib listed the fonts
            with contextlib.suppress(Exception):  # unreadable format
                manager.addfont(path)
    fonts = {entry.name: entry for entry in manager.ttflist if entry.style == "normal"}

    def place(name: str) -> int:
        return next((i for i, start in enumerate(_COMPLETE) if name.startswith(start)), len(_COMPLETE))

    for name in sorted(fonts, key=lambda name: (place(name), name)):
        # Bitmap glyphs cannot be scaled, and the font of last resort has only boxes.
        if "Emoji" not in name and not name.startswith("Last Resort"):
            yield name, _letters(fonts[name].fname)


def _letters(path: Any) -> set[str]:
    from matplotlib import font_manager

    try:
        return set(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):  # missing or damaged
        return set()
