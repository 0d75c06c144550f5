"""RoIAlign: feature maps pooled inside boxes, each box to the same number of bins.

Bilinear samples on a regular grid are averaged in each bin. Rows and columns are separable, so a box is two small
matrices, `A_y · map · A_xᵀ`: no gather, and the gradient is as cheap as the value.
"""

from functools import partial

import jax
import jax.numpy as jnp


def roi_align(
    maps: jax.Array,
    boxes: jax.Array,
    size: tuple[int, int] = (7, 7),
    scale: float = 1 / 16,
    ratio: int = 0,
    aligned: bool = True,
) -> jax.Array:
    """Pool feature maps inside boxes.

    Samples further than one place outside the map are 0; those nearer take the value at its edge. With `aligned`, empty
    and inverted boxes give 0 if `ratio` is 0, and so does padding.

    Args:
      maps: feature maps, `(B, H, W, C)`.
      boxes: corners x1, y1, x2, y2 of R boxes per map, `(B, R, 4)`, pixels of the picture.
      size: number of bins along y and x.
      scale: places of the map per pixel, such as 1/16 for a map of stride 16.
      ratio: samples per bin and axis; 0: one per place of the map, rounded up, which depends on the box.
      aligned: whether the centres of pixels are at half-integers (`aligned=True` of Detectron2, `half_pixel` of ONNX).
        If not (the older rule, torchvision's default), boxes are shifted by half a place, and their sides are at least
        one place.

    Returns:
      `(B, R, *size, C)`, of the maps' dtype.

    Source: RoIAlign in Mask R-CNN (1703.06870); `roi_align_kernel.cpp` in pytorch/vision for the edges.
    """
    dtype = jnp.promote_types(jnp.float32, maps.dtype)
    corners = boxes.astype(dtype) * scale - (0.5 if aligned else 0.0)
    x1, y1, x2, y2 = jnp.moveaxis(corners, -1, 0)
    rows, columns = (
        jax.vmap(jax.vmap(partial(_weights, bins=bins, places=places, ratio=ratio, aligned=aligned)))(*ends)
        for ends, bins, places in (((y1, y2), size[0], maps.shape[1]), ((x1, x2), size[1], maps.shape[2]))
    )
    product = partial(jnp.einsum, precision="highest", preferred_element_type=dtype)
    pooled = product("brph,bhwc->brpwc", rows.astype(maps.dtype), maps).astype(maps.dtype)
    return product("brqw,brpwc->brpqc", columns.astype(maps.dtype), pooled).astype(maps.dtype)


def _weights(low: jax.Array, high: jax.Array, *, bins: int, places: int, ratio: int, aligned: bool) -> jax.Array:
    """Weights of an axis's places in each bin of a box, `(bins, places)`: means of the samples' bilinear weights.

    Args:
      low, high: ends of the box, places, `()`.
      bins: number of bins.
      places: length of the map.
      ratio: samples per bin; 0: adaptive.
      aligned: see `roi_align`.
    """
    length = high - low if aligned else jnp.maximum(high - low, 1.0)
    if ratio:
        count, first, most = jnp.full_like(length, ratio), 0.0, bins * ratio
    else:
        # ⌈length / bins⌉, exactly: a compiler that multiplies by 1 / bins would round up where bins divides the length.
        nearest = jnp.round(length / bins)
        count = nearest + (nearest * bins < length)
        # Several samples per bin are half a place apart or more: no more than these lie near the map, however large the
        # box is. Those before them are skipped.
        most = max(bins, 2 * (places + 2) + 1)
        spacing = jnp.where(count > 1, length, bins) / (bins * jnp.maximum(count, 1))
        first = jnp.where(count > 1, jnp.maximum(jnp.floor((-1 - low) / spacing - 0.5), 0), 0)
    samples = first + jnp.arange(most, dtype=low.dtype)  # numbered through all bins
    per_bin = jnp.maximum(count, 1)
    of_bin = jnp.floor(samples / per_bin)
    position = low + of_bin * (length / bins) + (samples - of_bin * per_bin + 0.5) * (length / bins) / per_bin
    valid = (samples < bins * count) & (position >= -1) & (position <= places)
    distance = jnp.clip(position, 0, places - 1)[:, None] - jnp.arange(places, dtype=low.dtype)[None]
    bilinear = jnp.maximum(1 - jnp.abs(distance), 0)
    in_bin = (of_bin[None] == jnp.arange(bins, dtype=low.dtype)[:, None]) & valid[None]
    return jnp.matmul(in_bin.astype(low.dtype), bilinear, precision="highest") / per_bin
