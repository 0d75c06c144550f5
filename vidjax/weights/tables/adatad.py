"""Weights that AdaTAD starts from: VideoMAE's classifier, as named by its repository and by mmaction2.

Adapters and detector start anew; the classifier and its norm are left out.
"""

from dataclasses import replace

from vidjax.weights.table import Rule, Source
from vidjax.weights.tables.videomae import MMACTION2, ORIGINAL

_LEFT_OUT = ("head", "fc_norm")


def _inside(rule: Rule) -> Rule:
    """The rule for the encoder within AdaTAD."""
    path = rule.path.replace("blocks.{i}.", "blocks.{i}.block.")
    return replace(rule, path=f"encoder.{path}")


def _start(source: Source) -> Source:
    left_out = [rule for rule in source.rules if rule.path.partition(".")[0] in _LEFT_OUT]
    return Source(
        name=source.name,
        models=("adatad_*",),
        signature=source.signature,
        rules=tuple(_inside(rule) for rule in source.rules if rule not in left_out),
        ignore=source.ignore,
        dropped=tuple(pattern for rule in left_out for pattern in rule.patterns),
        prefixes=source.prefixes,
        fresh=("encoder.blocks.*.adapter.*", "embedding.*", "stem.*", "branch.*", "norms.*", "head.*"),
        head="",
        kept=("positives",),
        read_only=True,
    )


SOURCES = (_start(ORIGINAL), _start(MMACTION2))
