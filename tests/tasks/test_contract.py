"""What every task in the table keeps, so that data, training and evaluation need not know which one it is."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import text_video
from vidjax.batch import layout_of
from vidjax.config import Config, ModelConfig
from vidjax.data.reading.boxes import BoxReader
from vidjax.data.reading.examples import ExampleReader
from vidjax.data.reading.prompts import PromptReader
from vidjax.data.reading.text import TextReader
from vidjax.data.records import Boxes, Caption, Labels, LabelSpace, Record, Segments, TrueFlow, VideoSet, map_classes
from vidjax.data.views import Views, whole
from vidjax.evaluation.engine import flat_metrics
from vidjax.evaluation.evaluator import Rows
from vidjax.models import create_model, get_spec
from vidjax.models.state import merge, split
from vidjax.tasks import TASKS, kinds_of, make_task
from vidjax.tasks.task import Task
from vidjax.text import train_tokenizer
from vidjax.training.tokenizers import set_tokenizer
from vidjax.video.flow_files import write_flow

CLIPS = 4


@dataclass
class Case:
    """A task with a small network, a data set for it, and clips."""

    task: Task
    network: Any
    videos: VideoSet
    examples: dict[str, Any]


def fixed_masks(network):
    """The network with the same tokens hidden in every clip, where it hides any: what it draws depends on the place
    of a clip in the batch."""
    if hasattr(network, "draw_masks"):
        draw = type(network).draw_masks
        key = jax.random.key(7)[None]
        network.draw_masks = lambda keys, grid: jnp.repeat(draw(network, key, grid), len(keys), axis=0)
    return network


def case(name: str, folder) -> Case:
    task_name, _, kind = name.partition("-")
    if task_name == "localise":
        return of_segments(kind, folder)
    if task_name == "detect":
        return of_boxes()
    if task_name == "retrieve":
        return of_pairs(kind)
    if task_name == "caption":
        return of_captions()
    if task_name == "optical_flow":
        return of_flow(folder)
    model = {"classify": "conv3d_tiny", "reconstruct": "videomae_tiny_pretrain"}[task_name]
    spec = get_spec(model).with_video(num_frames=4, size=16, resize=(16,))
    labels = LabelSpace(
        ("a", "b", "c"), several=kind in ("several", "partial"), directional=True, mirrored={0: 1, 1: 0}
    )
    config = Config(model=ModelConfig(name=model))
    config.task.classify.flip_pairs = ("a<>b",) if task_name == "classify" else ()
    task = make_task(config, spec, labels)
    grid = {"num_frames": 4, "size": 16} if task_name == "reconstruct" else {}
    network = create_model(model, num_classes=3, **grid)
    shown = ((0,), (1, 2), (2,), ()) if labels.several else ((0,), (1,), (2,), (0,))
    annotations = [Labels(classes) for classes in shown]
    if kind == "partial":  # what the second shows of c is not known, and the third shows c only at its beginning
        annotations[1:3] = Labels((1,), categories=("a", "b")), Labels((2,), spans=((0.0, 1.0, 2),))
    videos = VideoSet(tuple(Record(f"{i}.mp4", annotation) for i, annotation in enumerate(annotations)), labels)
    layout = layout_of(spec.inputs, task.targets.fields())
    drawn = layout.draw(CLIPS, 1, seed=3)
    targets = [task.targets.of(record, whole(1)) for record in videos.records]
    examples = {
        "inputs": {name: jnp.asarray(array[:, 0]) for name, array in drawn["inputs"].items()},
        "targets": {name: jnp.asarray(np.stack([t[name][0] for t in targets])) for name in drawn["targets"]},
    }
    return Case(task, network, videos, examples)


def of_segments(model: str, folder) -> Case:
    """Long videos whose features are read from files; the last has no segments, the third is longer than a clip."""
    spec, labels = get_spec(model), LabelSpace(("a", "b", "c"))
    (input,) = spec.inputs.values()
    config = Config(model=ModelConfig(name=model))
    config.data.features.stride = config.data.features.window = config.data.features.fps = 4.0
    config.task.localise.max_segments = 5
    task, network = make_task(config, spec, labels), create_model(model, num_classes=3)
    rng, records = np.random.default_rng(0), []
    spans = (((2.0, 9.5, 0),), ((1.0, 5.0, 1), (4.0, 16.0, 2)), ((3.5, 7.0, 2),), ())
    for i, (count, own) in enumerate(zip((input.steps, 20, 3 * input.steps, 9), spans, strict=True)):
        np.save(folder / f"{i}.npy", rng.normal(size=(count, input.width)).astype(np.float32))
        records.append(Record(str(folder / f"{i}.npy"), Segments(own)))
    reader = ExampleReader(spec, config.data)
    read = [reader.train(record, np.random.default_rng(i)) for i, record in enumerate(records)]
    targets = [task.targets.of(record, views) for record, (_, views) in zip(records, read, strict=True)]
    batch = reader.layout(task.targets.fields()).collate(
        [{"inputs": inputs, "targets": found} for (inputs, _), found in zip(read, targets, strict=True)]
    )
    examples = {group: jax.tree.map(lambda x: jnp.asarray(x[:, 0]), batch[group]) for group in ("inputs", "targets")}
    return Case(task, network, VideoSet(tuple(records), labels), examples)


def of_boxes() -> Case:
    """Key frames with several boxes, one, one that shows none of the classes, and none."""
    spec = get_spec("slow_detect_tiny").with_video(num_frames=4, size=32, resize=(32,))
    labels = LabelSpace(("a", "b", "c"), several=True, directional=True, mirrored={0: 1, 1: 0})
    config = Config(model=ModelConfig(name="slow_detect_tiny"))
    config.task.detect.flip_pairs = ("a<>b",)
    task, network = make_task(config, spec, labels), create_model("slow_detect_tiny", num_classes=3)
    corners = ((0.1, 0.1, 0.5, 0.9), (0.4, 0.0, 0.9, 0.6), (0.0, 0.5, 0.3, 1.0))
    shown = ((corners, ((0,), (1, 2), (2,))), (corners[:1], ((1,),)), (corners[1:2], ((),)), ((), ()))
    records = tuple(Record(f"{i}.mp4", Boxes(1.0, *boxes), at=1.0) for i, boxes in enumerate(shown))
    layout, reader = layout_of(spec.inputs, task.targets.fields()), BoxReader(spec.inputs["boxes"], spec.video.size)
    video = layout.draw(CLIPS, 1, seed=3)["inputs"]["video"][:, 0]
    read = [{"inputs": {"video": video[:1], "boxes": reader.of(record, whole(1))}} for record in records]
    targets = [task.targets.of(record, whole(1)) for record in records]
    examples = {
        "inputs": {
            "video": jnp.asarray(video),
            "boxes": jnp.asarray(layout.collate(read)["inputs"]["boxes"][:, 0]),
        },
        "targets": {name: jnp.asarray(np.stack([t[name][0] for t in targets])) for name in targets[0]},
    }
    return Case(task, network, VideoSet(records, labels), examples)


def of_pairs(loss: str) -> Case:
    """Videos with one caption, with several, with another's, and with one that resembles it."""
    config, spec = Config(model=ModelConfig(name="clip_tiny")), text_video.spec()
    config.task.retrieve.loss = loss
    task, network = make_task(config, spec, LabelSpace(())), text_video.network(biased=loss == "sigmoid")
    given = (("a red square",), ("a blue circle", "a circle moves"), ("a red square",), ("a red circle",))
    records = tuple(Record(f"{i}.mp4", Caption(texts)) for i, texts in enumerate(given))
    video = layout_of(spec.inputs).draw(CLIPS, 1, seed=3)["inputs"]["video"][:, 0]
    reader = TextReader(spec.inputs["text"])
    text = jnp.asarray(np.concatenate([reader.of(record, whole(1)) for record in records]))
    targets = [task.targets.of(record, whole(1)) for record in records]
    examples = {
        "inputs": {"video": jnp.asarray(video), "text": text},
        "targets": {name: jnp.asarray(np.stack([t[name][0] for t in targets])) for name in targets[0]},
    }
    return Case(task, network, VideoSet(records, LabelSpace(())), examples)


