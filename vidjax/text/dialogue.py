"""Prompts of language models that see videos: what stands around the tokens of frames, and around a question."""

from collections.abc import Sequence
from dataclasses import dataclass

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


@dataclass(frozen=True)
class Dialogue:
    """Texts of a prompt, with these fields in braces: `count` (frames, as a word), `length` (of the video, H:MM:SS),
    `clock` (time of a frame, MM:SS), `seconds` (the same, with one decimal) and `question`.

    Attributes:
      before: text before the frames.
      frame: text before each frame's tokens.
      after_frame: text after each frame's tokens.
      between: text between two frames.
      after: text after the frames, with the question.
      end: name of the token that ends an answer.
      question: question that stands for none.
    """

    before: str
    frame: str
    after_frame: str
    between: str
    after: str
    end: str
    question: str = "Describe this video in one sentence."

    def parts(self, times: Sequence[float], duration: float, counts: Sequence[int], question: str) -> list[str | int]:
        """Texts of a prompt in order, with numbers of placeholders between them.

        Args:
          times: time of each frame, seconds.
          duration: length of the video, seconds.
          counts: number of tokens of each frame.
          question: question; empty: the usual one.
        """
        hours, minutes, seconds = int(duration) // 3600, int(duration) // 60 % 60, int(duration) % 60
        length = f"{hours}:{minutes:02d}:{seconds:02d}"
        found: list[str | int] = [self.before.format(count=in_words(len(times)), length=length)]
        for number, (time, count) in enumerate(zip(times, counts, strict=True)):
            clock = f"{int(time) // 60:02d}:{int(time) % 60:02d}"
            between = self.between if number else ""
            found += [between + self.frame.format(clock=clock, seconds=f"{time:.1f}"), count, self.after_frame]
        return [*found, self.after.format(question=question or self.question)]


def in_words(number: int) -> str:
    """A whole number from 0 to 99 as a word, such as "twenty-one"; others in digits."""
    if number < len(_ONES):
        return _ONES[number]
    if number > 99:
        return str(number)
    tens, ones = _TENS[number // 10 - 2], number % 10
    return f"{tens}-{_ONES[ones]}" if ones else tens


# Sources: transformers, `models/smolvlm/{processing,video_processing}_smolvlm.py`, and
# `models/video_llama_3/processing_video_llama_3.py` with the dialogue of Qwen2.5.
DIALOGUES = {
    "smolvlm2": Dialogue(
        before="<|im_start|>User: You are provided the following series of {count} frames from a {length} [H:MM:SS] "
        "video.\n",
        frame="\nFrame from {clock}:<fake_token_around_image><global-img>",
        after_frame="<fake_token_around_image>",
        between="",
        after="\n\n{question}<end_of_utterance>\nAssistant:",
        end="<end_of_utterance>",
    ),
    "videollama3": Dialogue(
        before="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        frame="Time {seconds}s:",
        after_frame="",
        between=",",
        after="\n{question}<|im_end|>\n<|im_start|>assistant\n",
        end="<|im_end|>",
    ),
}
