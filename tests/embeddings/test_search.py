"""Search, recommendation and near-duplicates, against what they are by definition."""

import dataclasses
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.embeddings.test_index import ORIGIN
from vidjax.embeddings.approximate import FACTS, approximate_search, recall
from vidjax.embeddings.duplicates import align, centred, find_duplicates, groups
from vidjax.embeddings.exact import exact_search, unit
from vidjax.embeddings.index import Index, Video
from vidjax.embeddings.matches import match_clips, match_videos, rocchio


def index_of(clips, times=None, folder=Path("index")):
    """An index of videos with these clips, a clip of 1 s each second."""
    counts = [len(each) for each in clips]
    times = np.concatenate([np.arange(n, dtype=float) if times is None else times[i] for i, n in enumerate(counts)])
    origin = dataclasses.replace(ORIGIN, width=clips[0].shape[1])
    video = np.repeat(np.arange(len(clips)), counts)
    videos = tuple(Video(f"/{i}.mp4") for i in range(len(clips)))
    return Index(folder, origin, videos, (), video, times, times + 1, np.concatenate(clips).astype(np.float32))


@hypothesis.settings(max_examples=12)
@hypothesis.given(count=st.integers(1, 40), queries=st.integers(1, 70), top=st.integers(1, 12), seed=st.integers(0, 99))
def test_exact_search_in_blocks_is_sorting_all_cosines(count, queries, top, seed):
    rng = np.random.default_rng(seed)
    vectors, asked = rng.standard_normal((count, 4)), rng.standard_normal((queries, 4)) * 3
    hits = exact_search(vectors, asked, top, block=8)
    cosines = unit(asked) @ unit(vectors).T
    best = np.sort(cosines, axis=1)[:, ::-1][:, :top]
    np.testing.assert_allclose(hits.scores, best, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(cosines, hits.rows, axis=1), best, atol=1e-6)
    assert all(len(set(row)) == len(row) for row in hits.rows.tolist())


def test_equal_vectors_come_in_their_order_and_zeros_last():
    vectors = np.array([[0, 0], [1, 0], [2, 0], [-1, 0]], np.float32)
    hits = exact_search(vectors, np.array([[1.0, 0]]), 4, block=2)
    assert hits.rows.tolist() == [[1, 2, 0, 3]] and hits.scores.tolist() == [[1, 1, 0, -1]]
    assert exact_search(vectors, np.empty((0, 2)), 2).rows.shape == (0, 2)


def test_videos_are_matched_by_their_means_or_by_their_best_clips():
    a = np.array([[1.0, 0, 0], [1, 0, 0], [0.9, 0.1, 0]])
    b = np.array([[0.0, 1, 0], [0, 1, 0], [1, 0, 0.01]])  # one clip like a's
    c = np.array([[0.6, 0.6, 0.5]])
    index = index_of([a, b, c])
    query = np.array([[1.0, 0, 0]])
    assert [match.video for match in match_videos(index, query, 3)] == [0, 2, 1]
    assert [match.video for match in match_clips(index, query, 3)] == [0, 1, 2]
    assert [match.video for match in match_clips(index, query, 3, without=[0])] == [1, 2]
    (match,) = match_clips(index, np.array([[0, 0, 1.0], [1, 0, 0]]), 1, without=[0, 2])
    assert (match.video, match.row, match.query_clip) == (1, 5, 1) and match.score == pytest.approx(1, abs=1e-4)
    found = match_videos(index, query, 2, without=[0])
    assert [match.video for match in found] == [2, 1] and found[1].row == 5
    assert found[1].score == pytest.approx(float(unit(index.means[1]) @ unit(query[0])), abs=1e-6)


def test_recommendations_go_towards_liked_and_away_from_disliked():
    liked, disliked = np.array([[2.0, 0], [0, 5.0]]), np.array([[3.0, 0]])
    np.testing.assert_allclose(rocchio(liked, np.empty((0, 2))), [0.5, 0.5])
    np.testing.assert_allclose(rocchio(liked, disliked), [0, 0.5])


def walk(rng, length):
    """Vectors of a scene that changes slowly, four a second."""
    return np.cumsum(rng.standard_normal((4 * length, 24)), axis=0)


@pytest.mark.parametrize("shift", [0.0, 3.0, 4.5, 7.25])
def test_a_trimmed_copy_is_found_with_its_offset(shift):
    """Clips of the copy fall between those of the original, as its grid begins elsewhere."""
    rng = np.random.default_rng(3)
    scenes = [walk(rng, 24) for _ in range(12)]
    copy = (
        scenes[4][int(4 * shift) :][: 4 * 12] + 0.05 * rng.standard_normal((48, 24))[: len(scenes[4]) - int(4 * shift)]
    )
    index = index_of([scene[::4] for scene in scenes] + [copy[::4]])
    pairs = find_duplicates(index, 0.9)
    assert [(pair.first, pair.second) for pair in pairs] == [(4, 12)]
    (pair,) = pairs
    assert pair.offset == pytest.approx(-shift, abs=0.5) and pair.share > 0.9
    assert (pair.start, pair.end) == pytest.approx((shift, shift + 12), abs=0.6)
    assert groups(pairs) == [[4, 12]]


def test_the_offset_of_two_whole_copies_is_nothing_and_alignment_has_a_mirror_image():
    rng = np.random.default_rng(0)
    scene = walk(rng, 10)[::4]
    index = index_of([scene, scene, scene[3:]])
    vectors = centred(index)
    same, cut, back = align(index, vectors, 0, 1), align(index, vectors, 0, 2), align(index, vectors, 2, 0)
    assert same.offset == pytest.approx(0, abs=0.05) and same.similarity == pytest.approx(1) and same.share == 1
    assert cut.offset == pytest.approx(-3, abs=0.1) and cut.offset == pytest.approx(-back.offset, abs=1e-6)
    assert sorted(groups(find_duplicates(index))) == [[0, 1, 2]]


def test_the_approximate_graph_is_kept_remade_and_its_recall_measured(tmp_path):
    pytest.importorskip("usearch", reason="needs the extra search")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 16))
    clips = [centres[i % 20] + 0.3 * rng.standard_normal((10, 16)) for i in range(40)]
    index = index_of(clips, folder=tmp_path)
    found = approximate_search(index, index.vectors[:7], 5)
    truth = exact_search(index.vectors, index.vectors[:7], 5)
    assert found.rows[:, 0].tolist() == list(range(7)) and recall(index, 5) >= 0.95
    np.testing.assert_allclose(found.scores[:, 0], truth.scores[:, 0], atol=1e-5)
    (tmp_path / "equal").mkdir()
    assert recall(index_of([np.ones((30, 3)), np.eye(3)[:1].repeat(30, 0)], folder=tmp_path / "equal"), 5) == 1.0
    made = (tmp_path / FACTS).stat().st_mtime_ns
    approximate_search(index, index.vectors[:1], 5)
    assert (tmp_path / FACTS).stat().st_mtime_ns == made
    more = index_of([*clips, clips[0] + 9], folder=tmp_path)
    assert approximate_search(more, more.vectors[-1:], 1).rows.item() >= 400, "made anew when the vectors change"