def of_captions() -> Case:
    """A caption of a video, several of another, an answer to a question, and none."""
    captions = (
        Caption(("a red square moves left",)),
        Caption(("a blue circle", "it turns around slowly")),
        Caption(("blue",), "which colour is the circle?"),
        Caption(()),
    )
    texts = [text for each in captions for text in (*each.texts, each.question) if text]
    spec, config = get_spec("videomae_caption_tiny").with_video(num_frames=4, size=32, resize=(32,)), Config()
    spec = set_tokenizer(spec, train_tokenizer(texts, 80, "clip"))
    task = make_task(config, spec, LabelSpace(()))
    sizes = {"num_frames": 4, "size": 32, "dim": 16, "depth": 1, "heads": 2, "decoder_dim": 16, "decoder_depth": 1}
    network = create_model("videomae_caption_tiny", num_classes=80, **sizes)
    records = tuple(Record(f"{i}.mp4", caption) for i, caption in enumerate(captions))
    layout, reader = layout_of(spec.inputs, task.targets.fields()), PromptReader(spec.inputs["text"])
    video = layout.draw(CLIPS, 1, seed=3)["inputs"]["video"][:, 0]
    text = np.concatenate([reader.of(record, whole(1)) for record in records])
    examples = {"inputs": {"video": jnp.asarray(video), "text": jnp.asarray(text)}, "targets": {}}
    return Case(task, network, VideoSet(records, LabelSpace(())), examples)


