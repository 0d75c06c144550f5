"""Scores of captions against references: BLEU-1 to BLEU-4, ROUGE-L and CIDEr-D.

Papers: Papineni et al., BLEU (ACL 2002); Lin, ROUGE (2004); Vedantam et al., CIDEr (arXiv 1411.5726). The numbers are
those of the COCO caption evaluation (pycocoevalcap), whose choices are not in the papers: the nearest reference length,
small constants in BLEU's quotients, and in CIDEr-D a length penalty by the number of bigrams.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidjax.errors import UserError
from vidjax.evaluation.caption_tokens import caption_tokens
from vidjax.wording import things

_LONGEST = 4  # words of the longest n-gram
_BETA = 1.2  # weight of recall against precision in ROUGE-L
_SIGMA = 6.0  # deviation of CIDEr-D's length penalty, bigrams

Words = tuple[str, ...]
Ngrams = Counter[Words]


@dataclass(frozen=True, eq=False)
class CaptionScores:
    """Scores of N captions.

    Attributes:
      bleu: BLEU-1 to BLEU-4 of the whole set, in 0…1.
      rouge_l: ROUGE-L of each caption, in 0…1, float64 `(N,)`.
      cider: CIDEr-D of each caption, in 0…10, float64 `(N,)`. It weighs words by their rarity among the videos of the
        set, so that it is 0 for a set of one video.
    """

    bleu: tuple[float, ...]
    rouge_l: np.ndarray
    cider: np.ndarray

    def figures(self) -> dict[str, float]:
        """Scores of the whole set by name: `bleu1` … `bleu4`, `rouge_l` and `cider`."""
        figures = {f"bleu{n}": value for n, value in enumerate(self.bleu, start=1)}
        return figures | {"rouge_l": float(self.rouge_l.mean()), "cider": float(self.cider.mean())}


def caption_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """Score one caption of each video against the video's references.

    Args:
      captions: N captions; an empty one scores 0.
      references: the reference captions of each video, at least one.

    Raises:
      UserError: if there are no captions, more or fewer than videos, or a video without a reference.
    """
    if len(captions) != len(references):
        raise UserError(
            f"there are {things(len(captions), 'sentence')} for the references of {things(len(references), 'video')}"
        )
    if not captions:
        raise UserError("there are no captions to score")
    for number, texts in enumerate(references):
        if not any(caption_tokens(text) for text in texts):
            raise UserError(f"video {number} has no reference caption of at least one word: {list(texts)}")
    found = [caption_tokens(text) for text in captions]
    wanted = [[caption_tokens(text) for text in texts] for texts in references]
    counted = [_ngrams(words) for words in found]
    known = [[_ngrams(words) for words in texts] for texts in wanted]
    rouge = [_rouge_l(words, texts) for words, texts in zip(found, wanted, strict=True)]
    return CaptionScores(_bleu(found, wanted, counted, known), np.array(rouge), _cider(counted, known))


def _ngrams(words: Words) -> Ngrams:
    """Count the n-grams of up to four words."""
    return Counter(words[i : i + n] for n in range(1, _LONGEST + 1) for i in range(len(words) - n + 1))


def _bleu(
    found: Sequence[Words],
    wanted: Sequence[Sequence[Words]],
    counted: Sequence[Ngrams],
    known: Sequence[Sequence[Ngrams]],
) -> tuple[float, ...]:
    made, matched = np.zeros(_LONGEST), np.zeros(_LONGEST)
    for ngrams, texts in zip(counted, known, strict=True):
        for ngram, count in ngrams.items():
            made[len(ngram) - 1] += count
            matched[len(ngram) - 1] += min(count, max(text.get(ngram, 0) for text in texts))
    length = sum(map(len, found))
    nearest = sum(
        min((abs(len(text) - len(words)), len(text)) for text in texts)[1]
        for words, texts in zip(found, wanted, strict=True)
    )
    # The constants keep the quotients finite, and are part of the published numbers.
    tiny, small = 1e-15, 1e-9
    precision = np.cumprod((matched + tiny) / (made + small)) ** (1 / np.arange(1, _LONGEST + 1))
    ratio = (length + tiny) / (nearest + small)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return tuple((precision * brevity).tolist())


def _rouge_l(words: Words, texts: Sequence[Words]) -> float:
    """Harmonic mean of the best precision and the best recall, each over all references."""
    common = [_common_length(words, text) for text in texts]
    if not words or not any(common):
        return 0.0
    precision = max(common) / len(words)
    recall = max(length / len(text) for length, text in zip(common, texts, strict=True) if text)
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _common_length(one: Words, other: Words) -> int:
    """Length of the longest common subsequence, all rows of its table at once as bits of a number.

    Source: Hyyrö, "Bit-parallel LCS-length computation revisited" (AWOCA 2004).
    """
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    whole = (1 << len(one)) - 1
    rows = whole
    for word in other:
        hits = rows & places.get(word, 0)
        rows = ((rows + hits) | (rows - hits)) & whole
    return len(one) - rows.bit_count()


def _cider(counted: Sequence[Ngrams], known: Sequence[Sequence[Ngrams]]) -> np.ndarray:
    videos: Ngrams = Counter()  # in the references of how many videos an n-gram is
    for texts in known:
        videos.update(set().union(*texts))
    rarity = {ngram: math.log(len(known)) - math.log(count) for ngram, count in videos.items()}
    unseen = math.log(len(known))

    def weighed(ngrams: Ngrams) -> tuple[dict[Words, float], list[float], int]:
        """Weighed counts, the length of each n's vector, and the number of bigrams."""
        weights = {ngram: count * rarity.get(ngram, unseen) for ngram, count in ngrams.items()}
        squares = [0.0] * _LONGEST
        for ngram, weight in weights.items():
            squares[len(ngram) - 1] += weight**2
        return weights, [math.sqrt(x) for x in squares], sum(n for ngram, n in ngrams.items() if len(ngram) == 2)

    scores = []
    for ngrams, texts in zip(counted, known, strict=True):
        own, own_norms, own_length = weighed(ngrams)
        total = 0.0
        for text in texts:
            other, norms, length = weighed(text)
            products = [0.0] * _LONGEST
            for ngram, weight in own.items():
                if there := other.get(ngram):
                    products[len(ngram) - 1] += min(weight, there) * there
            alike = sum(x / (a * b) for x, a, b in zip(products, own_norms, norms, strict=True) if a * b)
            total += alike / _LONGEST * math.exp(-((own_length - length) ** 2) / (2 * _SIGMA**2))
        scores.append(10 * total / len(texts))
    return np.array(scores)
