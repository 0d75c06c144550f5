"""Videos of an index by their similarity to a query: whole videos, or their most similar clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vidjax.embeddings.exact import Hits, exact_search, unit
from vidjax.embeddings.index import Index

# (vectors (N, D), queries (Q, D), number to find) → the best of each query
Search = Callable[[np.ndarray, np.ndarray, int], Hits]


@dataclass(frozen=True)
class Match:
    """Video of an index that resembles a query.

    Attributes:
      video: number of the video in the index.
      score: cosine of the video and the query, or of their most similar clips.
      row: row of its clip that is most similar to a clip of the query.
      query_clip: number of that clip of the query.
      clip_score: cosine of the two clips.
    """

    video: int
    score: float
    row: int
    query_clip: int
    clip_score: float


def match_videos(index: Index, query: np.ndarray, top: int, without: Sequence[int] = ()) -> list[Match]:
    """Find the videos whose mean vectors have the highest cosine with a query.

    Args:
      index: index to search.
      query: vector `(D,)`, or the clips `(Q, D)` of a query, of which the mean is taken.
      top: number of videos to find.
      without: numbers of videos to leave out.
    """
    clips = query.reshape(-1, query.shape[-1])
    found = exact_search(index.means, clips.mean(axis=0, keepdims=True), top + len(without))
    pairs = zip(found.rows[0].tolist(), found.scores[0].tolist(), strict=True)
    left = [(video, score) for video, score in pairs if video not in without][:top]
    return [Match(video, score, *_nearest_clips(index, video, clips)) for video, score in left]


def match_clips(
    index: Index, clips: np.ndarray, top: int, without: Sequence[int] = (), search: Search = exact_search
) -> list[Match]:
    """Find the videos with a clip of the highest cosine with a clip of the query.

    Args:
      index: index to search.
      clips: clips of the query, `(Q, D)`.
      top: number of videos to find.
      without: numbers of videos to leave out.
      search: search among all clips; exact, or approximate.
    """
    wanted = min(top, len(index.videos) - len(set(without)))
    count = 4 * (top + len(without))
    while True:  # several of the best clips may be of one video
        hits = search(index.vectors, clips, min(count, len(index.vectors)))
        best: dict[int, tuple[float, int, int]] = {}
        for query_clip, (rows, scores) in enumerate(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)):
            for row, score in zip(rows, scores, strict=True):
                video = int(index.video[row])
                if video not in without and score > best.get(video, (-np.inf,))[0]:
                    best[video] = score, row, query_clip
        if len(best) >= wanted or count >= len(index.vectors):
            break
        count *= 4
    ranked = sorted(best.items(), key=lambda each: (-each[1][0], each[0]))[:top]
    return [Match(video, score, row, clip, score) for video, (score, row, clip) in ranked]


def rocchio(liked: np.ndarray, disliked: np.ndarray, weight: float = 0.5) -> np.ndarray:
    """Query vector between liked videos and away from disliked ones, float32 `(D,)`.

    The mean of the liked ones at length 1, less `weight` times that of the disliked ones (J. Rocchio, Relevance
    feedback in information retrieval, 1971).

    Args:
      liked: vectors of liked videos, `(L, D)`, L > 0.
      disliked: vectors of disliked videos, `(M, D)`; may be empty.
      weight: weight of the disliked ones.
    """
    query = unit(liked).mean(axis=0)
    return query - weight * unit(disliked).mean(axis=0) if len(disliked) else query


def _nearest_clips(index: Index, video: int, clips: np.ndarray) -> tuple[int, int, float]:
    rows = index.rows(video)
    if clips.shape[0] == 0:
        return rows.start, 0, float("nan")
    cosines = unit(clips) @ unit(index.vectors[rows]).T
    query_clip, clip = np.unravel_index(cosines.argmax(), cosines.shape)
    return rows.start + int(clip), int(query_clip), float(cosines[query_clip, clip])
