"""Evaluation of retrieval: ranks of the right videos among all for each caption, and the other way round."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from vidjax.config import Spec
from vidjax.data.records import Caption, VideoSet
from vidjax.data.text import DataError
from vidjax.evaluation.evaluator import Rows
from vidjax.evaluation.retrieval import cosine, match_ranks, rank_figures
from vidjax.inputs import TextInput
from vidjax.nn.enter import enter

DIRECTIONS = ("text_to_video", "video_to_text")
_VIEWS = 1000  # numbers of a video's clips begin at this times its index


class RetrievalEvaluator:
    """Ranks of videos by all captions of a set, and of captions by its videos.

    A video's vector is the mean of those of its clips. Each caption asks for its video; a video asks for any of its
    captions, and the best one counts. Of equally similar ones, the right one is the last. Where a text has another
    vector beside each video, a clip is compared with all captions of the set as soon as it is seen, so that they are
    encoded again for each batch.

    Args:
      videos: videos to evaluate, with their captions.
      spec: spec of the network, with its inputs and their normalisation.
      dtype: type of the network's inputs; None: float32.
      cut: whether captions that are too long lose their last tokens.

    Raises:
      DataError: if a video has no caption.
      UserError: if the network has no tokenizer, or a caption is too long without `cut`.
    """

    def __init__(self, videos: VideoSet, spec: Spec, dtype: Any = None, *, cut: bool = False):
        self._spec, self._dtype, self._videos = spec, dtype, videos
        self._texts = [_captions(record.annotation, record.path) for record in videos.records]
        self._numbers = _table(self._texts, spec, cut)
        self._clips: dict[int, list[np.ndarray]] = {}
        self._captions: dict[int, np.ndarray] = {}

    def forward(self, network: Any, inputs: Mapping[str, jax.Array], number: jax.Array) -> dict[str, jax.Array]:
        """Compute the vectors of clips, float32 `(B, E)`, and of their videos' captions, `(B, M, E)`; where texts vary,
        the cosines of clips with all captions of all V videos, `(B, V, M)`."""
        entered = enter(inputs, self._spec.inputs, self._dtype, network=network)
        if network.texts_vary:
            features = network.encode(entered["video"])
            cosines = jax.lax.map(
                lambda rows: network.compare(features, network.encode_text(rows)), jnp.asarray(self._numbers)
            )
            return {"cosines": jnp.swapaxes(cosines, 0, 1)}
        rows = jnp.asarray(self._numbers)[number // _VIEWS]
        # One caption of each video at a time, as there may be dozens.
        texts = jax.lax.map(network.encode_text, jnp.swapaxes(rows, 0, 1))
        return {"video": network.encode_video(entered["video"]), "text": jnp.swapaxes(texts, 0, 1)}

    def wants(self, index: np.ndarray, view: int) -> bool:
        """Whether a batch has any view to score."""
        return bool((index >= 0).any())

    def add(self, rows: Rows, outputs: Mapping[str, np.ndarray]) -> None:
        """Add the vectors, or the cosines, of one view."""
        if "cosines" in outputs:
            for index, cosines in zip(rows.index.tolist(), outputs["cosines"], strict=True):
                self._clips.setdefault(index, []).append(cosines)
            return
        for index, video, texts in zip(rows.index.tolist(), outputs["video"], outputs["text"], strict=True):
            self._clips.setdefault(index, []).append(video)
            self._captions[index] = texts[: len(self._texts[index])]

    def merge(self, other: Self) -> None:
        """Add the vectors of another evaluator."""
        for index, clips in other._clips.items():
            self._clips.setdefault(index, []).extend(clips)
        self._captions |= other._captions

    def ranks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Index of the video of each caption, rank of this video by the caption, int64 `(N,)` each, and rank of the
        best caption of each video, `(M,)`; of the videos that could be read."""
        order = sorted(self._clips)
        if not order:
            none = np.zeros(0, np.int64)
            return none, none, none
        # In a fixed order, as sums of floats depend on it.
        means = [np.mean(np.sort(np.stack(self._clips[i]).astype(np.float64), axis=0), axis=0) for i in order]
        owner = np.repeat(np.arange(len(order)), [len(self._texts[i]) for i in order])
        if self._captions:
            similarity = cosine(np.concatenate([self._captions[i] for i in order]), np.stack(means))
        else:
            beside = [np.concatenate([mean[i, : len(self._texts[i])] for i in order]) for mean in means]
            similarity = np.stack(beside, axis=1)
        right = owner[:, None] == np.arange(len(order))
        return np.array(order)[owner], match_ranks(similarity, right), match_ranks(similarity.T, right.T)

    def summary(self) -> dict[str, dict[str, float]]:
        """Summarise, for `text_to_video` and `video_to_text`: recalls `R@1`, `R@5`, `R@10`, `median_rank`, `mean_rank`;
        NaN without videos."""
        _, videos, texts = self.ranks()
        empty = dict.fromkeys(rank_figures(np.ones(1)), float("nan"))
        return {
            way: rank_figures(found) if len(found) else empty
            for way, found in zip(DIRECTIONS, (videos, texts), strict=True)
        }

    def details(self) -> dict[str, Any]:
        """Report the number of captions."""
        return {"num_captions": sum(len(self._texts[index]) for index in self._clips)}

    def write(self, folder: Path, title: str) -> list[str]:
        """Write `ranks.csv`: each caption, its video and the rank at which it finds this."""
        index, ranks, _ = self.ranks()
        place: dict[int, int] = {}
        with open(folder / "ranks.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "caption", "rank"])
            for video, rank in zip(index.tolist(), ranks.tolist(), strict=True):
                number = place[video] = place.get(video, -1) + 1
                writer.writerow([self._videos.records[video].path, self._texts[video][number], rank])
        return ["ranks.csv"]


def _captions(annotation: Any, path: str) -> tuple[str, ...]:
    if not isinstance(annotation, Caption):
        raise DataError(f"{path}: has no caption, which retrieval needs")
    return annotation.texts


def _table(texts: list[tuple[str, ...]], spec: Spec, cut: bool) -> np.ndarray:
    """Token numbers of all captions, int32 `(videos, M, L)`; missing ones repeat the first of the video."""
    (input,) = (value for value in spec.inputs.values() if isinstance(value, TextInput))
    tokenizer, most = input.reader(), max(map(len, texts), default=1)
    filled = [text for own in texts for text in (*own, *own[:1] * (most - len(own)))]
    rows = tokenizer.rows(filled, input.length, cut=cut)
    used = int((rows != tokenizer.padding).any(axis=0).sum()) or 1
    return rows[:, :used].reshape(len(texts), most, used)
