"""Image Transformers over frames: their forms, what adapters train, and that they start as the image network."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.abstract import abstract, drawn, params_of
from tests.models.small import draw
from vidjax.models.families.frame_vit import FrameTransformer
from vidjax.models.registry import get_spec, list_models
from vidjax.models.state import frozen_paths, split

SMALL = {"dim": 24, "depth": 2, "heads": 3, "patch": 8, "num_frames": 3, "size": 16}


def small(**kwargs):
    return drawn(lambda rngs: FrameTransformer(5, **(SMALL | kwargs), rngs=rngs))


def answer(model, video):
    return nnx.jit(lambda model, video: model(video))(model, video)


def count(shapes):
    return sum(int(np.prod(shape)) for shape in shapes.values())


# Parameters without a classifier, counted by timm, transformers and the authors' code at these sizes.
@pytest.mark.slow(after=3)
@pytest.mark.parametrize(
    ("name", "millions"),
    [("frame_vit_s16", 21.67), ("frame_vit_b16", 85.80), ("frame_vit_l16", 303.30), ("frame_dinov2_b14", 86.58),
     ("frame_clip_b32", 87.46), ("frame_clip_b16", 85.80), ("frame_siglip_b16", 92.88), ("aim_b16", 96.47)],
)  # fmt: skip
def test_named_networks_are_as_large_as_the_references(name, millions):
    assert count(params_of(name, num_classes=0)) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.slow
def test_frames_are_seen_one_by_one_without_adapters():
    model, video = small(), draw((2, 3, 16, 16, 3))
    vectors = jnp.stack([model.features(video[:, t : t + 1]) for t in range(3)], axis=1)
    chex.assert_trees_all_close(model.features(video), vectors.mean(axis=1), rtol=1e-4, atol=1e-5)
    found = model.encode(video)
    assert (found.tokens.shape, found.grid, found.maps[8].shape) == ((2, 12, 24), (3, 2, 2), (2, 3, 2, 2, 24))


@pytest.mark.slow(after=1)
@pytest.mark.parametrize("kind", ["st", "aim"])
def test_adapters_see_other_frames_and_start_as_the_image_network(kind):
    options = {"norm_before": True, "patch_bias": False}
    plain, adapted = (FrameTransformer(5, **SMALL, **options, adapter=a, rngs=nnx.Rngs(0)) for a in ("", kind))
    plain.eval()
    adapted.eval()
    own = split(plain)[1]
    nnx.update(adapted, nnx.state(plain))
    adapted.norm_last = False  # one frame's vectors, to compare: ST-Adapter normalises the mean of all
    video = draw((1, 3, 16, 16, 3))
    given, wanted = adapted.features(video), plain.features(video)
    chex.assert_trees_all_close(given, wanted, rtol=1e-4, atol=1e-5)
    assert own.keys() < split(adapted)[1].keys()
    changed = small(**options, adapter=kind)
    first = changed.encode(video).tokens[:, :4]
    assert not np.allclose(first, changed.encode(video.at[:, 1].add(1.0)).tokens[:, :4])


@pytest.mark.parametrize(("name", "share"), [("st_adapter_b16", 0.08), ("st_adapter_b16_two", 0.14), ("aim_b16", 0.11)])
def test_only_adapters_are_trained(name, share):
    """Without the classifier: 7.1 of 92.9 million, 14.2 of 100, 10.7 of 96.5."""
    model = abstract(name, num_classes=2)
    shapes = params_of(name, num_classes=2)
    frozen = frozen_paths(model)
    trained = {path: shape for path, shape in shapes.items() if path not in frozen}
    own = {path.split(".")[2] if path.startswith("blocks") else path.split(".")[0] for path in trained}
    aim = {"temporal", "spatial", "joint", "time_embed", "norm", "head"}
    st = {"before_mlp", "head"} | ({"before_attention"} if name.endswith("two") else set())
    assert own == (aim if name.startswith("aim") else st)
    assert count(trained) / count(shapes) == pytest.approx(share, abs=0.01)
    assert not frozen_paths(abstract("frame_vit_b16", num_classes=2))


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="activation = 'relu': must be one of 'gelu'"):
        small(activation="relu")
    with pytest.raises(ValueError, match="the network has no class token"):
        small(class_token=False)
    with pytest.raises(ValueError, match=r"adapter_scale = 0\.1: applies only to adapter = 'aim'"):
        small(adapter="st", adapter_scale=0.1)
    with pytest.raises(ValueError, match="adapter_width = 9: applies only to adapter = 'st' or 'aim'"):
        small(adapter_width=9)
    with pytest.raises(ValueError, match="adapter = 'lora'"):
        small(adapter="lora")
    with pytest.raises(ValueError, match="the positions are for 2×2 patches, not 3×3"):
        answer(small(), draw((1, 3, 24, 24, 3)))
    with pytest.raises(ValueError, match="for 3 frames, not 2: build the network with num_frames=2"):
        answer(small(adapter="aim"), draw((1, 2, 16, 16, 3)))


def test_published_preprocessing():
    assert get_spec("frame_clip_b16").video.mean == (0.48145466, 0.4578275, 0.40821073)
    assert {get_spec(name).video.mean[0] for name in list_models("frame_siglip_?16*")} == {0.5}
    assert (get_spec("frame_dinov2_s14").video.size, get_spec("aim_b16").video.num_frames) == (518, 32)
