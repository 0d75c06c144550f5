"""Image ViTs inflated into video Transformers: where the video of one frame is the image, logits are the image's."""

import logging

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.peers import needs, torchvision
from vidjax.models.families.timesformer import TimeSformer
from vidjax.models.families.videomae import VideoMAE
from vidjax.models.families.vivit import FactorisedEncoder, ViViT
from vidjax.models.registry import get_spec, get_variant, list_models
from vidjax.models.state import split
from vidjax.weights import load_into
from vidjax.weights.mapping import conversion
from vidjax.weights.table import recognise, sources

SIZES = {"dim": 16, "depth": 2, "heads": 2, "size": 16}
CLASSES = 5


def image_vit(names: str, *, dim=16, depth=2, places=4, patch=8, classes=CLASSES, head=True) -> dict[str, np.ndarray]:
    """A random ViT's state dict in timm's or torchvision's names."""
    rng = np.random.default_rng(0)
    block = {
        "norm1": (dim,), "attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "norm2": (dim,),
        "mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim),
    }  # fmt: skip
    layers = {"patch_embed.proj": (dim, 3, patch, patch), "norm": (dim,)}
    layers |= {f"blocks.{i}.{name}": shape for i in range(depth) for name, shape in block.items()}
    layers |= {"head": (classes, dim)} if head else {}
    shapes = {"cls_token": (1, 1, dim), "pos_embed": (1, 1 + places, dim)}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    state = {key: (rng.standard_normal(shape) * 0.3).astype(np.float32) for key, shape in shapes.items()}
    return state if names == "timm" else {torchvision_name(key): array for key, array in state.items()}


def torchvision_name(key: str) -> str:
    for old, new in {
        "cls_token": "class_token", "pos_embed": "encoder.pos_embedding", "patch_embed.proj": "conv_proj",
        "blocks.": "encoder.layers.encoder_layer_", "norm1": "ln_1", "norm2": "ln_2",
        "attn.qkv.": "self_attention.in_proj_", "attn.proj": "self_attention.out_proj",
        "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3", "head.": "heads.head.",
    }.items():  # fmt: skip
        key = key.replace(old, new)
    return key.replace("norm.", "encoder.ln.") if key.startswith("norm.") else key


def timesformer(attention: str, **kwargs) -> TimeSformer:
    kwargs = {"num_frames": 2, "patch": 8, **SIZES, **kwargs}
    model = TimeSformer(CLASSES, attention=attention, **kwargs, rngs=nnx.Rngs(0))
    model.eval()
    return model


def built(kind: str, **kwargs) -> nnx.Module:
    kwargs = {"num_frames": 4, "tubelet": (2, 8, 8), **SIZES, **kwargs}
    if kind == "videomae":
        model = VideoMAE(CLASSES, **kwargs, rngs=nnx.Rngs(0))
    elif kind == "fe":
        model = FactorisedEncoder(CLASSES, **kwargs, temporal_depth=1, rngs=nnx.Rngs(0))
    else:
        model = ViViT(CLASSES, **kwargs, attention=kind, rngs=nnx.Rngs(0))
    model.eval()
    return model


NAMES = {"joint": "vivit_base_16x2", "fe": "vivit_base_16x2_fe", "fsa": "vivit_base_16x2_fsa",
         "fdp": "vivit_base_16x2_fdp", "videomae": "videomae_base"}  # fmt: skip


@pytest.fixture(scope="module")
def reference():
    """torchvision's own network of this size, with numbers everywhere, and its logits of two images."""
    vision_transformer = torchvision().models.vision_transformer
    torch = needs("torch")
    network = vision_transformer.VisionTransformer(16, 8, 2, 2, 16, 64, num_classes=CLASSES).eval()
    state = image_vit("torchvision")
    network.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=True)
    images = np.random.default_rng(1).standard_normal((2, 16, 16, 3)).astype(np.float32)
    with torch.inference_mode():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    return state, images, logits


