import numpy as np

from tests.text_video import spec
from vidjax.config import Config
from vidjax.data.records import Caption, LabelSpace, Record
from vidjax.data.views import whole
from vidjax.tasks import make_task
from vidjax.tasks.retrieve.targets import VideoNumbers


def test_clips_of_one_video_have_one_number():
    targets, caption = VideoNumbers(), Caption(("a",))
    records = [Record("a.mp4", caption), Record("a.mp4", Caption(("b",))), Record("b.mp4"), Record("a.mp4", start=1.0)]
    numbers = [int(targets.of(record, whole(1))["video"][0]) for record in records]
    assert numbers[0] == numbers[1] and len(set(numbers)) == 3 and min(numbers) >= 0
    again = targets.of(records[0], whole(3))["video"]
    assert again.dtype == np.int32 and again.tolist() == [numbers[0]] * 3


def test_clips_are_mirrored_only_if_asked_for():
    config = Config()
    assert not make_task(config, spec(), LabelSpace(())).targets.mirrors
    config.data.augment.flip = True
    assert make_task(config, spec(), LabelSpace(())).targets.mirrors
