"""Numbers in messages read as English."""

import pytest

from vidjax.wording import duration, ordinal, things


def test_one_thing_is_singular_and_all_other_numbers_plural():
    assert [things(n, "view") for n in (0, 1, 2)] == ["0 views", "1 view", "2 views"]
    assert things(1, "process", "processes") == "1 process" and things(2, "process", "processes") == "2 processes"
    assert things(1, "video is", "videos are") == "1 video is"


def test_ordinals_up_to_the_hundreds():
    numbers = (1, 2, 3, 4, 11, 12, 13, 21, 22, 111, 102)
    expected = "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 111th 102nd"
    assert " ".join(map(ordinal, numbers)) == expected


@pytest.mark.parametrize(
    ("hours", "words"),
    [(7.52, "7.5 h"), (1.0, "1.0 h"), (0.5, "30 min"), (1 / 60, "1 min"), (0.016, "< 1 min"), (0.001, "< 1 min")],
)
def test_durations_change_to_minutes_under_an_hour(hours, words):
    assert duration(hours) == words
