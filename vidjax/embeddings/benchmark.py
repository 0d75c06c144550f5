"""Quality of feature vectors by what simple methods make of them: neighbours, linear classes, clusters and pairs.

The tasks and their main scores follow the benchmark MTEB (Muennighoff et al., arXiv 2210.07316), of which the figures
for videos go by the name MVEB; neighbours are also scored by the protocol of UCF-101 and HMDB-51. A video's vector is
the mean of its clips' vectors.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.optimize import minimize

from vidjax.embeddings.exact import unit
from vidjax.evaluation.matching import class_mean
from vidjax.evaluation.metrics import average_precision, top_k_accuracy
from vidjax.evaluation.retrieval import cosine, nearest, neighbour_recall, neighbour_votes, ranked_ap

_EXPERIMENTS, _SHOTS = 10, 8  # of a classification from few examples
_RECALLS, _VOTERS = (1, 5, 10, 20, 50), (20, 200)
_PAIRS = 100_000  # most pairs compared


@dataclass(frozen=True, eq=False)
class Labelled:
    """Vectors of videos with their classes.

    Attributes:
      test, test_labels: vectors `(N, D)` and class numbers `(N,)` of the videos that are judged.
      train, train_labels: those of videos to learn from, `(M, D)` and `(M,)`; None: there are none, and neighbours are
        sought among the other test videos.
      num_classes: K.
    """

    test: np.ndarray
    test_labels: np.ndarray
    num_classes: int
    train: np.ndarray | None = None
    train_labels: np.ndarray | None = None


def retrieval(data: Labelled) -> dict[str, float]:
    """Score neighbours by cosine: R@1, 5, 10, 20, 50, the mAP of the whole list, also by class, and nDCG@10 (main).

    Test videos ask the training videos or, without these, all other test videos.
    """
    similarity, labels = _similarity(data)
    alone = data.train is None
    there = similarity.shape[1] - alone
    numbers = [k for k in _RECALLS if k <= there] or [there]
    figures = {f"R@{k}": v for k, v in neighbour_recall(similarity, data.test_labels, labels, numbers).items()}
    gains = labels[nearest(similarity, min(10, there))] == data.test_labels[:, None]
    ideal = np.bincount(labels, minlength=data.num_classes)[data.test_labels] - alone
    ndcg = _ndcg(gains, ideal)
    return {"main_score": ndcg, "ndcg_at_10": ndcg, **figures, **_ranked(similarity, labels, data)}


def neighbours(data: Labelled) -> dict[str, float]:
    """Score classes by the votes of the k nearest, with weights exp(cosine / 0.07): top-1 for k = 20 (main) and 200.

    With fewer videos to ask, all of them vote.
    """
    similarity, labels = _similarity(data)
    there = similarity.shape[1] - (data.train is None)
    figures = {}
    for k in [k for k in _VOTERS if k <= there] or [there]:
        votes = neighbour_votes(similarity, labels, data.num_classes, k)
        figures[f"knn{k}_top1"] = top_k_accuracy(votes, data.test_labels, 1)
    return {"main_score": next(iter(figures.values())), **figures}


def linear(data: Labelled) -> dict[str, float]:
    """Score a logistic regression on all training videos: top-1 (main) and macro F1."""
    assert data.train is not None and data.train_labels is not None
    predicted = LogisticRegression.fit(data.train, data.train_labels, data.num_classes).predict(data.test)
    accuracy, f1 = _accuracy(predicted, data)
    return {"main_score": accuracy, "accuracy": accuracy, "f1": f1}


def few_shot(data: Labelled) -> dict[str, float]:
    """Score logistic regressions on 8 training videos of each class, the mean of 10 draws: top-1 (main) and F1."""
    assert data.train is not None and data.train_labels is not None
    rng, found = np.random.default_rng(0), []
    for _ in range(_EXPERIMENTS):
        order = rng.permutation(len(data.train))
        own = [order[data.train_labels[order] == k][:_SHOTS] for k in range(data.num_classes)]
        rows = np.concatenate(own)
        model = LogisticRegression.fit(data.train[rows], data.train_labels[rows], data.num_classes)
        found.append(_accuracy(model.predict(data.test), data))
    accuracy, f1 = np.mean(found, axis=0)
    return {"main_score": float(accuracy), "accuracy": float(accuracy), "f1": float(f1)}


def clustering(data: Labelled) -> dict[str, float]:
    """Score k-means clusters, as many as there are classes, by their V-measure (main): the mean of 10 starts."""
    vectors, count = unit(data.test).astype(np.float64), len(np.unique(data.test_labels))
    found = []
    for seed in range(_EXPERIMENTS):
        _, clusters = kmeans2(vectors, count, minit="++", missing="warn", rng=np.random.default_rng(seed))
        found.append(v_measure(data.test_labels, clusters))
    return {
        "main_score": float(np.mean(found)),
        "v_measure": float(np.mean(found)),
        "v_measure_std": float(np.std(found)),
    }


def pairs(data: Labelled) -> dict[str, float]:
    """Score the cosine of two videos as evidence for one class: average precision over pairs (main), and their number.

    All pairs of test videos are taken, or 100,000 drawn ones if there are more; `share_same` is what chance would give.
    """
    first, second = _pairs(len(data.test))
    vectors = unit(data.test)
    scores = np.concatenate([(vectors[a] * vectors[b]).sum(1) for a, b in _blocks(first, second)])
    same = data.test_labels[first] == data.test_labels[second]
    ap = float(average_precision(scores[:, None], same[:, None])[0])
    return {"main_score": ap, "ap": ap, "share_same": float(same.mean()), "num_pairs": len(first)}


# Name → kind in MTEB, function, whether it needs training videos.
TASKS: dict[str, tuple[str, Callable[[Labelled], dict[str, float]], bool]] = {
    "retrieval": ("Retrieval", retrieval, False),
    "neighbours": ("Classification", neighbours, False),
    "linear": ("Classification", linear, True),
    "few_shot": ("Classification", few_shot, True),
    "clustering": ("Clustering", clustering, False),
    "pairs": ("PairClassification", pairs, False),
}


def run_tasks(data: Labelled, names: list[str]) -> list[dict[str, Any]]:
    """Run tasks by name, and describe each as in a result of MTEB: `task_name`, `type`, `scores` and seconds."""
    found = []
    for name in names:
        kind, task, _ = TASKS[name]
        begin = time.perf_counter()
        scores = task(data)
        seconds = time.perf_counter() - begin
        found.append({"task_name": name, "type": kind, "scores": {"test": [scores]}, "evaluation_time": seconds})
    return found


@dataclass(frozen=True, eq=False)
class LogisticRegression:
    """Linear classifier of vectors, trained to the minimum of mean cross-entropy + |W|² / (2·N).

    This is scikit-learn's `LogisticRegression()` with C = 1, whose biases are free.
    """

    weights: np.ndarray  # float64 (D, K)
    biases: np.ndarray  # float64 (K,)

    @classmethod
    def fit(cls, vectors: np.ndarray, labels: np.ndarray, num_classes: int) -> "LogisticRegression":
        """Fit the classifier by L-BFGS.

        Args:
          vectors: `(N, D)`; they are scaled to length 1.
          labels: class numbers, int `(N,)`.
          num_classes: K.
        """
        x, count = unit(vectors).astype(np.float64), len(vectors)
        truth = np.eye(num_classes)[labels]
        shape = (x.shape[1] + 1, num_classes)

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            both = flat.reshape(shape)
            logits = x @ both[:-1] + both[-1]
            logits -= logits.max(axis=1, keepdims=True)
            odds = np.exp(logits)
            total = odds.sum(axis=1, keepdims=True)
            error = (odds / total - truth) / count
            value = (np.log(total[:, 0]) - (logits * truth).sum(1)).mean() + (both[:-1] ** 2).sum() / (2 * count)
            gradient = np.concatenate([x.T @ error + both[:-1] / count, error.sum(0, keepdims=True)])
            return float(value), gradient.reshape(-1)

        found = minimize(loss, np.zeros(shape).reshape(-1), jac=True, method="L-BFGS-B", options={"maxiter": 500})
        both = found.x.reshape(shape)
        return cls(both[:-1], both[-1])

    def predict(self, vectors: np.ndarray) -> np.ndarray:
        """Predict class numbers, int `(N,)`."""
        return (unit(vectors) @ self.weights + self.biases).argmax(axis=1)


def v_measure(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Harmonic mean of homogeneity and completeness of clusters (Rosenberg and Hirschberg, 2007), in 0…1."""
    table = np.zeros((labels.max() + 1, clusters.max() + 1))
    np.add.at(table, (labels, clusters), 1)
    table /= table.sum()
    of_labels, of_clusters = table.sum(axis=1), table.sum(axis=0)
    both = _entropy(of_labels) + _entropy(of_clusters) - _entropy(table)  # mutual information
    homogeneity = both / _entropy(of_labels) if _entropy(of_labels) else 1.0
    completeness = both / _entropy(of_clusters) if _entropy(of_clusters) else 1.0
    total = homogeneity + completeness
    return float(2 * homogeneity * completeness / total) if total > 0 else 0.0


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def _similarity(data: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Cosines `(N, M)` of test videos and those they ask, and the classes of the latter; a video never finds itself."""
    if data.train is not None and data.train_labels is not None:
        return cosine(data.test, data.train), data.train_labels
    similarity = cosine(data.test, data.test)
    np.fill_diagonal(similarity, -np.inf)
    return similarity, data.test_labels


def _ranked(similarity: np.ndarray, labels: np.ndarray, data: Labelled) -> dict[str, float]:
    """Mean AP of the whole lists, and its mean over the classes."""
    if data.train is not None:
        ranked = ranked_ap(similarity, data.test_labels, labels)
        return {"mAP": ranked.mAP, "class_mAP": ranked.class_mAP}
    count = len(similarity)
    others = ~np.eye(count, dtype=bool)  # a video does not find itself
    same = (labels[None] == data.test_labels[:, None])[others].reshape(count, -1)
    ap = average_precision(similarity[others].reshape(count, -1).T, same.T)
    by_class = [class_mean(ap[data.test_labels == k]) for k in np.unique(data.test_labels)]
    return {"mAP": float(class_mean(ap)), "class_mAP": float(class_mean(np.array(by_class)))}


def _ndcg(gains: np.ndarray, ideal: np.ndarray) -> float:
    """Mean nDCG of lists `(N, k)` of hits, where `ideal` `(N,)` items of each query's class exist."""
    discount = 1 / np.log2(np.arange(gains.shape[1]) + 2)
    best = np.concatenate([[0], np.cumsum(discount)])[np.minimum(ideal, gains.shape[1])]
    return (
        float(((gains * discount).sum(axis=1)[best > 0] / best[best > 0]).mean()) if (best > 0).any() else float("nan")
    )


def _accuracy(predicted: np.ndarray, data: Labelled) -> tuple[float, float]:
    """Accuracy, and F1 averaged over the classes that occur."""
    truth, f1 = data.test_labels, []
    for k in np.union1d(truth, predicted):
        hit = ((predicted == k) & (truth == k)).sum()
        f1.append(2 * hit / ((predicted == k).sum() + (truth == k).sum()))
    return float((predicted == truth).mean()), float(np.mean(f1))


def _pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    if count * (count - 1) // 2 <= _PAIRS:
        first, second = np.triu_indices(count, 1)
        return first, second
    rng = np.random.default_rng(0)
    first = rng.integers(0, count, _PAIRS)
    second = (first + rng.integers(1, count, _PAIRS)) % count
    low, high = np.minimum(first, second), np.maximum(first, second)
    chosen = np.unique(low * count + high)
    return chosen // count, chosen % count


def _blocks(first: np.ndarray, second: np.ndarray, size: int = 10_000) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(first[i : i + size], second[i : i + size]) for i in range(0, len(first), size)]
