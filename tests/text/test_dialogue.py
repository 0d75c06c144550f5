"""Prompts of language models that see videos."""

from vidjax.text.dialogue import DIALOGUES, in_words


def test_numbers_in_words():
    assert [in_words(n) for n in (1, 12, 20, 64, 99, 100)] == [
        "one",
        "twelve",
        "twenty",
        "sixty-four",
        "ninety-nine",
        "100",
    ]


def test_smolvlm_is_told_how_many_frames_there_are_and_when():
    parts = DIALOGUES["smolvlm2"].parts([0.0, 61.2], 3725.0, [64, 64], "What happens?")
    assert parts == [
        "<|im_start|>User: You are provided the following series of two frames from a 1:02:05 [H:MM:SS] video.\n",
        "\nFrame from 00:00:<fake_token_around_image><global-img>", 64, "<fake_token_around_image>",
        "\nFrame from 01:01:<fake_token_around_image><global-img>", 64, "<fake_token_around_image>",
        "\n\nWhat happens?<end_of_utterance>\nAssistant:",
    ]  # fmt: skip


def test_video_llama_is_told_the_time_of_each_frame():
    text = "".join(map(str, DIALOGUES["videollama3"].parts([0.0, 1.04], 2.0, [3, 1], "")))
    assert "Time 0.0s:3,Time 1.0s:1\nDescribe this video in one sentence.<|im_end|>" in text
