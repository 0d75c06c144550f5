"""Words of captions as the published scores count them: Penn Treebank tokens, lower case, without punctuation.

Scores of captions compare words, so that a caption and its references must be cut in the same way. The published ones
use Stanford's `PTBTokenizer`, a Java program, and drop the marks in `DROPPED` (pycocoevalcap,
`tokenizer/ptbtokenizer.py`). These are its rules for words, contractions, numbers, brackets and marks; it also knows
abbreviations ("Mr."), smileys and addresses, which are cut at their marks here.
"""

import re

# Brackets stay as words in lower case, since the published scores drop only the names in capitals.
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
# Words that the treebank writes as two.
_TWO = {
    "cannot": ("can", "not"),
    "gimme": ("gim", "me"),
    "gonna": ("gon", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "wanna": ("wan", "na"),
}
DROPPED = frozenset({"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";", '"'})

_ENDING = r"'(?:s|re|ve|ll|d|m)\b"
_TOKEN = re.compile(
    rf"""
    -[lr][rsc]b-            # a bracket
    | n't\b | {_ENDING}     # what contractions end in
    | \w+?(?=n't\b)         # and begin with
    | \d+(?:[.,:]\d+)+      # 1,000.5 and 3:30
    | \w+(?:-\w+)+          # t-shirt
    | \w+'(?!(?:s|re|ve|ll|d|m|t)\b)\w+   # o'clock
    | \w+
    | \.\.\. | --
    | [^\w\s]
    """,
    re.VERBOSE,
)
_QUOTES = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', **{mark: f" {name} " for mark, name in _BRACKETS.items()}}
)


def caption_tokens(text: str) -> tuple[str, ...]:
    """Cut a caption into words: `"There's a circle!"` → `("there", "'s", "a", "circle")`; a blank one has none."""
    found: list[str] = []
    for token in _TOKEN.findall(text.lower().translate(_QUOTES)):
        if token not in DROPPED:
            found += _TWO.get(token, (token,))
    return tuple(found)
