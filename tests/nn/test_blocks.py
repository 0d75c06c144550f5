"""Blocks in a loop: the same results, gradients and draws as one after another, from a smaller program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.small import draw, plain_convolutions  # noqa: F401
from vidjax.config import Config, ConfigError, ModelConfig
from vidjax.config.choices import REMAT
from vidjax.models.registry import create_model
from vidjax.models.state import merge, split
from vidjax.nn.blocks import Execution, _runs, run_blocks, stack
from vidjax.nn.droppath import DropPath
from vidjax.training.checkpoints import build_model


def parts(name, **kwargs):
    model = create_model(name, num_classes=3, **kwargs)
    # No parameter may hide what another does, as those do that start at 0.
    _, params, _ = split(model)
    rng = np.random.default_rng(0)
    params = {path: x + 0.1 * jnp.asarray(rng.standard_normal(x.shape), x.dtype) for path, x in params.items()}
    model.train()
    return split(model)[0], params


def value_and_grad(name, video, **kwargs):
    """Jitted function of the parameters: `((loss, draws so far), gradients)`; and the parameters."""
    graphdef, params = parts(name, **kwargs)

    def loss(params):
        rngs = nnx.Rngs(dropout=jax.random.key(1))
        value = jnp.square(merge(graphdef, params, {})(video, rngs=rngs) - 1).mean()
        return value, rngs.dropout.count[...]

    return jax.jit(jax.value_and_grad(loss, has_aux=True)), params


def agree(one, other, tolerance=5e-6):
    (value, draws), gradients = one
    (expected, expected_draws), expected_gradients = other
    assert int(draws) == int(expected_draws)
    np.testing.assert_allclose(value, expected, rtol=tolerance)
    for path, gradient in gradients.items():
        scale = np.abs(expected_gradients[path]).max()
        np.testing.assert_allclose(gradient, expected_gradients[path], rtol=0, atol=tolerance * max(scale, 1e-2))


@pytest.mark.slow
def test_every_policy_recomputes_within_the_loop():
    """Also that the compiled program then needs less memory from policy to policy, which XLA:CPU grants to loops."""
    video, memory, answers = draw((4, 8, 32, 32, 3)), [], {}
    for remat in REMAT:
        step, params = value_and_grad("videomae_tiny", video, dim=16, depth=4, remat=remat, scan_blocks=True)
        compiled = step.lower(params).compile()
        memory.append(compiled.memory_analysis().temp_size_in_bytes)
        answers[remat] = compiled(params)
        agree(answers[remat], answers[""])
    assert memory == sorted(set(memory), reverse=True) and memory[-1] < memory[0] / 2


@pytest.mark.slow
def test_the_program_does_not_grow_with_depth():
    lines = {}
    for scan in (False, True):
        for depth in (2, 12):
            step, params = value_and_grad("videomae_tiny", draw((1, 8, 32, 32, 3)), depth=depth, scan_blocks=scan)
            lines[scan, depth] = step.lower(params).as_text().count("\n")
    assert lines[False, 12] > 4 * lines[False, 2]
    # What is left is putting parameters together and taking gradients apart: a few lines for each.
    assert lines[True, 12] < lines[False, 12] / 3


def test_runs_of_blocks_that_are_alike_or_take_turns():
    assert list(_runs("aaaa")) == [(0, 1, 4)]
    assert list(_runs("abababa")) == [(0, 2, 3), (6, 1, 1)]
    assert list(_runs("abbbcdcd")) == [(0, 1, 1), (1, 1, 3), (4, 2, 2)]
    assert list(_runs("abc")) == [(0, 1, 1), (1, 1, 1), (2, 1, 1)]
    assert list(_runs("")) == []


def test_random_draws_go_on_after_the_loop():
    """A block whose rate is 0 draws nothing, as it would by itself."""
    rngs = nnx.Rngs(dropout=0)
    blocks = [_Branch(DropPath(rate)) for rate in (0.0, 0.5, 0.25)]
    run_blocks(blocks, jnp.ones((2, 3)), rngs=rngs, scan=True)
    assert int(rngs.dropout.count[...]) == 2


class _Branch(nnx.Module):
    def __init__(self, drop_path):
        self.drop_path = drop_path

    def __call__(self, x, rngs=None):
        return x + self.drop_path(x, rngs)


def test_rates_of_drop_path_rise_to_that_of_the_last_block():
    blocks = stack(lambda index, rate: _Branch(DropPath(rate)), 5, 0.2)
    np.testing.assert_allclose([block.drop_path.rate for block in blocks], [0, 0.05, 0.1, 0.15, 0.2])
    assert [block.drop_path.rate for block in stack(lambda index, rate: _Branch(DropPath(rate)), 1, 0.2)] == [0]
    assert len(stack(lambda index, rate: _Branch(DropPath(rate)), 0, 0.2)) == 0


@pytest.mark.parametrize("execution", [Execution(), Execution(scan_blocks=True), Execution(remat="full")])
def test_an_execution_runs_blocks_and_refuses_unknown_policies(execution):
    blocks = [_Branch(DropPath(0.0)) for _ in range(3)]
    np.testing.assert_array_equal(execution.run(blocks, jnp.ones((2, 3))), np.full((2, 3), 8))
    with pytest.raises(ValueError, match="remat = 'half': must be one of '', 'dots', 'attention', 'full'"):
        Execution(remat="half")


def test_networks_without_such_blocks_are_refused():
    config = Config(model=ModelConfig(name="slow_tiny", scan_blocks=True))
    with pytest.raises(ConfigError, match=r"config.model.scan_blocks = True: slow_tiny .* mvit, .* videomae, .*vivit"):
        build_model(config, 3, dtype=None, abstract=True)
    config.model.name = "vivit_tiny"
    assert build_model(config, 3, dtype=None, abstract=True).execution.scan_blocks
