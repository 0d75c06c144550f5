"""Scores of retrieval from similarities: recall, ranks, mean average precision, and votes of nearest neighbours.

A similarity is a matrix of N queries and M items, the higher the more alike. Protocol of UCF-101 and HMDB-51: features
of 10 clips are averaged, test videos ask the training videos by cosine, and a query is answered if at least one of its
k nearest has its class. Of items that are equally similar the earlier one comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidjax.errors import UserError
from vidjax.evaluation.matching import class_mean
from vidjax.evaluation.metrics import average_precision

_BLOCK = 4_000_000  # similarities sorted at once


def cosine(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Cosine of the angle between every query and every item, float64 `(N, M)`; 0 for a vector of zeros.

    Args:
      queries: features, `(N, D)`.
      items: features, `(M, D)`.
    """
    unit = []
    for features in (queries, items):
        features = np.asarray(features, np.float64)
        length = np.linalg.norm(features, axis=-1, keepdims=True)
        unit.append(np.divide(features, length, out=np.zeros_like(features), where=length > 0))
    return unit[0] @ unit[1].T


def nearest(similarity: np.ndarray, k: int) -> np.ndarray:
    """The k most similar items of each query, the best first, int64 `(N, min(k, M))`."""
    step = max(_BLOCK // max(similarity.shape[1], 1), 1)
    blocks = (similarity[i : i + step] for i in range(0, len(similarity), step))
    found = [np.argsort(-block, axis=1, kind="stable")[:, :k] for block in blocks]
    return np.concatenate(found) if found else np.zeros((0, min(k, similarity.shape[1])), np.int64)


def neighbour_recall(
    similarity: np.ndarray,
    query_labels: np.ndarray,
    item_labels: np.ndarray,
    numbers: Sequence[int] = (1, 5, 10, 20, 50),
) -> dict[int, float]:
    """Compute R@k: the share of queries with at least one item of their class among the k nearest.

    Args:
      similarity: similarities, `(N, M)`.
      query_labels: class of each query, int `(N,)`.
      item_labels: class of each item, int `(M,)`.
      numbers: the k.

    Returns:
      R@k in 0…1 by k; NaN without queries.
    """
    same = item_labels[nearest(similarity, max(numbers))] == query_labels[:, None]
    return {k: float(same[:, :k].any(axis=1).mean()) if len(same) else float("nan") for k in numbers}


@dataclass(frozen=True, eq=False)
class RankedAP:
    """Average precision of ranked lists.

    Attributes:
      ap: average precision of each query, float64 `(N,)`; NaN for a query without an item of its class.
      by_class: mean over the queries of each class, float64 `(K,)`; NaN without queries.
    """

    ap: np.ndarray
    by_class: np.ndarray

    @property
    def mAP(self) -> float:
        """Mean over the queries."""
        return float(class_mean(self.ap))

    @property
    def class_mAP(self) -> float:
        """Mean over the classes of `by_class`, in which all classes weigh the same."""
        return float(class_mean(self.by_class))


def ranked_ap(similarity: np.ndarray, query_labels: np.ndarray, item_labels: np.ndarray) -> RankedAP:
    """Compute the average precision of the whole ranked list of each query; equal similarities are one threshold.

    Args:
      similarity, query_labels, item_labels: see `neighbour_recall`.
    """
    ap = average_precision(similarity.T, item_labels[:, None] == query_labels)
    known, count = ~np.isnan(ap), 1 + int(query_labels.max(initial=-1))
    total = np.bincount(query_labels[known], ap[known], minlength=count)
    number = np.bincount(query_labels[known], minlength=count)
    return RankedAP(ap, np.divide(total, number, out=np.full(count, np.nan), where=number > 0))


def match_ranks(similarity: np.ndarray, relevant: np.ndarray | None = None) -> np.ndarray:
    """Rank of the best relevant item of each query, from 1, int64 `(N,)`; equal similarities count against it.

    For text and video of the same order, `similarity` gives the ranks of texts that ask for videos, and its transpose
    those of videos that ask for texts.

    Args:
      similarity: similarities, `(N, M)`.
      relevant: whether an item answers a query, bool `(N, M)`; None: the item of the query's own number does.

    Raises:
      UserError: if a query has no relevant item, or similarities are NaN.
    """
    relevant = np.eye(*similarity.shape, dtype=bool) if relevant is None else relevant
    if not relevant.any(axis=1).all():
        raise UserError(f"{int((~relevant.any(axis=1)).sum())} queries have no relevant item")
    if np.isnan(similarity).any():
        raise UserError("similarities must not be NaN")
    best = np.where(relevant, similarity, -np.inf).max(axis=1, keepdims=True)
    return 1 + (~relevant & (similarity >= best)).sum(axis=1)


def rank_figures(ranks: np.ndarray, numbers: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Figures of text-to-video retrieval: `{"R@1", …, "median_rank", "mean_rank"}`, recalls in 0…1.

    Args:
      ranks: rank of each query's answer, from 1, int `(N,)`, N > 0.
      numbers: the k of the recalls.
    """
    recalls = {f"R@{k}": float((ranks <= k).mean()) for k in numbers}
    return recalls | {"median_rank": float(np.median(ranks)), "mean_rank": float(np.mean(ranks))}


def neighbour_votes(
    similarity: np.ndarray, item_labels: np.ndarray, num_classes: int, k: int = 20, temperature: float = 0.07
) -> np.ndarray:
    """Classify by weighted votes of the k nearest items (k-NN), as Wu et al., Instance Discrimination, 1805.01978.

    Args:
      similarity: cosines, `(N, M)`.
      item_labels: class of each item, int `(M,)`.
      num_classes: K.
      k: number of voters; 20 and 200 are common.
      temperature: a vote weighs exp(cosine / temperature).

    Returns:
      Share of each class in the votes, float64 `(N, K)`.
    """
    voters = nearest(similarity, k)
    alike = np.take_along_axis(similarity, voters, axis=1)
    weights = np.exp((alike - alike[:, :1]) / temperature)
    votes = np.zeros((len(similarity), num_classes))
    np.add.at(votes, (np.arange(len(votes))[:, None], item_labels[voters]), weights)
    return votes / votes.sum(axis=1, keepdims=True)
