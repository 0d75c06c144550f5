"""The picture of each class's figure."""

import cv2
import numpy as np

from vidjax.evaluation.class_plot import plot_classes


def test_classes_without_a_figure_take_no_room(tmp_path):
    names = [f"class {i}" for i in range(30)]
    heights = []
    for count in (5, 30):
        values = np.where(np.arange(30) < count, np.linspace(0, 1, 30), np.nan)
        plot_classes(tmp_path / "a.png", names, values, np.arange(30), "AP", "打球")
        heights.append(cv2.imread(str(tmp_path / "a.png")).shape[0])
    assert heights[1] > 2 * heights[0]
    plot_classes(tmp_path / "none.png", names, np.full(30, np.nan), np.arange(30), "AP")
    assert (tmp_path / "none.png").exists()
