"""People found by DETR: transformers' processor and network find the same; one program for several sizes of video."""

import numpy as np
import pytest

from tests.models.families.test_detr import reference, torch
from vidjax.errors import UserError
from vidjax.models.detectors import get_detector
from vidjax.tasks.detect.detectors import make_detector
from vidjax.tasks.detect.detr_people import DetrPeople, prepared
from vidjax.weights.detectors import person_class

SPEC = get_detector("detr_tiny")


@pytest.fixture(scope="module")
def theirs():
    return reference()


@pytest.fixture(scope="module")
def processor():
    from transformers.models.detr.image_processing_detr import DetrImageProcessor

    return DetrImageProcessor(size={"shortest_edge": SPEC.short, "longest_edge": SPEC.longest})


def frames(count, height, width):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 6, 8, 3)).astype(np.uint8)
    return np.stack(
        [np.kron(c, np.ones((-(-height // 6), -(-width // 8), 1), np.uint8))[:height, :width] for c in coarse]
    )


def test_pictures_of_transformers(processor):
    """Smaller and larger than the network's; to one grey level of 255."""
    for height, width in ((50, 60), (151, 260), (64, 64)):
        x = frames(2, height, width)
        wanted = processor(images=list(x), return_tensors="pt").pixel_values.numpy().transpose(0, 2, 3, 1)
        size = SPEC.fitted(height, width)
        assert wanted.shape[1:3] == size
        ours = np.asarray(prepared(x, size, SPEC.mean, SPEC.std))
        assert ours.shape[1] % 32 == ours.shape[2] % 32 == 0
        assert not ours[:, size[0] :].any() and not ours[:, :, size[1] :].any()
        assert np.abs(ours[:, : size[0], : size[1]] - wanted).max() < 1.01 / 255 / min(SPEC.std)


def test_sizes_of_transformers():
    from transformers.image_transforms import get_size_with_aspect_ratio

    rng = np.random.default_rng(1)
    spec = get_detector("detr_r50")
    for height, width in [
        (1080, 1920),
        (1920, 1080),
        (480, 640),
        (800, 800),
        (800, 3000),
        *rng.integers(60, 2500, (200, 2)),
    ]:
        size = int(height), int(width)
        assert spec.fitted(*size) == get_size_with_aspect_ratio(size, 800, 1333), size


def test_people_of_transformers(theirs, processor, tmp_path):
    x = frames(2, 151, 260)
    inputs = processor(images=list(x), return_tensors="pt", pad_size={"height": 64, "width": 96})
    with torch.no_grad():  # some of the queries are to be people
        logits = theirs(**inputs).logits[..., :-1].flatten(0, 1)
        person = logits[:, SPEC.person].clone()
        logits[:, SPEC.person] = -torch.inf
        margins = (logits.amax(1) - person).sort().values
        middle = margins.diff().argmax()
        theirs.class_labels_classifier.bias[SPEC.person] += margins[middle : middle + 2].mean()
        out = theirs(**inputs)
    names = {i: "person" if i == SPEC.person else f"thing {i // 2}" for i in range(5)}  # some twice, as in COCO
    theirs.config.id2label = names
    theirs.save_pretrained(tmp_path)
    people = make_detector(f"detr_tiny={tmp_path}")
    sizes = [(1, 1)] * len(x)
    wanted = processor.post_process_object_detection(out, threshold=0.0, target_sizes=sizes)
    some = 0
    for (box, score), answer in zip(people(x), wanted, strict=True):
        keep = (answer["labels"] == SPEC.person).numpy()
        some += keep.sum()
        np.testing.assert_allclose(box, answer["boxes"].numpy()[keep], atol=2e-2)
        np.testing.assert_allclose(score, answer["scores"].numpy()[keep], atol=2e-2)
    assert 0 < some < 14


@pytest.mark.slow
def test_one_program_for_sizes_that_round_to_one(theirs):
    people = DetrPeople.load("detr_tiny", theirs.state_dict())
    for size in ((64, 80), (64, 90), (120, 180)):
        people(frames(1, *size))
    assert people._answer._cache_size() == 1


def test_class_of_people(tmp_path):
    state = {"detr_r50": 91, "detr_tiny": 5}
    for name, count in state.items():
        assert person_class(name, {}, count) == 1 and person_class(name, tmp_path, count) == 1
    assert person_class("detr_tiny", {}, 1) == 0
    (tmp_path / "config.json").write_text('{"id2label": {"0": "N/A", "1": "N/A", "2": "Person"}}')
    assert person_class("detr_tiny", tmp_path, 3) == person_class("detr_tiny", tmp_path, 5) == 2
    with pytest.raises(UserError, match=r"state dict: which of its 3 classes is a person\? detr_tiny has 5"):
        person_class("detr_tiny", {}, 3)
