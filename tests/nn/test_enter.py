"""What enters a network beside pixels."""

import jax.numpy as jnp
import numpy as np

from vidjax.inputs import BankInput, BoxInput
from vidjax.nn.enter import enter


def test_boxes_stay_exact_and_banks_take_the_type_of_the_network():
    boxes, bank = np.full((1, 2, 4), 201.3, np.float32), np.ones((1, 4, 3), np.float16)
    inputs = {"boxes": BoxInput(2), "bank": BankInput(4, 3, seconds=2)}
    entered = enter({"boxes": boxes, "bank": bank}, inputs, jnp.bfloat16)
    assert entered["boxes"].dtype == jnp.float32 and entered["bank"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(entered["boxes"], boxes)
