"""Settings of sound: what they change in a network's input, and what they are refused for."""

from dataclasses import replace

import pytest

from vidjax.config import Config, ConfigError, DataConfig, SoundConfig, Spec
from vidjax.config.sound_settings import with_sound
from vidjax.config.spec import resolve_spec
from vidjax.config.validate import validate
from vidjax.inputs import AudioInput, VideoInput

AST = AudioInput("ast", 10.24, frames=1024, mean=-1.0, std=2.0)
SPEC = Spec("ast", {"audio": AST})


def changed(**settings):
    return resolve_spec(SPEC, DataConfig(sound=SoundConfig(**settings))).inputs["audio"]


def test_settings_change_the_input():
    assert changed() == AST
    assert changed(seconds=5.12) == replace(AST, seconds=5.12, frames=512)
    assert changed(preset="mbt") == replace(AST, preset="mbt", mean=None, std=None)
    assert changed(drop=0.5, gain=3.0, time_masks=1, time_mask=192) == AST
    short = with_sound("x", {"audio": AudioInput("htk", 1.0)}, SoundConfig(seconds=2.0))["audio"]
    assert short.shape == (201, 64)


def test_another_number_of_bands_is_refused():
    with pytest.raises(ConfigError, match=r"preset = 'vggish': has 64 values per spectrum, ast takes 128"):
        changed(preset="vggish")


@pytest.mark.parametrize("settings", [{"seconds": 2.0}, {"drop": 0.1}, {"gain": 1.0}, {"shift": 0.1}])
def test_networks_without_sound_refuse_it(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ConfigError, match=rf"config\.data\.sound\.{name} = {value}: deaf takes no sound; leave it out"):
        resolve_spec(Spec("deaf", {"video": VideoInput(4)}), DataConfig(sound=SoundConfig(**settings)))


def test_masks_need_number_and_size():
    for settings in ({"time_masks": 2}, {"frequency_mask": 8}):
        with pytest.raises(ConfigError, match="give both, the number and the size of masks, or none"):
            changed(**settings)


def test_values_out_of_range():
    config = Config()
    config.data.sound.drop, config.data.sound.gain, config.data.sound.preset = 1.5, -1.0, "mels"
    with pytest.raises(ConfigError) as error:
        validate(config)
    for part in ("data.sound.drop = 1.5", "data.sound.gain = -1.0", "data.sound.preset = 'mels': must be one of"):
        assert part in str(error.value)
