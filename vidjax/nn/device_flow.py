"""Optical flow of clips, estimated on the device inside the step from the colours of successive frames."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vidjax.inputs import FlowFields, VideoInput

# First and second pictures, 0…255 (N, H, W, 3) each → flow float32 (N, H, W, 2), pixels.
FlowNetwork = Callable[[jax.Array, jax.Array], jax.Array]


def colours_and_flow(video: jax.Array, input: VideoInput, flow_network: FlowNetwork) -> jax.Array:
    """Make the channels of a clip from the colours of L + 1 successive frames of the file for each of its frames.

    Flow is that of the view as the network sees it, after crop, resizing and mirroring, so its vectors need no rules.
    It is rounded to 8 bits like flow from files. No gradient enters the flow network.

    Args:
      video: colours as read, uint8 `(B, T, H, W, 3·(L + 1))`.
      input: description of the input, with fields of flow.
      flow_network: what estimates flow, in evaluation mode.

    Returns:
      Values in 0…255, float32 `(B, T, H, W, C)`: the colours of the first of the frames, if the input has colours, then
      x1, y1, x2, y2 and so on.
    """
    fields = input.flow
    assert fields is not None  # the caller knows
    *lead, height, width, _ = video.shape
    frames = video.astype(jnp.float32).reshape(-1, height, width, fields.count + 1, 3)
    frames = jnp.moveaxis(frames, 3, 1)
    first, second = (part.reshape(-1, height, width, 3) for part in (frames[:, :-1], frames[:, 1:]))
    flow = jax.lax.stop_gradient(flow_network(first, second))
    flow = flow.reshape(-1, fields.count, height, width, 2)
    values = jnp.moveaxis(in_8_bits(flow, fields), 1, 3).reshape(*lead, height, width, fields.channels)
    colours = frames[:, 0].reshape(*lead, height, width, 3)[..., : input.colours]
    return jnp.concatenate([colours, values], axis=-1)


def in_8_bits(flow: jax.Array, fields: FlowFields) -> jax.Array:
    """Round flow `(…, H, W, 2)` to the whole values 0…255 that files of it hold, float32; see `FlowFields`."""
    if fields.mean_subtracted:
        flow = flow - flow.mean((-3, -2), keepdims=True)
    scaled = (jnp.clip(flow, -fields.bound, fields.bound) + fields.bound) * (127.5 / fields.bound)
    return jnp.rint(scaled) if fields.rounding == "nearest" else jnp.floor(scaled)
