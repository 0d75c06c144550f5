"""Wording of numbers in messages: counts in the singular or plural, ordinals, and durations."""


def things(count: int, one: str, several: str = "") -> str:
    """Number with its noun in the singular or plural: `1 video`, `3 videos`.

    Args:
      count: number of things.
      one: singular, with a verb if needed: `video is`.
      several: plural, for any other number: `videos are`. Empty: `one` with an s.
    """
    return f"{count} {one if count == 1 else several or one + 's'}"


def ordinal(number: int) -> str:
    """Ordinal number: `1st`, `2nd`, `3rd`, `4th`, … `11th`, `21st`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def duration(hours: float) -> str:
    """Text form of a duration, such as `7.5 h`; under an hour `12 min`, under a minute `< 1 min`."""
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{60 * hours:.0f} min" if hours >= 1 / 60 else "< 1 min"