@pytest.mark.parametrize(
    ("attention", "frames"),
    [
        # Time attention adds nothing at first, and each frame is the image: at any length.
        ("divided", 3),
        ("space", 3),
        # With one frame there is nothing but space. With more, the patches of all frames outweigh the class token.
        ("joint", 1),
    ],
)
def test_a_video_of_one_repeated_frame_gets_torchvisions_logits(reference, attention, frames):
    state, images, logits = reference
    model = timesformer(attention)
    report = load_into(model, state, name=f"timesformer_base_{attention}")
    assert report.source == "vit_torchvision"
    video = jnp.repeat(images[:, None], frames, axis=1)
    np.testing.assert_allclose(nnx.jit(lambda m, v: m(v))(model, video), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("inflation", ["central", "average"])
def test_vivit_of_one_tubelet_of_one_frame_gets_torchvisions_logits(reference, inflation):
    state, images, logits = reference
    model = built("joint", num_frames=2)
    report = load_into(model, state, name=NAMES["joint"], inflation=inflation)
    assert report.inflated == ("patch_embed.kernel",)
    assert report.fresh == report.copied == ()
    # The image's GELU is exact, this one's approximated by tanh: three digits agree.
    video = jnp.repeat(images[:, None], 2, axis=1)
    np.testing.assert_allclose(nnx.jit(lambda m, v: m(v))(model, video), logits, atol=5e-3)


def test_the_models_own_inflation_is_the_default():
    for embedding in ("central", "average"):
        model = built("joint", embedding=embedding)
        load_into(model, image_vit("timm"), name=NAMES["joint"])
        kernel = np.asarray(model.patch_embed.kernel)
        assert np.array_equal(kernel[0], kernel[1]) is (embedding == "average")
        assert kernel[0].any() == (embedding == "average")
    # Patches of single frames fit as they are.
    model = built("joint", embedding="uniform")
    assert load_into(model, image_vit("timm"), name=NAMES["joint"]).inflated == ("pos_embed",)


@pytest.mark.parametrize("names", ["timm", "torchvision"])
@pytest.mark.parametrize("kind", ["divided", "axial", "sparse", "joint"])
def test_timesformer_reports_copies_and_what_is_new(names, kind):
    model = timesformer(kind, num_frames=3, size=32)
    report = load_into(model, image_vit(names), name=f"timesformer_base_{kind}")
    earlier = {"divided": 1, "axial": 2, "sparse": 1, "joint": 0}[kind]
    parts = ("attn.proj.bias", "attn.proj.kernel", "attn.qkv.bias", "attn.qkv.kernel", "norm.bias", "norm.scale")
    places = [f"blocks.{i}.earlier.{j}" for i in range(2) for j in range(earlier)]
    assert set(report.copied) == {f"{place}.{part}" for place in places for part in parts}
    assert set(report.fresh) == {"time_embed"} | {f"{p}.fc.{leaf}" for p in places for leaf in ("kernel", "bias")}
    assert report.resized == ("pos_embed",)
    assert report.inflated == ()
    assert report.head_loaded
    params = split(model)[1]
    for place in places:
        np.testing.assert_array_equal(params[f"{place}.attn.qkv.kernel"], params[f"{place[:8]}.attn.qkv.kernel"])
        np.testing.assert_array_equal(params[f"{place}.norm.bias"], params[f"{place[:8]}.norm1.bias"])
        assert not np.asarray(params[f"{place}.fc.kernel"]).any()


@pytest.mark.parametrize("kind", ["joint", "fe", "fsa", "fdp"])
def test_vivit_reports_what_was_inflated_copied_and_new(kind):
    state = image_vit("timm")
    model = built(kind, size=24)
    report = load_into(model, state, name=NAMES[kind])
    params = split(model)[1]
    temporal = {path for path in params if path.startswith("temporal_")}
    projections = {path for path in params if ".temporal_attn.proj." in path}
    assert set(report.fresh) == (temporal if kind == "fe" else projections)
    assert set(report.copied) == {p for p in params if ".temporal_" in p and p not in projections}
    positions = {"pos_embed"}
    assert set(report.inflated) - {"patch_embed.kernel"} == (set() if kind == "fe" else positions)
    assert set(report.resized) == (positions if kind == "fe" else set())
    # 2 × 2 places become 3 × 3, whose corners are the image's, in every frame.
    table = np.asarray(params["pos_embed"])[0]
    grid = table[len(table) % 9 :].reshape(-1, 3, 3, 16)
    assert len(grid) == (1 if kind == "fe" else 2)
    for frame in grid:
        np.testing.assert_allclose(frame[::2, ::2].reshape(4, 16), state["pos_embed"][0, 1:], atol=1e-6)


def test_fsa_starts_frame_by_frame():
    """Queries, keys and values over time are copies, and add nothing at first."""
    model = built("fsa")
    load_into(model, image_vit("timm"), name=NAMES["fsa"])
    block = model.blocks[0]
    np.testing.assert_array_equal(block.temporal_attn.qkv.kernel, block.attn.qkv.kernel)
    np.testing.assert_array_equal(block.temporal_norm.scale, block.norm1.scale)
    assert not np.asarray(block.temporal_attn.proj.kernel).any()


@pytest.mark.parametrize("names", ["timm", "torchvision"])
def test_videomae_takes_all_but_what_it_lacks(names):
    state = image_vit("timm")
    model = built("videomae")
    report = load_into(model, image_vit(names), name=NAMES["videomae"])
    assert report.inflated == ("patch_embed.kernel",)
    assert report.fresh == report.resized == report.copied == ()
    block = model.blocks[1].attn
    q_bias, _, v_bias = np.split(state["blocks.1.attn.qkv.bias"], 3)
    np.testing.assert_array_equal(block.q_bias, q_bias)
    np.testing.assert_array_equal(block.v_bias, v_bias)
    np.testing.assert_array_equal(block.qkv.kernel, state["blocks.1.attn.qkv.weight"].T)
    np.testing.assert_array_equal(model.fc_norm.scale, state["norm.weight"])


def test_another_classifier_or_none_starts_anew(caplog):
    model = timesformer("divided")
    report = load_into(model, image_vit("timm", head=False), name="timesformer_base_divided")
    assert {"head.kernel", "head.bias"} <= set(report.fresh)
    assert report.checkpoint_classes is None
    with caplog.at_level(logging.INFO, "vidjax"):
        load_into(model, image_vit("timm", classes=7), name="timesformer_base_divided")
    assert "classifier has 7 classes, but timesformer_base_divided needs 5" in caplog.text
    assert "newly initialised: " in caplog.text
    assert "blocks.*.earlier.*.fc.kernel (2)" in caplog.text
    assert "copied: blocks.*.earlier.*.norm.scale (2)" in caplog.text


def test_an_image_vit_of_timm_is_the_space_only_network():
    model = timesformer("space")
    assert load_into(model, image_vit("timm"), name="timesformer_base_space").source == "timesformer"
    report = load_into(model, image_vit("timm", head=False), name="timesformer_base_space")
    assert set(report.fresh) == {"head.kernel", "head.bias"}


def test_inflation_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match="checkpoints of source vit_timm hold nothing to inflate"):
        load_into(timesformer("joint"), image_vit("timm"), name="timesformer_base_joint", inflation="average")


