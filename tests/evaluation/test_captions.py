"""Scores of captions: to 12 digits those of pycocoevalcap, and of their definitions written out."""

import json

import numpy as np
import pytest

from tests.evaluation.drawn import EVALUATORS
from vidjax.errors import UserError
from vidjax.evaluation.caption_tokens import caption_tokens
from vidjax.evaluation.captions import caption_scores


@pytest.fixture(scope="module")
def published():
    return json.loads((EVALUATORS / "captions.json").read_text())


def test_words_are_those_of_the_treebank(published):
    for video in published["data"]:
        texts = [(video["caption"], video["tokens"]["caption"])]
        texts += zip(video["references"], video["tokens"]["references"], strict=True)
        for text, tokens in texts:
            assert " ".join(caption_tokens(text)) == tokens


@pytest.mark.parametrize(
    ("text", "words"),
    [("It isn't a man's T-shirt...", "it is n't a man 's t-shirt"), ("", ""), ("  ?! ", ""),
     ("they can't; we'll go at 3:30 for 1,000.5", "they ca n't we 'll go at 3:30 for 1,000.5"),
     ("Don’t “cannot” [now] {x}", "do n't can not -lsb- now -rsb- -lcb- x -rcb-"),
     ("two o'clock -- the dogs' ball", "two o'clock the dogs ball")],
)  # fmt: skip
def test_contractions_numbers_and_marks(text, words):
    assert " ".join(caption_tokens(text)) == words


def test_scores_are_the_published_ones(published):
    videos = published["data"]
    found = caption_scores([v["caption"] for v in videos], [v["references"] for v in videos])
    wanted = {name: value for name, value in published["scores"].items() if not name.startswith("meteor")}
    assert found.figures() == pytest.approx(wanted, rel=1e-9)
    np.testing.assert_allclose(found.rouge_l, [v["rouge_l"] for v in videos], atol=1e-9)
    np.testing.assert_allclose(found.cider, [v["cider"] for v in videos], atol=1e-9)


def test_rouge_counts_the_longest_common_subsequence():
    """By the table of the definition, for drawn words."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = (rng.integers(0, 4, rng.integers(1, 12)).tolist() for _ in range(2))
        table = np.zeros((len(one) + 1, len(other) + 1))
        for i, a in enumerate(one):
            for j, b in enumerate(other):
                table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
        precision, recall = table[-1, -1] / len(one), table[-1, -1] / len(other)
        wanted = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision) if precision else 0
        words = [" ".join(f"w{n}" for n in numbers) for numbers in (one, other)]
        assert caption_scores(words[:1], [words[1:]]).rouge_l[0] == pytest.approx(wanted)


def test_the_same_caption_is_perfect_and_an_empty_one_scores_nothing():
    texts = ["a red square moves left", "two blue circles turn around slowly"]
    same = caption_scores(texts, [[text] for text in texts])
    assert same.figures() == pytest.approx({f"bleu{n}": 1 for n in (1, 2, 3, 4)} | {"rouge_l": 1, "cider": 10})
    empty = caption_scores(["", "!"], [[text] for text in texts]).figures()
    assert max(empty.values()) < 1e-3


def test_cider_of_one_video_is_zero():
    assert caption_scores(["a red square"], [["a red square", "the square is red"]]).figures()["cider"] == 0


def test_what_cannot_be_scored_is_named():
    with pytest.raises(UserError, match="2 sentences for the references of 1 video"):
        caption_scores(["a", "b"], [["a"]])
    with pytest.raises(UserError, match="no captions"):
        caption_scores([], [])
    with pytest.raises(UserError, match="video 1 has no reference caption of at least one word: \\[' '\\]"):
        caption_scores(["a", "b"], [["a"], [" "]])
