import pytest

from vidjax.config import ConfigError, DataConfig, Spec, TextConfig
from vidjax.config.spec import resolve_spec
from vidjax.inputs import TextInput, VideoInput


def test_a_network_that_reads_no_text_refuses_its_settings():
    video = {"video": VideoInput(4)}
    with pytest.raises(ConfigError, match=r"config\.data\.text\.cut = True: toy reads no text"):
        resolve_spec(Spec("toy", video), DataConfig(text=TextConfig(cut=True)))
    spec = Spec("toy", {**video, "text": TextInput(8, 60)})
    assert resolve_spec(spec, DataConfig(text=TextConfig(cut=True))) == spec
