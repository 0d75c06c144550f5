"""Settings of pairs of pictures, for networks of flow alone, which have none of clips."""

import pytest

from vidjax.config import AugmentConfig, ClipConfig, ConfigError, DataConfig, PairConfig, SamplingConfig
from vidjax.config.spec import Spec, resolve_spec
from vidjax.models.registry import get_spec


def test_the_size_of_pairs_is_stored():
    spec = resolve_spec(get_spec("raft_large"), DataConfig(pairs=PairConfig(width=448)))
    assert (spec.inputs["pair"].height, spec.inputs["pair"].width) == (368, 448)
    assert Spec.from_dict(spec.to_dict()) == spec
    allowed = AugmentConfig(flip=False, colour_jitter=0.4, hue=0.1, jittered=0.5, greyscale=0.1)
    assert resolve_spec(get_spec("raft_large"), DataConfig(augment=allowed, sampling=SamplingConfig(views=2)))


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("raft_tiny", DataConfig(clip=ClipConfig(size=96)), r"config\.data\.clip\.size = 96: is for clips"),
        ("raft_tiny", DataConfig(sampling=SamplingConfig(reverse=0.5)), r"sampling\.reverse = 0\.5: is for clips"),
        ("raft_tiny", DataConfig(augment=AugmentConfig(erase=0.5)), r"augment\.erase = 0\.5: is for clips"),
        ("raft_tiny", DataConfig(flow="dis_fast"), "raft_tiny takes no video"),
        ("raft_tiny", DataConfig(pairs=PairConfig(height=60)), r"pairs\.height = 60: must be a multiple of 8"),
        ("slow_r50", DataConfig(pairs=PairConfig(apart=0.2)), r"pairs\.apart = 0\.2: slow_r50 takes no pairs"),
    ],
)
def test_settings_that_mean_nothing_are_refused(name, config, message):
    with pytest.raises(ConfigError, match=message):
        resolve_spec(get_spec(name), config)