@pytest.mark.parametrize(
    "name",
    ["timesformer_base_divided_hr", "vivit_base_16x2", "vivit_base_16x2_fe", "vivit_base_16x2_fdp", "videomae_base"],
)
def test_vit_base_patch16_224_fits_the_named_models(name):
    variant = get_variant(name)
    model = nnx.eval_shape(lambda: variant.build(400, rngs=nnx.Rngs(0), **{**variant.kwargs, "depth": 1}))
    shapes = {path: array.shape for path, array in split(model)[1].items()}
    for names in ("timm", "torchvision"):
        small = image_vit("timm", depth=1)
        sizes = {16: 768, 48: 2304, 64: 3072, 5: 197, 8: 16}
        state = {
            (key if names == "timm" else torchvision_name(key)): np.broadcast_to(
                np.float32(0), [1000 if key.startswith("head") and n == 5 else sizes.get(n, n) for n in array.shape]
            )
            for key, array in small.items()
        }
        table = recognise(state, name)
        assert table.name == f"vit_{names}"
        made = conversion(state, table, shapes, allow_head_mismatch=True, grid=model.base_grid)
        heads = {"head.kernel", "head.bias"}
        assert made.arrays.keys() | set(made.fresh) | heads == shapes.keys()


def test_every_model_that_names_them_is_served():
    for source in ("vit_timm", "vit_torchvision"):
        named = {name for name in list_models() if source in get_spec(name).sources}
        assert named == {name for name in list_models() for s in sources() if s.name == source and s.serves(name)}
        assert {"timesformer_base_divided", "vivit_large_16x2_fe", "videomae_small"} <= named
