"""Weights of DETR: every key of each spelling used, the published shapes, back to transformers, and what is missing."""

import re

import numpy as np
import pytest

from tests.models.families.test_detr import backbone, hf, reference, torch
from tests.peers import torchvision
from vidjax.models.detectors import abstract_detector
from vidjax.models.state import split
from vidjax.weights.detectors import detector_state_dict, load_detector
from vidjax.weights.mapping import conversion
from vidjax.weights.read import CheckpointError
from vidjax.weights.table import recognise
from vidjax.weights.tables.detr import SOURCES


def arrays_of(network):
    _, params, stats = split(network)
    return {**params, **stats}


def alike(a, b):
    a, b = arrays_of(a), arrays_of(b)
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_array_equal(a[path], b[path], err_msg=path)


# transformers' ResNet → the names of timm, and of the original repository behind "backbone.0.body.".
BODY = (
    (r"embedder\.embedder\.convolution", "conv1"),
    (r"embedder\.embedder\.normalization", "bn1"),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.layer\.(\d)\.convolution",
     lambda m: f"layer{int(m[1]) + 1}.{m[2]}.conv{int(m[3]) + 1}"),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.layer\.(\d)\.normalization",
     lambda m: f"layer{int(m[1]) + 1}.{m[2]}.bn{int(m[3]) + 1}"),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.shortcut\.convolution",
     lambda m: f"layer{int(m[1]) + 1}.{m[2]}.downsample.0"),
    (r"encoder\.stages\.(\d)\.layers\.(\d+)\.shortcut\.normalization",
     lambda m: f"layer{int(m[1]) + 1}.{m[2]}.downsample.1"),
)  # fmt: skip
FILE = ((r"backbone\.model\.", "backbone.conv_encoder.model."), (r"o_proj", "out_proj"), (r"\.mlp\.fc", ".fc"))
ORIGINAL = (
    (r"^model\.backbone\.model\.", "backbone.0.body."),
    (r"^model\.(encoder|decoder)\.", r"transformer.\1."),
    (r"mlp\.fc(\d)", r"linear\1"),
    (r"encoder_attn\.", "multihead_attn."),
    (r"o_proj", "out_proj"),
    (r"self_attn_layer_norm", "norm1"),
    (r"encoder_attn_layer_norm", "norm2"),
    (r"(encoder\.layers\.\d+)\.final_layer_norm", r"\1.norm2"),
    (r"final_layer_norm", "norm3"),
    (r"decoder\.layernorm", "decoder.norm"),
    (r"^model\.query_position_embeddings", "query_embed"),
    (r"^model\.input_projection", "input_proj"),
    (r"class_labels_classifier", "class_embed"),
    (r"bbox_predictor", "bbox_embed"),
)


def renamed(state, *rules):
    for pattern, name in rules:
        state = {re.sub(pattern, name, key): array for key, array in state.items()}
    return state


def original(state):
    state = renamed(state, *BODY, *ORIGINAL)
    for leaf in ("weight", "bias"):
        for key in [key for key in state if key.endswith(f"q_proj.{leaf}")]:
            parts = [state.pop(key.replace("q_proj", f"{part}_proj")) for part in "qkv"]
            state[key.replace(f"q_proj.{leaf}", f"in_proj_{leaf}")] = np.concatenate(parts)
    return state


@pytest.fixture(scope="module")
def state():
    return {key: tensor.numpy() for key, tensor in reference().state_dict().items()}


def test_every_spelling_gives_the_same_network(state):
    ours = load_detector("detr_tiny", state)
    spellings = {
        "transformers": renamed(state, *BODY, *FILE),
        "transformers_resnet": renamed(state, *FILE),
        "in memory": renamed(state, *BODY),
        "detr": original(state),
    }
    for name, spelt in spellings.items():
        counters = {"a.num_batches_tracked": np.zeros((), np.int64)}
        alike(load_detector("detr_tiny", spelt | counters), ours)
        if name in ("transformers", "transformers_resnet"):
            back = detector_state_dict(ours, name)
            assert {k: a.shape for k, a in back.items()} == {k: a.shape for k, a in spelt.items()}
            for key in back:
                np.testing.assert_array_equal(back[key], spelt[key], err_msg=key)
        else:
            with pytest.raises(CheckpointError, match="only as transformers, transformers_resnet"):
                detector_state_dict(ours, name)


def test_folder_as_transformers_saves_it(tmp_path):
    """Written by transformers and read here; written here and read there."""
    theirs = reference()
    theirs.save_pretrained(tmp_path)
    network = load_detector("detr_tiny", tmp_path)
    from safetensors.numpy import save_file

    save_file(detector_state_dict(network, "transformers_resnet"), tmp_path / "model.safetensors", {"format": "pt"})
    again, report = hf.DetrForObjectDetection.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    for (key, a), b in zip(theirs.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        ("detr_r50", (3, 4, 6, 3)),
        pytest.param("detr_r101", (3, 4, 23, 3), marks=pytest.mark.slow),
    ],
)
def test_published_shapes(name, depths):
    """Full size, by shapes alone; the ResNet's are also torchvision's."""
    with torch.device("meta"):
        config = hf.DetrConfig(use_timm_backbone=False, num_labels=91, backbone_config=backbone(depths, 64))
        theirs = hf.DetrForObjectDetection(config).state_dict()
        body = getattr(torchvision().models, name.replace("detr_r", "resnet"))().state_dict()
    state = {key: np.broadcast_to(np.float32(0), tuple(tensor.shape)) for key, tensor in theirs.items()}
    network = abstract_detector(name)
    shapes = {path: array.shape for path, array in arrays_of(network).items()}
    for spelt in (renamed(state, *FILE), renamed(state, *BODY, *FILE)):
        made = conversion(spelt, recognise(spelt, name, among=SOURCES), shapes, put=lambda _, array: np.shape(array))
        assert made.arrays.keys() == shapes.keys() and not made.fresh and not made.dropped
    start = "model.backbone.conv_encoder.model."
    found = {k.removeprefix(start): a.shape for k, a in spelt.items() if k.startswith(start)}
    wanted = {k: tuple(a.shape) for k, a in body.items() if not k.startswith("fc.")}
    counters = {k for k in wanted if k.endswith("num_batches_tracked")}
    assert found == {k: shape for k, shape in wanted.items() if k not in counters}


def test_what_does_not_fit(state):
    with pytest.raises(CheckpointError, match="state dict into detr_r50: the checkpoint does not fit"):
        load_detector("detr_r50", state)
    with pytest.raises(CheckpointError, match=r"detr_tiny: the keys fit no source of detr_tiny(.|\n)*detr lacks"):
        load_detector("detr_tiny", {"fc.weight": np.zeros((2, 3))})
    state = {key: array for key, array in state.items() if "query_position" not in key}
    with pytest.raises(CheckpointError, match=r"stay unset:\n  queries"):
        load_detector("detr_tiny", state)
