"""Colours of flow: torchvision's of a real field, and the ends of the wheel."""

import numpy as np

from tests.golden import FOLDER
from tests.peers import needs, torchvision
from vidjax.video.flow_colours import WHEEL, flow_colours

torch = needs("torch")
torchvision()


def test_colours_of_a_real_field():
    with np.load(FOLDER / "flow" / "colours_arm_wrestling.npz") as stored:
        flow, wanted = stored["farneback"].astype(np.float32), stored["colours"]
    colours = flow_colours(flow)[::2, ::2].astype(int)
    assert np.abs(colours - wanted).max() <= 1


def test_colours_of_torchvision():
    from torchvision.utils import flow_to_image

    flow = np.random.default_rng(0).normal(size=(20, 30, 2)).astype(np.float32)
    theirs = flow_to_image(torch.tensor(flow).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    assert np.abs(flow_colours(flow).astype(int) - theirs).max() <= 1


def test_wheel_and_lengths():
    assert WHEEL.shape == (55, 3) and WHEEL[0].tolist() == [255, 0, 0] and WHEEL[15].tolist() == [255, 255, 0]
    still = flow_colours(np.zeros((2, 2, 2)))
    assert (still == 255).all() and still.dtype == np.uint8
    right = np.array([[[4.0, 0.0]]])
    assert flow_colours(right)[0, 0].tolist() == [255, 0, 0] or flow_colours(right)[0, 0, 0] > 250
    paler, dark = (flow_colours(right, longest)[0, 0].astype(int) for longest in (8.0, 2.0))
    assert paler.min() > flow_colours(right)[0, 0].min() and dark.max() < 200
