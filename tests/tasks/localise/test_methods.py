"""Suppression by the settings, and by a network's source where they leave it open."""

import numpy as np
import pytest

from vidjax.config import Config, ConfigError, LocaliseConfig
from vidjax.data.records import LabelSpace
from vidjax.models import get_spec
from vidjax.models.families.bmn import BoundaryOutputs
from vidjax.models.pyramid import SegmentOutputs
from vidjax.models.sequences import StepOutputs
from vidjax.tasks.localise import make
from vidjax.tasks.localise.methods import suppression_of
from vidjax.tasks.localise.nms import Found, Suppression, soft_nms_by_width, suppress

NOTHING = np.zeros(0)
PLACES = SegmentOutputs(NOTHING, NOTHING, NOTHING)
BINS = SegmentOutputs(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING)
PAIRS = BoundaryOutputs(NOTHING, NOTHING, NOTHING, NOTHING)


@pytest.mark.parametrize(
    ("outputs", "kind", "sigma", "by_score"),
    [
        (StepOutputs(NOTHING, NOTHING), "gaussian", 0.5, False),
        (PLACES, "gaussian", 0.5, False),
        (BINS, "gaussian", 0.5, True),
        (PAIRS, "width", 0.4, False),
    ],
)
def test_each_source_has_its_own_rule(outputs, kind, sigma, by_score):
    assert suppression_of(outputs, LocaliseConfig()) == Suppression(kind, sigma, by_score=by_score)
    given = LocaliseConfig(suppression="gaussian", sigma=0.7, voting=0.9, per_class=False, votes="overlap")
    assert suppression_of(outputs, given) == Suppression("gaussian", 0.7, voting=0.9, per_class=False)
    hard = LocaliseConfig(suppression="hard", iou=0.3, detections=7, min_score=0.1)
    assert suppression_of(outputs, hard) == Suppression("hard", 0.0, 0.3, 0.1, detections=7, by_score=by_score)
    with pytest.raises(TypeError, match="str: no loss and decoding"):
        suppression_of("nothing", given)


FOUND = Found(np.array([[0.0, 6.0], [1.0, 6.0], [0.0, 60.0], [2.0, 60.0]]), np.array([0.9, 0.8, 0.7, 0.6]), np.zeros(4))


def test_votes_by_score_or_with_overlap():
    voting = Suppression(per_class=False, voting=0.5, sigma=1e-3)
    kept = suppress(FOUND, voting)
    shares = np.array([0.9, 0.8 * 5 / 6])
    np.testing.assert_allclose(kept.segments[0], shares @ FOUND.segments[:2] / shares.sum(), atol=1e-5)
    kept = suppress(FOUND, Suppression(per_class=False, voting=0.5, sigma=1e-3, by_score=True))
    np.testing.assert_allclose(kept.segments[0], np.array([0.9, 0.8]) @ FOUND.segments[:2] / 1.7, atol=1e-5)


def test_of_long_segments_more_overlap_is_suffered():
    rule = Suppression("width", 0.4, detections=4)
    kept = suppress(FOUND, rule, length=60.0)
    numbers, scores = soft_nms_by_width(FOUND.segments / 60, FOUND.scores, 0.4)
    np.testing.assert_array_equal(kept.segments, FOUND.segments[numbers])
    np.testing.assert_allclose(kept.scores, scores)
    short, long = 0.8 * np.exp(-((5 / 6) ** 2) / 0.4), 0.6 * np.exp(-((58 / 60) ** 2) / 0.4)
    np.testing.assert_allclose(scores, [0.9, 0.7, short, long])
    # As shares of a longer video, both are short.
    assert suppress(FOUND._replace(segments=FOUND.segments * [[1, 0.75]]), rule, 1e6).scores[2] < 0.8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"voting": 0.9}, r"localise.voting: needs config.task.localise.per_class=false"),
        ({"votes": "score"}, r"localise.votes: needs config.task.localise.voting"),
        ({"iou": 0.3}, r"localise.iou: needs config.task.localise.suppression=hard"),
        ({"suppression": "hard"}, r"hard suppression needs it above 0"),
        ({"suppression": "hard", "iou": 0.3, "sigma": 0.5}, r"localise.sigma: is for soft suppression"),
    ],
)
def test_settings_without_effect_are_refused(settings, message):
    config = Config()
    config.task.localise = LocaliseConfig(**settings)
    with pytest.raises(ConfigError, match=message):
        make(config, get_spec("actionformer_tiny"), LabelSpace(("a",)))


def test_kinds_of_suppression_are_known():
    with pytest.raises(ValueError, match="kind = 'softer': must be one of gaussian, width, hard"):
        Suppression("softer")
