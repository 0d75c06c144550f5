"""Square crops of a frame, as evaluation takes them."""

import numpy as np

SPATIAL_VIEWS = {"centre": 1, "three": 3, "five": 5, "ten": 10}
CROPS = {count: name for name, count in SPATIAL_VIEWS.items()}  # names by the numbers of `config.eval.num_crops`


def spatial_views(height: int, width: int, size: int, views: str) -> np.ndarray:
    """Square crops of a frame, as boxes.

    Args:
      height: height of the frame, pixels.
      width: width of the frame, pixels.
      size: side of the crops, pixels.
      views: "centre"; "three" along the longer side (left, centre, right on wide and square frames, top, middle, bottom
        on tall ones); "five" (corners in reading order, centre); "ten" (those five, then the same five to be mirrored:
        see `spatial_flips`).

    Returns:
      int64 `(V, 4)`: top, left, height, width, in pixels of the unmirrored frame. An odd margin has its larger half at
      the top and on the left, as in SlowFast and pytorchvideo.

    Raises:
      ValueError: if a crop is larger than the frame, or `views` is unknown.
    """
    flips = spatial_flips(views)
    if not 1 <= size <= min(height, width):
        raise ValueError(f"size = {size}: must be between 1 and the shorter side of the frame, {height} × {width}")
    bottom, right = height - size, width - size
    middle, centre = (bottom + 1) // 2, (right + 1) // 2
    if views == "centre":
        corners = [(middle, centre)]
    elif views == "three":
        tall = height > width
        corners = [(y, centre) for y in (0, middle, bottom)] if tall else [(middle, x) for x in (0, centre, right)]
    else:
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (middle, centre)] * (len(flips) // 5)
    boxes = np.array([(top, left, size, size) for top, left in corners], np.int64)
    boxes[flips, 1] = right - boxes[flips, 1]
    return boxes


def spatial_flips(views: str) -> np.ndarray:
    """Mask of the crops of `spatial_views` to be mirrored left to right, bool `(V,)`.

    Raises:
      ValueError: if `views` is unknown.
    """
    if views not in SPATIAL_VIEWS:
        raise ValueError(f"views = {views!r}: must be one of {', '.join(SPATIAL_VIEWS)}")
    return np.arange(SPATIAL_VIEWS[views]) >= 5
