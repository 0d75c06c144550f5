"""What blocks keep for the backward pass: how much, and that gradients do not depend on it."""

import math
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from tests.models.small import draw, plain_convolutions  # noqa: F401
from vidjax.config import ConfigError, ModelConfig, from_dict
from vidjax.config.choices import REMAT
from vidjax.models.registry import create_model, get_spec
from vidjax.models.state import merge, split
from vidjax.nn.remat import check_remat, saved

CONVOLUTIONAL = [policy for policy in REMAT if policy != "attention"]


def loss_of(name, video, **kwargs):
    """`(loss of the parameters, parameters)` of a model in training mode."""
    model = create_model(name, num_classes=3, **kwargs)
    model.train()
    graphdef, params, stats = split(model)

    def loss(params):
        logits = merge(graphdef, params, stats)(video, rngs=nnx.Rngs(dropout=jax.random.key(0)))
        return jnp.square(logits - 1).mean()

    return loss, params


def kept(name, remat, **kwargs):
    """How many numbers wait for the backward pass, without the parameters."""
    spec = get_spec(name)
    loss, params = loss_of(
        name, jnp.zeros((2, spec.video.num_frames, spec.video.size, spec.video.size, 3)), remat=remat, **kwargs
    )
    waiting = jax.tree.leaves(jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params))
    return sum(math.prod(x.shape) for x in waiting) - sum(x.size for x in params.values())


@pytest.mark.parametrize("name", ["videomae_tiny", "vivit_tiny"])
def test_a_transformers_block_keeps_so_many_times_its_width(name):
    tokens, dim = 2 * (64 + (name == "vivit_tiny")), 96
    for remat, most in (("full", 1), ("attention", 5), ("dots", 10)):
        block = kept(name, remat, depth=2) - kept(name, remat, depth=1)
        # What is not per feature: a softmax's sum for each head, drawn keys.
        assert most - 0.05 < block / (tokens * dim) < most + 0.05
    assert kept(name, "", depth=2) - kept(name, "", depth=1) > 30 * tokens * dim


def test_scanned_blocks_without_a_policy_keep_what_products_give():
    """What lies between would be stacked as it is, where XLA does so only with what is not sooner computed again."""
    tokens, dim, heads = 64, 96, 4
    name, kwargs = "videomae_tiny", {"scan_blocks": True, "heads": heads}
    block = kept(name, "", depth=3, **kwargs) - kept(name, "", depth=2, **kwargs)
    layers, scores = 10 * 2 * tokens * dim, 2 * heads * tokens**2
    assert block == pytest.approx(layers + scores, rel=0.01)
    assert saved("")(SimpleNamespace(name="dot_general")) and not saved("")(SimpleNamespace(name="exp"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timesformer_tiny", "swin3d_tiny", "mvit_tiny"])
def test_transformers_keep_less_from_policy_to_policy(name):
    sizes = [kept(name, remat) for remat in REMAT]
    assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.slow(first=2)
@pytest.mark.parametrize("name", ["r2plus1d_tiny", "slow_tiny", "x3d_tiny", "csn_tiny", "tsm_tiny", "s3d_tiny"])
def test_convolutional_networks_keep_less_from_policy_to_policy(name):
    sizes = [kept(name, remat) for remat in CONVOLUTIONAL]
    assert sizes == sorted(set(sizes), reverse=True)


@pytest.mark.slow
def test_gradients_of_a_convolutional_network_do_not_depend_on_the_policy():
    video, gradients = draw((2, 4, 32, 32, 3)), {}
    for remat in CONVOLUTIONAL:
        loss, params = loss_of("frame_pool_tiny", video, remat=remat)
        gradients[remat] = jax.jit(jax.grad(loss))(params)
    for remat in CONVOLUTIONAL[1:]:
        chex.assert_trees_all_close(gradients[remat], gradients[""], rtol=1e-5, atol=1e-6)


def test_cudnns_own_results_are_kept_with_attention():
    fused = SimpleNamespace(name="dot_product_attention_fwd_wrapper")
    assert [saved(policy)(fused) for policy in REMAT[1:]] == [True, True, False]
    assert not saved("attention")(SimpleNamespace(name="dot_general"))


def test_policies_are_checked_and_older_configs_read():
    with pytest.raises(ValueError, match=r"remat = 'dot': must be one of '', 'dots', 'attention', 'full'$"):
        check_remat("dot", attention=True)
    with pytest.raises(ValueError, match=r"remat = 'attention': must be one of .* a network without attention"):
        create_model("slow_tiny", remat="attention")
    assert [from_dict({"remat": old}, ModelConfig, "model.").remat for old in (True, False)] == ["full", ""]
    with pytest.raises(ConfigError, match=r"config\.model\.remat = 1"):
        from_dict({"remat": 1}, ModelConfig, "model.")
