import pytest

from tests.text.vocabularies import SENTENCES, pieces, small
from vidjax.config import Config, Spec
from vidjax.data.records import Caption, LabelSpace, Record, VideoSet
from vidjax.errors import UserError
from vidjax.inputs import TextInput, VideoInput
from vidjax.text import train_tokenizer
from vidjax.training.tokenizers import with_tokenizer

SPEC = Spec("toy", {"video": VideoInput(4), "text": TextInput(24, 60)})
VIDEOS = VideoSet((Record("a.mp4", Caption(SENTENCES[:2])), Record("b.mp4", Caption(SENTENCES[2:]))), LabelSpace(()))


def test_one_is_trained_on_the_captions():
    spec = with_tokenizer(SPEC, Config(), VIDEOS)
    assert spec.inputs["text"].tokenizer == train_tokenizer(SENTENCES, 60)
    assert with_tokenizer(spec, Config(), VideoSet((), LabelSpace(()))) is spec  # a checkpoint's stays
    assert Spec.from_dict(spec.to_dict()) == spec


def test_a_file_or_the_folder_of_the_first_weights_comes_first(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(small(50).content)
    config = Config()
    config.model.init_from = str(tmp_path)
    assert with_tokenizer(SPEC, config, VIDEOS).inputs["text"].reader().size == 50
    (tmp_path / "own.model").write_bytes(pieces().content)
    config.data.text.tokenizer = str(tmp_path / "own.model")
    with pytest.raises(UserError, match="it is of another model"):
        with_tokenizer(SPEC, config, VIDEOS)
    config.data.text.tokenizer, config.model.init_from = "", str(tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights\.pt: has no tokenizer; give its file"):
        with_tokenizer(SPEC, config, VIDEOS)


def test_networks_without_texts_stay_as_they_are():
    spec = Spec("toy", {"video": VideoInput(4)})
    assert with_tokenizer(spec, Config(), VIDEOS) is spec
