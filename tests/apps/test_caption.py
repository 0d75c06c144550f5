"""Captions and answers of files: sentences, subtitles, words one by one, and what is refused."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

from tests.models.abstract import filled
from tests.videos import write_halves
from vidjax.__main__ import main
from vidjax.captioner import Captioner
from vidjax.config import CaptionConfig, Config, ModelConfig, TaskConfig
from vidjax.data.records import LabelSpace
from vidjax.errors import UserError
from vidjax.models.registry import abstract_model, get_spec
from vidjax.nn.generation import Decoding
from vidjax.text import TokenizerFile, train_tokenizer
from vidjax.training.checkpoints import Meta, save_model
from vidjax.training.tokenizers import set_tokenizer

SENTENCES = ("a red square moves left", "which colour is the square? two circles turn around slowly")
SMALL = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}


def saved(folder, name, tokenizer, size=32, **kwargs):
    """A network with drawn weights in a folder as `convert` writes it."""
    spec = set_tokenizer(get_spec(name).with_video(num_frames=4, size=size, resize=(size,)), tokenizer)
    task = TaskConfig(caption=CaptionConfig(length=6))
    config = Config(model=ModelConfig(name=name, kwargs=kwargs), task=task)
    model = filled(abstract_model(name, num_classes=spec.num_classes, **kwargs))
    save_model(folder, model, Meta(config, spec, LabelSpace(())))
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = write_halves(tmp_path_factory.mktemp("videos"))
    return sorted(folder.rglob("*.mp4"))[:2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    tokenizer = train_tokenizer(SENTENCES, 80, "clip")
    return saved(tmp_path_factory.mktemp("runs") / "run", "r2plus1d_caption_tiny", tokenizer, **SMALL)


def chatty(count):
    """A tokenizer of letters, with the names that prompts use as tokens."""
    from tokenizers import Tokenizer, models

    names = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>"]
    letters = [chr(code) for code in range(10, 127)]
    made = Tokenizer(models.BPE({"[PAD]": 0} | {letter: i for i, letter in enumerate(letters, 1)}, []))
    made.add_special_tokens(names)
    assert made.get_vocab_size() <= count
    return TokenizerFile.of("tokenizer.json", made.to_str().encode())


@pytest.mark.slow
def test_captions_and_answers_are_printed(run, videos, capsys):
    assert main(["caption", str(run), str(videos[0].parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = dict(line.split(": ", 1) for line in lines)[str(videos[0])]
    captioner = Captioner(run)
    assert text == captioner(videos[0]) and captioner(videos[0], "which colour is the square?") != ""
    assert "".join(captioner.stream(videos[0])).strip() == text
    assert main(["ask", str(run), str(videos[0]), "which colour is the square?"]) == 0
    assert capsys.readouterr().out.strip() == captioner(videos[0], "which colour is the square?")
    captioner.decoding = Decoding(6, temperature=5.0)
    assert "".join(captioner.stream(videos[0])).strip() == captioner(videos[0]) != text


@pytest.mark.slow
def test_subtitles_cover_the_whole_video(run, videos, tmp_path, capsys):
    assert main(["caption", str(run), str(videos[0]), "--out", str(tmp_path), "--beams", "2"]) == 0
    assert capsys.readouterr().out == f"subtitles of 1 video in {tmp_path}\n"
    blocks = (tmp_path / f"{videos[0].stem}.srt").read_text().strip().split("\n\n")
    assert blocks[0].splitlines()[:1] == ["1"] and "00:00:00,000 --> " in blocks[0]
    parts = list(Captioner(run).over_time(videos[0]))
    assert parts[0].start == 0 and all(a.end == b.start and a.text != b.text for a, b in itertools.pairwise(parts))
    assert parts[-1].end > parts[-1].start


@pytest.mark.slow
def test_what_cannot_be_done_is_refused(run, videos, tmp_path, capsys):
    with pytest.raises(UserError, match=r"the prompt has [0-9]+ tokens, but the network takes texts of 32"):
        Captioner(run)(videos[0], "which colour is the square? " * 9)
    captioner = Captioner(run, decoding=Decoding(6, beams=2))
    with pytest.raises(UserError, match="beams = 2: words cannot be shown one by one"):
        next(captioner.stream(videos[0]))
    assert main(["caption", str(run), str(videos[0]), "--stride", "3"]) != 0
    assert "give --out, or leave them out" in capsys.readouterr().err
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    assert main(["caption", str(run), str(broken)]) == 1
    assert str(broken) in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smolvlm2_tiny", "videollama3_tiny"])
def test_language_models_answer_with_as_many_placeholders_as_tokens(name, videos, tmp_path):
    file = chatty(256)
    if name.startswith("videollama"):
        content = json.loads(file.content)
        for token in content["added_tokens"]:
            token["content"] = token["content"].replace("<end_of_utterance>", "<|im_end|>")
        file = TokenizerFile.of("tokenizer.json", json.dumps(content).encode())
    patch = {"size": 64} if name.startswith("smol") else {"patch": 8}
    folder = saved(tmp_path / "run", name, file, **patch)
    captioner = Captioner(folder)
    said = captioner(videos[0], "what happens?")
    assert "".join(captioner.stream(videos[0], "what happens?")).strip() == said
    with pytest.raises(UserError, match="sees whole videos"):
        next(captioner.over_time(videos[0]))
    assert np.all(captioner.spec.video.num_frames == 4)


def test_networks_without_words_are_refused(tmp_path):
    name = "conv3d_tiny"
    spec = dataclasses.replace(get_spec(name), num_classes=2)
    model = filled(abstract_model(name, num_classes=2))
    save_model(tmp_path / "run", model, Meta(Config(model=ModelConfig(name=name)), spec, LabelSpace(("a", "b"))))
    with pytest.raises(UserError, match="conv3d_tiny gives no text; a run of the task caption is needed"):
        Captioner(tmp_path / "run")
