"""What a training says of itself before it starts."""

import io

import jax
import pytest
from rich.console import Console

from vidjax import parallel
from vidjax.batch import layout_of
from vidjax.config import Config, DataConfig, OptimizerConfig, ReadingConfig, Spec, TrainConfig
from vidjax.data.records import Labels, LabelSpace, Record, VideoSet
from vidjax.tasks import make_task
from vidjax.training.summary import announce

CLASSES = ("run", "walk")


def said(config=None, *, labels=((0,), (1,)), stride=2, steps=10):
    records = tuple(Record(f"{i}.mp4", Labels(label)) for i, label in enumerate(labels))
    videos = VideoSet(records, LabelSpace(CLASSES, several=any(len(label) > 1 for label in labels)))
    output = io.StringIO()
    config = config or Config(data=DataConfig(reading=ReadingConfig(num_threads=1)), train=TrainConfig(batch_size=1))
    spec = Spec.of_video("toy", 8, stride, size=16, resize=(16,))
    task = make_task(config, spec, videos.labels)
    announce(
        config,
        spec,
        task,
        layout_of(spec.inputs, task.targets.fields()),
        (videos, videos),
        steps=steps,
        mesh=parallel.make_mesh(1, jax.devices()[:1]),
        console=Console(file=output, width=1000),
    )
    return output.getvalue()


def test_several_labels_of_a_video_are_named():
    assert "2 videos of 2 classes, 2 for evaluation" in said()
    assert "2 videos of 2 classes (a video may have several), 2 for" in said(labels=((0,), (0, 1)))


@pytest.mark.parametrize(("stride", "words"), [(1, "every frame"), (2, "every 2nd frame"), (3, "every 3rd frame")])
def test_the_stride_and_counts_are_plain_english(stride, words):
    text = said(stride=stride)
    assert f"clips of 8 frames ({words})" in text and "10 updates of 1 clip; 1 process, " in text
    assert "data: 1 thread; " in text


def test_a_warmup_as_long_as_the_run_is_shortened_with_a_word(caplog):
    config = Config(optimizer=OptimizerConfig(warmup_epochs=1.0), train=TrainConfig(batch_size=1, epochs=1.0))
    said(config, labels=[(i % 2,) for i in range(10)])
    assert caplog.messages == [
        "config.optimizer.warmup_epochs = 1 would take the whole run: shortened to 0.5, 5 updates"
    ]
    caplog.clear()
    said(config, labels=[(i % 2,) for i in range(10)], steps=11)
    assert not caplog.messages
