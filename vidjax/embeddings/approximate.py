"""Approximate search with usearch's graph (HNSW, arXiv 1603.09320), for more vectors than exact search suits.

The graph is kept beside the vectors and made anew when these have changed. What it misses depends on the data: the
share of the true neighbours that it finds is measured against exact search on every use.
"""

import hashlib
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vidjax.embeddings.exact import Hits, exact_search, unit
from vidjax.embeddings.index import Index
from vidjax.errors import UserError, install
from vidjax.video.byte_sources import is_remote

GRAPH, FACTS = "graph.usearch", "graph.json"
# Neighbours per vector, and candidates kept while the graph is built and searched: usearch's own 16, 128 and 64 find
# only two thirds of the ten nearest of clustered vectors.
CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH = 32, 256, 256
_SAMPLE = 100  # vectors of the index that measure the recall
_ROUNDING = 1e-5  # of a cosine


def approximate_search(index: Index, queries: np.ndarray, top: int) -> Hits:
    """Find vectors with high cosines for each query, with the graph beside the index.

    Args:
      index: index to search; its folder gets the graph.
      queries: Q queries, `(Q, D)`.
      top: number of vectors to find for each query; at most N are found.

    Raises:
      UserError: if usearch is not installed.
    """
    return _search(_graph(index), queries, min(top, len(index.vectors)))


def recall(index: Index, top: int = 10, sample: int = _SAMPLE) -> float:
    """Share of the `top` nearest vectors that the graph finds, over a sample of the index's own vectors.

    The vectors themselves, which are their own nearest neighbours, are left out; of equally similar ones, any counts.
    """
    count = len(index.vectors)
    top = min(top, count - 1)
    if top < 1:
        return 1.0
    chosen = np.random.default_rng(0).choice(count, min(sample, count), replace=False)
    queries = index.vectors[chosen]
    truth, found = exact_search(index.vectors, queries, top + 1), _search(_graph(index), queries, top + 1)
    shares = []
    for row, query, best, got in zip(chosen, unit(queries), truth.rows, found.rows, strict=True):
        nearest = [each for each in best if each != row][:top]
        others = [each for each in got if each != row][:top]
        least, cosines = (unit(index.vectors[each]) @ query for each in (nearest[-1:], others))
        shares.append((cosines >= least - _ROUNDING).sum() / len(nearest))
    return float(np.mean(shares))


def _search(graph: Any, queries: np.ndarray, top: int) -> Hits:
    found = graph.search(unit(queries), top)
    keys = np.asarray(found.keys).reshape(len(queries), -1).astype(np.int64)
    distances = np.asarray(found.distances).reshape(len(queries), -1)
    return Hits(keys, (1 - distances).astype(np.float32))


def _graph(index: Index) -> Any:
    """The graph of an index, read from its folder or made."""
    usearch: Any = _usearch()
    path, facts = _local(index) / GRAPH, _local(index) / FACTS
    expected = {"vectors": _digest(index), "connectivity": CONNECTIVITY, "expansion_add": EXPANSION_ADD}
    if path.exists() and _read(facts) == expected:
        graph = usearch.Index.restore(str(path), view=True)
        if graph is not None:
            graph.expansion_search = EXPANSION_SEARCH
            return graph
    facts.unlink(missing_ok=True)
    graph = usearch.Index(
        ndim=index.vectors.shape[1],
        metric="cos",
        dtype="f32",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH,
    )
    graph.add(np.arange(len(index.vectors), dtype=np.uint64), unit(index.vectors))
    graph.save(str(path))
    facts.write_text(json.dumps(expected) + "\n", encoding="utf-8")
    return graph


def _local(index: Index) -> Path:
    if is_remote(str(index.folder)):
        raise UserError(f"{index.folder}: a graph lies beside its vectors on a disk; copy the folder to one first")
    return Path(index.folder)


def _usearch() -> ModuleType:
    try:
        return importlib.import_module("usearch.index")
    except ImportError:
        raise UserError(f"--index usearch needs the package usearch: {install('search')}") from None


def _digest(index: Index) -> str:
    digest = hashlib.sha256(f"{index.origin.fingerprint} {index.vectors.shape}".encode())
    for video in index.videos:
        digest.update(f"{video.key} {video.bytes} {video.modified}\n".encode())
    return digest.hexdigest()[:16]


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
