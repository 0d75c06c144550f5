"""Classes in words, for a network that was not trained for them."""

import numpy as np
import pytest

from tests.models.abstract import filled
from tests.text_video import network, spec
from vidjax.errors import UserError
from vidjax.models.registry import abstract_model, get_spec
from vidjax.models.state import merge, split
from vidjax.models.text_video import unit
from vidjax.zero_shot import encode_texts, name_classes, read_labels


def copy():
    return merge(*split(network()))


def test_texts_are_encoded_in_any_number():
    texts = [f"a red {'square ' * (i % 3)}moves" for i in range(70)]
    vectors = encode_texts(network(), spec(), texts)
    alone = np.concatenate([encode_texts(network(), spec(), texts[i : i + 1]) for i in (0, 1, 69)])
    assert vectors.shape == (70, 8)
    np.testing.assert_allclose(vectors[[0, 1, 69]], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_templates_are_averaged_and_the_logits_scaled_cosines():
    model, templates = copy(), ("{}", "a video of {}")
    made = name_classes(model, spec(), ("jumping", "red_square"), templates)
    assert (made.task, made.num_classes, list(made.inputs)) == ("classify", 2, ["video"])
    texts = encode_texts(model, spec(), ["jumping", "a video of jumping", "red square", "a video of red square"])
    means = np.asarray(unit(texts.reshape(2, 2, 8).mean(axis=1)))
    video = np.random.default_rng(0).normal(size=(3, 4, 16, 16, 3)).astype(np.float32)
    wanted = np.exp(float(model.logit_scale[...])) * np.asarray(model.encode_video(video)) @ means.T
    np.testing.assert_allclose(model(video), wanted, rtol=1e-4, atol=1e-5)


def test_class_lists(tmp_path):
    assert read_labels("jumping, running") == ("jumping", "running")
    (tmp_path / "names.txt").write_text("a, b\nc\n\n")
    assert read_labels(str(tmp_path / "names.txt")) == ("a, b", "c")
    assert len(read_labels("kinetics400")) == 400
    for text, problem in (("jumping", "names 1 of them"), ("a,,b", "names 2 of them"), ("a,b,a", "names a twice")):
        with pytest.raises(UserError, match=f"{problem}; give at least two, separated by commas"):
            read_labels(text)


def test_other_networks_and_templates_are_refused():
    with pytest.raises(UserError, match="conv3d_tiny reads no text; this needs a network of videos and texts"):
        name_classes(filled(abstract_model("conv3d_tiny")), get_spec("conv3d_tiny"), ("a", "b"))
    with pytest.raises(UserError, match=r"template 'a video': has no \{\} in the place of the class"):
        name_classes(copy(), spec(), ("a", "b"), ("a video",))
    with pytest.raises(UserError, match="the network has no tokenizer"):
        encode_texts(network(), get_spec("clip_tiny"), ["a"])
