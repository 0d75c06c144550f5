"""Network input from what was read, on the device: normalisation, frame differences, spectrograms."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vidjax.inputs import (
    UNHEARD,
    AudioInput,
    BankInput,
    BoxInput,
    FeatureInput,
    Input,
    PairInput,
    PromptInput,
    SequenceInput,
    TextInput,
    VideoInput,
)
from vidjax.nn.device_flow import colours_and_flow
from vidjax.sound_features import features

# Change of an input after normalisation: its name, the normalised input → the same shape.
Between = Callable[[str, jax.Array], jax.Array]


def read_pixels(video: jax.Array, input: VideoInput, network: Any = None) -> jax.Array:
    """Channels of a clip before normalisation, in 0…255: as they were read, or with flow estimated from what was read.

    Args:
      video: clips as read, uint8 `(B, T, H, W, C')`, C' = `input.host_channels`.
      input: description of the input.
      network: network that the clips are for; its `flow_network` estimates flow where the input asks for it.

    Raises:
      ValueError: if there is flow to estimate, and nothing that estimates it.
    """
    if input.flow is None or not input.flow.on_device:
        return video
    flow_network = getattr(network, "flow_network", None)
    if flow_network is None:
        raise ValueError(f"flow by {input.flow.method} is estimated on the device, by the network's flow_network")
    return colours_and_flow(video, input, flow_network)


def normalise(video: jax.Array, input: VideoInput | PairInput, dtype: Any = None) -> jax.Array:
    """Normalise uint8 `(…, C)` per channel: scale to 0…1, subtract the mean, divide by the deviation.

    Args:
      video: pixels, channels last.
      input: description of the input, with `mean` and `std`.
      dtype: dtype of the result; None: float32. The arithmetic is float32 in any case.
    """
    shape = (1,) * (video.ndim - 1) + (-1,)
    std = jnp.asarray(input.std, jnp.float32).reshape(shape)
    mean = jnp.asarray(input.mean, jnp.float32).reshape(shape)
    return ((video.astype(jnp.float32) / 255 - mean) / std).astype(dtype or jnp.float32)


def network_input(video: jax.Array, input: VideoInput, dtype: Any = None) -> jax.Array:
    """Make the network's input from normalised clips.

    Args:
      video: normalised float clips, `(B, T, H, W, C)`, from `normalise`.
      input: description of the input; its `enters` selects frames, differences to the frame before (0 for the first),
        or both, channels side by side.
      dtype: dtype of the result; None: float32. Differences are taken before rounding to it.

    Returns:
      `(B, T, H, W, C)`, or `(B, T, H, W, 2·C)` for both.

    Raises:
      ValueError: for any other `enters`.
    """
    if input.enters not in ("frames", "differences", "both"):
        raise ValueError(f"enters = {input.enters!r}: must be one of frames, differences, both")
    if input.enters != "frames":
        differences = jnp.concatenate([jnp.zeros_like(video[:, :1]), video[:, 1:] - video[:, :-1]], axis=1)
        video = differences if input.enters == "differences" else jnp.concatenate([video, differences], axis=-1)
    return video.astype(dtype or jnp.float32)


def _enter_video(video: jax.Array, input: VideoInput, dtype: Any, between: Callable) -> jax.Array:
    return network_input(between(normalise(video, input)), input, dtype)


def _enter_pair(pair: jax.Array, input: PairInput, dtype: Any, between: Callable) -> jax.Array:
    return between(normalise(pair, input)).astype(dtype or jnp.float32)


def is_heard(samples: jax.Array) -> jax.Array:
    """Whether there is any sound in clips of int16 samples `(B, N)`, bool `(B,)`."""
    return (samples != UNHEARD).any(axis=-1)


def spectrogram(samples: jax.Array, input: AudioInput) -> jax.Array:
    """Spectrograms of clips, float32 `(B, frames, values)`, normalised.

    Args:
      samples: int16 samples `(B, N)`; `UNHEARD` is silence.
      input: description of the input.
    """
    wave = jnp.where(samples != UNHEARD, samples, 0).astype(jnp.float32) / 32768
    with jax.default_matmul_precision("highest"):  # coarser sums would put quiet bands beside loud ones off by decibels
        return features(wave, input.spectrogram, input.frames, jnp)


def _enter_audio(samples: jax.Array, input: AudioInput, dtype: Any, between: Callable) -> dict[str, jax.Array]:
    values = between(spectrogram(samples, input))
    return {"audio": values.astype(dtype or jnp.float32), "heard": is_heard(samples)}


def _enter_features(vectors: jax.Array, input: Input, dtype: Any, between: Callable) -> jax.Array:
    del input
    return between(vectors.astype(jnp.float32)).astype(dtype or jnp.float32)


def _enter_boxes(boxes: jax.Array, input: BoxInput, dtype: Any, between: Callable) -> jax.Array:
    del input, dtype  # corners in bfloat16 would be off by pixels
    return between(boxes.astype(jnp.float32))


def _enter_text(numbers: jax.Array, input: TextInput, dtype: Any, between: Callable) -> jax.Array:
    del input, dtype, between  # numbers of tokens stay as they are
    return numbers


def _enter_prompt(numbers: jax.Array, input: PromptInput, dtype: Any, between: Callable) -> dict[str, jax.Array]:
    del input, dtype, between
    return {"text": numbers[:, 1:], "prompt": numbers[:, 0]}


def _enter_sequence(vectors: jax.Array, input: SequenceInput, dtype: Any, between: Callable) -> dict[str, jax.Array]:
    mask = ~jnp.isnan(vectors[..., 0])
    known = jnp.where(mask[..., None], vectors.astype(jnp.float32), 0)
    return {"features": _enter_features(known, input, dtype, between), "mask": mask}


# (array as read (B, …), its input, dtype, change of the normalised input) → array for the network, or several by name
ENTER: dict[type[Input], Callable[..., Any]] = {
    VideoInput: _enter_video,
    AudioInput: _enter_audio,
    FeatureInput: _enter_features,
    SequenceInput: _enter_sequence,
    BoxInput: _enter_boxes,
    BankInput: _enter_features,
    TextInput: _enter_text,
    PromptInput: _enter_prompt,
    PairInput: _enter_pair,
}


def enter(
    arrays: Mapping[str, jax.Array],
    inputs: Mapping[str, Input],
    dtype: Any = None,
    between: Between | None = None,
    network: Any = None,
) -> dict[str, jax.Array]:
    """Make the inputs of a network, by name.

    A sequence also gives "mask", bool `(B, T)`, false after its end; sound gives its spectrogram as "audio" and
    "heard", bool `(B,)`, false for clips without sound. A prompt gives the "text", int32 `(B, L)`, and "prompt", the
    number of the prompt's tokens, int32 `(B,)`.

    Args:
      arrays: arrays as read, `(B, …)` each, by name.
      inputs: descriptions of the network's inputs, by name.
      dtype: dtype of the results; None: float32.
      between: change of each normalised input, before differences are taken.
      network: network that the inputs are for, see `read_pixels`.
    """

    def change(name: str) -> Callable[[jax.Array], jax.Array]:
        return lambda array: between(name, array) if between else array

    entered: dict[str, jax.Array] = {}
    for name, array in arrays.items():
        input = inputs[name]
        array = read_pixels(array, input, network) if isinstance(input, VideoInput) else array
        made = ENTER[type(input)](array, input, dtype, change(name))
        entered |= made if isinstance(made, dict) else {name: made}
    return entered
