"""Losses by their definitions in NumPy, PyTorch's where it has them, and what they leave out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.peers import needs
from vidjax.config import ClassifyConfig, Config, ConfigError, ModelConfig
from vidjax.config.validate import validate
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.models import create_model, get_spec
from vidjax.tasks import make_task
from vidjax.tasks.classify.losses import ClassLoss, effective_weights, prior_bias
from vidjax.tasks.classify.objective import classification_loss, is_correct

rng = np.random.default_rng(0)
LOGITS = (3 * rng.standard_normal((5, 7))).astype(np.float32)
TRUTH = (rng.random((5, 7)) < 0.3).astype(np.float32)
ALL = np.ones_like(TRUTH)
SEVERAL = LabelSpace(tuple("abcdefg"), several=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def terms(t=TRUTH):
    """Cross-entropy of each class, and its probability."""
    p = sigmoid(LOGITS)
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)), p


def test_cross_entropy_is_the_mean_over_classes():
    np.testing.assert_allclose(ClassLoss().sigmoid(LOGITS, TRUTH, ALL), terms()[0].mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (-1.0, 1.5), (0.5, 0.0)])
def test_focal_is_that_of_the_paper(alpha, gamma):
    bce, p = terms()
    own = np.where(TRUTH == 1, p, 1 - p)
    weight = np.where(TRUTH == 1, alpha, 1 - alpha) if alpha >= 0 else 1.0
    expected = (weight * (1 - own) ** gamma * bce).mean(axis=1)
    np.testing.assert_allclose(ClassLoss("focal", gamma, alpha).sigmoid(LOGITS, TRUTH, ALL), expected, rtol=1e-4)
    # With one class: -(1 - p)^γ log p of the video's own class.
    odds = np.exp(LOGITS - LOGITS.max(axis=1, keepdims=True)).astype(np.float64)
    p = (odds / odds.sum(axis=1, keepdims=True))[np.arange(5), [0, 3, 1, 6, 2]]
    found = ClassLoss("focal", gamma).softmax(LOGITS, np.eye(7, dtype=np.float32)[[0, 3, 1, 6, 2]])
    np.testing.assert_allclose(found, -((1 - p) ** gamma) * np.log(p), rtol=1e-4)


def test_focal_is_torchvisions():
    torch = needs("torch")
    bce = torch.nn.functional.binary_cross_entropy_with_logits(*map(torch.tensor, (LOGITS, TRUTH)), reduction="none")
    p, t = torch.sigmoid(torch.tensor(LOGITS)), torch.tensor(TRUTH)
    expected = (0.25 * t + 0.75 * (1 - t)) * (1 - (p * t + (1 - p) * (1 - t))) ** 2 * bce
    np.testing.assert_allclose(ClassLoss("focal").sigmoid(LOGITS, TRUTH, ALL), expected.mean(1), rtol=1e-4)


@pytest.mark.parametrize("positive", [0.0, 1.0])
def test_asymmetric_is_that_of_the_papers_code(positive):
    """Values and gradients: the weights have none."""
    torch = needs("torch")
    loss = ClassLoss("asymmetric", gamma_positive=positive)
    x, y = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True), torch.tensor(TRUTH, dtype=torch.float64)
    p = torch.sigmoid(x)
    negative = (1 - p + 0.05).clamp(max=1)
    cross = y * torch.log(p.clamp(min=1e-8)) + (1 - y) * torch.log(negative.clamp(min=1e-8))
    with torch.no_grad():
        own = p * y + negative * (1 - y)
        weight = (1 - own) ** (positive * y + 4 * (1 - y))
    expected = -(cross * weight).mean(1)
    expected.sum().backward()
    np.testing.assert_allclose(loss.sigmoid(LOGITS, TRUTH, ALL), expected.detach(), rtol=1e-4, atol=1e-7)
    gradient = jax.grad(lambda logits: loss.sigmoid(logits, TRUTH, ALL).sum())(LOGITS)
    np.testing.assert_allclose(gradient, x.grad, rtol=1e-3, atol=1e-6)
    assert np.isfinite(jax.grad(lambda x: loss.sigmoid(x, TRUTH, ALL).sum())(LOGITS * 100)).all()


def test_weights_of_classes_and_positives():
    bce, _ = terms()
    weights, positives = rng.random(7).astype(np.float32), rng.random(7).astype(np.float32)
    found = ClassLoss(class_weights=weights, positive_weights=positives).sigmoid(LOGITS, TRUTH, ALL)
    expected = (np.where(TRUTH == 1, positives, 1) * weights * bce).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    plain = ClassLoss().softmax(LOGITS, np.eye(7, dtype=np.float32)[[2, 2, 1, 0, 3]])
    weighted = ClassLoss(class_weights=weights).softmax(LOGITS, np.eye(7, dtype=np.float32)[[2, 2, 1, 0, 3]])
    np.testing.assert_allclose(weighted, plain * weights[[2, 2, 1, 0, 3]], rtol=1e-5)


def test_effective_numbers_are_those_of_the_paper():
    found = effective_weights((1, 10, 1000, 0), 0.99)
    raw = np.array([(1 - 0.99) / (1 - 0.99**n) for n in (1, 10, 1000, 1)])
    np.testing.assert_allclose(found, raw * 4 / raw.sum(), rtol=1e-6)
    assert effective_weights((), 0.99) is None
    np.testing.assert_allclose(effective_weights((3, 5), 0.0), [1, 1])


def test_weights_follow_from_the_training_videos():
    shown = (("a",), ("a", "b"), ("a",), ())
    records = tuple(Record(f"{i}", Labels(tuple("abcdefg".index(c) for c in own))) for i, own in enumerate(shown))
    labels = VideoSet(records, SEVERAL).counted().labels
    assert labels.positives[:3] == (3, 1, 0) and labels.annotated == (4,) * 7 and labels == SEVERAL
    loss = ClassLoss.of(ClassifyConfig(positive_weight=0, class_beta=0.9), labels)
    np.testing.assert_allclose(loss.positive_weights[:3], [1 / 3, 3, 3])
    assert loss.class_weights[0] < loss.class_weights[1] == loss.class_weights[2]
    later = ClassLoss.of(ClassifyConfig(positive_weight=0, class_beta=0.9), SEVERAL)
    assert later.positive_weights is None and later.class_weights is None, "after training the numbers are not there"
    np.testing.assert_array_equal(ClassLoss.of(ClassifyConfig(positive_weight=2), SEVERAL).positive_weights, [2] * 7)


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "asymmetric"])
def test_classes_that_are_not_known_have_neither_loss_nor_gradient(kind):
    labels = TRUTH.copy()
    labels[:, 2:5] = -1
    labels[4] = -1
    loss = ClassLoss(kind)
    value = classification_loss(LOGITS, jnp.asarray(labels), loss=loss)
    kept = [0, 1, 5, 6]
    np.testing.assert_allclose(
        value, classification_loss(LOGITS[:4, kept], jnp.asarray(TRUTH[:4, kept]), loss=loss), rtol=1e-5
    )
    gradient = jax.grad(lambda x: classification_loss(x, jnp.asarray(labels), 0.1, loss=loss))(jnp.asarray(LOGITS))
    assert not gradient[:, 2:5].any() and not gradient[4].any() and np.isfinite(gradient).all() and gradient[0, 0]
    best = jnp.asarray(np.eye(7, dtype=np.float32)[[2] * 5])
    assert not is_correct(best, jnp.asarray(labels)).any()


def test_a_class_unknown_of_either_mixed_clip_is_left_out():
    labels, partner = np.array([[1, -1, 0, 0.0]], np.float32), np.array([[0, 1, -1, 1.0]], np.float32)
    logits, weight = LOGITS[:1, :4], jnp.array([0.7])
    found = classification_loss(logits, jnp.asarray(labels), 0.0, jnp.asarray(partner), weight)
    target = np.array([[0.7, 0.3]], np.float32)
    expected = ClassLoss().sigmoid(logits[:, [0, 3]], target, np.ones_like(target)).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_prior_is_the_first_probability():
    assert prior_bias(0.01) == pytest.approx(-np.log(0.99 / 0.01))
    config = Config(model=ModelConfig(name="conv3d_tiny"))
    config.task.classify.prior = 0.01
    task = make_task(config, get_spec("conv3d_tiny"), SEVERAL)
    network = create_model("conv3d_tiny", num_classes=7)
    task.start(network)
    np.testing.assert_allclose(jax.nn.sigmoid(network.head.bias.get_value()), 0.01, rtol=1e-5)
    make_task(Config(), get_spec("conv3d_tiny"), SEVERAL).start(network)  # without a prior, nothing changes
    np.testing.assert_allclose(jax.nn.sigmoid(network.head.bias.get_value()), 0.01, rtol=1e-5)
    network.head = None
    with pytest.raises(ConfigError, match="prior: the classifier of this network, NoneType, has no bias"):
        task.start(network)


def test_settings_without_effect_are_refused():
    one = LabelSpace(("a", "b"))
    for settings, words in (
        ({"loss": "asymmetric"}, "is for several labels per video"),
        ({"positive_weight": 0.0}, "positive_weight = 0.0: needs several labels"),
        ({"prior": 0.01}, "prior = 0.01: needs several labels"),
    ):
        with pytest.raises(ConfigError, match=words):
            ClassLoss.of(ClassifyConfig(**settings), one)
    config = Config()
    config.task.classify.focal_gamma = 1.0
    with pytest.raises(ConfigError, match=r"focal_gamma = 1\.0: is for config.task.classify.loss = 'focal'"):
        validate(config)
    config.task.classify.loss = "focal"
    validate(config)


def test_fused_probabilities_are_those_of_the_labels():
    """Streams whose softmaxes are averaged are no network for several labels, nor the other way round."""
    spec = get_spec("two_stream_tiny")
    one = LabelSpace(SEVERAL.names)
    fused = {exclusive: create_model("two_stream_tiny", num_classes=7, exclusive=exclusive) for exclusive in (0, 1)}
    for labels, wanted, told in ((SEVERAL, False, "have several labels"), (one, True, "every video has one label")):
        start = make_task(Config(), spec, labels).start
        start(fused[wanted])
        start(create_model("two_stream_tiny", num_classes=7, scores="logits"))
        with pytest.raises(ConfigError, match=f"exclusive: .*{told}.*set it to {wanted}"):
            start(fused[not wanted])