def of_flow(folder) -> Case:
    """Pairs with a flow that is known everywhere, in places, nowhere, and that is too fast to count."""
    spec = get_spec("raft_small_tiny")
    spec = dataclasses.replace(spec, inputs={"pair": dataclasses.replace(spec.inputs["pair"], height=32, width=40)})
    task = make_task(Config(model=ModelConfig(name="raft_small_tiny")), spec, LabelSpace(()))
    network, rng, records = create_model("raft_small_tiny"), np.random.default_rng(0), []
    for i, share in enumerate((1, 0.5, 0, 1)):
        path = folder / f"{i}.flo"
        write_flow(path, rng.normal(0, 500 if i == 3 else 3, (32, 40, 2)), rng.random((32, 40)) < share)
        records.append(Record(f"{i}_1.ppm", TrueFlow(f"{i}_2.ppm", str(path))))
    pair = layout_of(spec.inputs).draw(CLIPS, 1, seed=3)["inputs"]["pair"][:, 0]
    targets = [task.targets.of(record, whole(1)) for record in records]
    examples = {
        "inputs": {"pair": jnp.asarray(pair)},
        "targets": {name: jnp.asarray(np.stack([t[name][0] for t in targets])) for name in targets[0]},
    }
    return Case(task, network, VideoSet(tuple(records), LabelSpace(())), examples)


CASES = [
    *("classify-single", "classify-several", "classify-partial", "detect", "reconstruct", "caption"),
    "optical_flow",
    *("retrieve-softmax", "retrieve-sigmoid"),
    "localise-localise_linear_tiny",
]


@pytest.fixture(scope="module", params=CASES)
def one(request, tmp_path_factory):
    return case(request.param, tmp_path_factory.mktemp("videos"))


def test_every_task_has_a_case():
    assert {name.partition("-")[0] for name in CASES} == set(TASKS)


def test_it_says_what_it_is_and_needs(one):
    assert one.task.name in TASKS and one.task.targets.kinds == kinds_of(one.task.name)
    assert one.task.metrics and all(metric.count("/") == 1 for metric in one.task.metrics)
    assert one.task.words


def test_targets_are_as_they_say_of_every_number_of_views(one):
    for count in (1, 3):
        for record in one.videos.records:
            given = one.task.targets.of(record, whole(count))
            fields = one.task.targets.fields()
            assert given.keys() == fields.keys()
            for name, field in fields.items():
                assert given[name].shape == (count, *field.shape) and given[name].dtype == field.dtype


def test_mirrored_twice_is_the_same(one):
    plain = whole(2)
    mirrored = dataclasses.replace(plain, mirrored=~plain.mirrored)
    swap = one.videos.labels.mirrored
    for record in one.videos.records:
        back = map_classes(record.annotation, lambda i: swap.get(i, i))
        again = one.task.targets.of(dataclasses.replace(record, annotation=back), mirrored)
        chex.assert_trees_all_equal(again, one.task.targets.of(record, plain))


def test_each_view_has_the_target_of_what_it_shows(one):
    views = whole(2)
    views = Views(views.frames, views.times, np.array([False, True]), views.affine)
    plain, turned = (whole(1), dataclasses.replace(whole(1), mirrored=np.array([True])))
    for record in one.videos.records:
        both = one.task.targets.of(record, views)
        for name, array in both.items():
            np.testing.assert_array_equal(array[0], one.task.targets.of(record, plain)[name][0])
            np.testing.assert_array_equal(array[1], one.task.targets.of(record, turned)[name][0])


def loss_and_sums(one, examples):
    """Of clips, in evaluation mode so that nothing depends on their place in the batch."""
    network = fixed_masks(one.network)
    return jax.jit(lambda examples: one.task.objective(network, examples, jax.random.key(0)))(examples)


