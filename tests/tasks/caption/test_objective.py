"""The loss of captions: of the words behind the prompt, and of no others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.models import get_spec
from vidjax.tasks.caption.objective import CaptionObjective, said

TEXT = jnp.asarray([[9, 4, 5, 6, 8, 0, 0], [9, 3, 8, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]])
PROMPT = jnp.asarray([3, 1, 0])  # of the first two words are the question


def test_words_behind_the_prompt_are_said_and_padding_is_not():
    wanted = [[0, 0, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0], [0] * 6]
    np.testing.assert_array_equal(said(TEXT, PROMPT), np.array(wanted, bool))


def test_the_loss_is_the_cross_entropy_of_these_words():
    spec = get_spec("git_tiny")
    objective = CaptionObjective(spec)
    logits = np.random.default_rng(0).standard_normal((3, 7, 64)).astype(np.float32)
    batch = {"video": jnp.zeros((3, 2, 8, 8, 3), jnp.uint8), "text": jnp.concatenate([PROMPT[:, None], TEXT], axis=1)}
    examples = {"inputs": batch, "targets": {}}
    loss, sums = objective(lambda inputs, rngs: jnp.asarray(logits), examples, jax.random.key(0))
    places = [(0, 2), (0, 3), (1, 0), (1, 1)]
    chances = np.asarray(jax.nn.log_softmax(logits))
    assert loss == pytest.approx(-sum(chances[b, i, TEXT[b, i + 1]] for b, i in places), rel=1e-5)
    assert sums["correct"] == sum(logits[b, i].argmax() == TEXT[b, i + 1] for b, i in places)
    assert objective.weight(examples) == len(places)
    empty = {"inputs": {"text": jnp.zeros((2, 8), jnp.int32)}}
    assert objective.weight(empty) == 1
