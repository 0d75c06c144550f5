"""The learning curve: every line seen and named, nothing cut off, one measure on an axis."""

import pytest

from vidjax.training.curve import learning_curve


def train(step, loss, **more):
    return {"kind": "train", "step": step, "loss": loss, **more}


def evaluated(step, **metrics):
    return {"kind": "eval", "step": step, **{name.replace("_", "/", 1): value for name, value in metrics.items()}}


def drawn(metrics, metric="video/top1", best=None):
    figure = learning_curve(metrics, metric, "run, model", best)
    figure.draw_without_rendering()
    return figure, *figure.axes


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


LONG = [train(10 * i, 9.2 / i, accuracy=min(1, i / 9)) for i in range(1, 40)]
LONG += [evaluated(100 * i, video_top1=min(1, i / 3)) for i in range(1, 4)]


def test_accuracies_are_percentages_with_one_name_each_and_the_best_is_marked():
    figure, loss, accuracy = drawn(LONG, best=300)
    assert legend(figure) == ["training clips, top-1", "held-out videos, top-1", "best checkpoint"]
    assert figure.get_suptitle() == "run, model: held-out videos, top-1 100.0 % after update 300"
    assert (accuracy.get_ylabel(), accuracy.get_xlabel(), loss.get_ylabel()) == (
        "accuracy, %",
        "update",
        "training loss",
    )
    assert max(accuracy.lines[1].get_ydata()) == 100


def test_no_point_touches_a_frame_and_the_legend_covers_none():
    figure, *both = drawn(LONG, best=300)
    for axes in both:
        for line in axes.lines:
            for values, (low, high) in ((line.get_xdata(), axes.get_xlim()), (line.get_ydata(), axes.get_ylim())):
                margin = 0.02 * (high - low)
                assert low + margin < min(values) and max(values) < high - margin
        assert not figure.legends[0].get_window_extent().overlaps(axes.get_tightbbox())


def test_one_point_can_be_seen():
    figure, loss, accuracy = drawn([train(3, 2.0, accuracy=0.5), evaluated(3, video_top1=0.4)], best=3)
    assert all(line.get_marker() == "o" for axes in (loss, accuracy) for line in axes.lines)
    low, high = loss.get_ylim()
    assert low == 0 and 2 < high < 3
    assert len(legend(figure)) == len(accuracy.lines) == 3


@pytest.mark.parametrize(
    ("metric", "axis", "name"),
    [
        ("video/mAP", "mean average precision, %", "held-out videos, mAP"),
        ("reconstruction/explained", "variance explained, %", "held-out clips, variance explained"),
        ("clip/top5", "accuracy, %", "held-out clips, top-5"),
    ],
)
def test_each_measure_has_the_axis_of_its_name(metric, axis, name):
    alone = metric != "clip/top5"
    figure, _, right = drawn(
        [train(3, 2.0, accuracy=0.5), {"kind": "eval", "step": 3, metric: -0.5 if "ex" in metric else 0.4}], metric
    )
    assert right.get_ylabel() == axis
    assert legend(figure) == [*([] if alone else ["training clips, top-1"]), name]
    assert right.get_ylim()[0] < 100 * min(right.lines[-1].get_ydata()) / 100