def test_losses_and_sums_are_added_over_parts(one):
    if one.task.objective.whole_batch:
        pytest.skip("compares the clips of a batch with each other")
    whole_loss, whole_sums = loss_and_sums(one, one.examples)
    parts = [loss_and_sums(one, jax.tree.map(lambda x, i=i: x[i::2], one.examples)) for i in range(2)]
    np.testing.assert_allclose(sum(loss for loss, _ in parts), whole_loss, rtol=1e-5)
    assert whole_sums.keys() == one.task.objective.sums.keys()
    for name in whole_sums:
        np.testing.assert_allclose(sum(sums[name] for _, sums in parts), whole_sums[name], rtol=1e-6)
    chex.assert_shape([whole_loss, *whole_sums.values(), one.task.objective.weight(one.examples)], ())
    assert one.task.objective.weight(one.examples) > 0


@pytest.mark.slow(after=3, first=2)
@settings(deadline=None, max_examples=5)
@given(order=st.permutations(range(CLIPS)))
def test_the_order_of_clips_does_not_matter(one, order):
    loss, sums = loss_and_sums(one, one.examples)
    turned = loss_and_sums(one, jax.tree.map(lambda x: x[jnp.asarray(order)], one.examples))
    np.testing.assert_allclose(turned[0], loss, rtol=1e-5)
    chex.assert_trees_all_close(turned[1], sums, rtol=1e-6)


def test_gradients_are_finite_also_without_any_target(one):
    graphdef, params, stats = split(one.network)
    empty = one.examples | {"targets": jax.tree.map(jnp.zeros_like, one.examples["targets"])}

    def loss(params):
        network = fixed_masks(merge(graphdef, params, stats))
        return one.task.objective(network, empty, jax.random.key(0))[0] / one.task.objective.weight(empty)

    chex.assert_tree_all_finite(jax.jit(jax.grad(loss))(params))


def outputs(one):
    """Of each evaluator, for three views of every video."""
    number = jnp.arange(CLIPS, dtype=jnp.int32)
    for name, make in one.task.evaluators.items():
        views = []
        for view in range(3):
            inputs = {key: jnp.roll(array, view, axis=1) for key, array in one.examples["inputs"].items()}
            forward, network = make(one.videos).forward, fixed_masks(one.network)
            run = jax.jit(lambda inputs, numbers, forward=forward, network=network: forward(network, inputs, numbers))
            given = run(inputs, number * 1000 + view)
            views.append(jax.tree.map(np.asarray, given))
        yield name, make, views


def filled(make, videos, views, batches):
    """Evaluators that have seen every view, the videos split into batches: one evaluator a batch."""
    made = []
    for rows in batches:
        evaluator, index = make(videos), np.asarray(rows, np.int64)
        for view, output in enumerate(views):
            if evaluator.wants(index, view):
                part = jax.tree.map(lambda x, index=index: x[index], output)
                evaluator.add(Rows(index, view, np.full(len(index), len(views))), part)
        made.append(evaluator)
    return made


def test_evaluators_merge_and_batches_do_not_matter(one, tmp_path):
    for name, make, views in outputs(one):
        (whole_pass,) = filled(make, one.videos, views, [range(CLIPS)])
        for number, batches in enumerate(([[0], [1], [2], [3]], [[2, 3], [0, 1]], [[1, 3, 0], [2]])):
            first, *others = filled(make, one.videos, views, batches)
            for other in others:
                first.merge(other)
            chex.assert_trees_all_close(first.summary(), whole_pass.summary(), rtol=1e-6)
            assert first.details().keys() == whole_pass.details().keys()
            folder = tmp_path / f"{name}{number}"
            folder.mkdir()
            assert all((folder / file).exists() for file in first.write(folder, "a run"))


@pytest.mark.slow(after=4)
def test_its_metrics_are_those_it_promises(one):
    summary = {"levels": []}
    for _, make, views in outputs(one):
        figures = filled(make, one.videos, views, [range(CLIPS)])[0].summary()
        summary = summary | figures | {"levels": summary["levels"] + list(figures)}
    assert set(one.task.metrics) <= flat_metrics(summary).keys()


def test_an_answer_is_a_share_of_each_class(one):
    if one.task.present is None:
        return
    (_, _, views), *_ = outputs(one)
    shares = one.task.present(views[0])
    assert shares.shape == (CLIPS, 3) and (shares >= 0).all() and (shares <= 1).all()
