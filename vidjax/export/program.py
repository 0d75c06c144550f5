"""A trained network as one function from what is read to what is answered."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidjax import parallel
from vidjax.batch import layout_of
from vidjax.errors import UserError
from vidjax.evaluation.calibration import stored_temperature
from vidjax.evaluation.several import read_thresholds
from vidjax.export.inference import Folding, Weights, fold
from vidjax.inputs import Field
from vidjax.models.build import build_model
from vidjax.models.state import in_float32, merge, split
from vidjax.nn.conv import conv_formulation
from vidjax.nn.enter import enter
from vidjax.nn.target_backend import targeting
from vidjax.tasks import make_task
from vidjax.training.checkpoints import Meta, load_model, run_folder

Named = dict[str, Any]  # arrays, or shapes, by name


@dataclass(frozen=True)
class TrainedNetwork:
    """Network of a run, ready to be traced for any target.

    Attributes:
      title: folder that it was loaded from.
      meta: config, spec and classes.
      step: update of its checkpoint.
      params: parameters by path.
      stats: batch statistics by path.
      temperature: temperature of its probabilities; 1: it was not calibrated.
      thresholds: thresholds of K classes of which a video may have several, chosen in evaluation; None: there are none.
    """

    title: str
    meta: Meta
    step: int
    params: Weights
    stats: Weights
    temperature: float = 1.0
    thresholds: tuple[float, ...] | None = None

    @classmethod
    def load(cls, folder: str | Path, step: int | None = None) -> "TrainedNetwork":
        """Load the network of a run, or of a folder written by `convert`.

        Raises:
          CheckpointFolderError: if there is no such checkpoint.
          UserError: if its task has no answer in arrays, such as that of networks for others to start from.
        """
        model, meta, step = load_model(folder, step=step, sharding=parallel.replicated(parallel.make_mesh(1)))
        if make_task(meta.config, meta.spec, meta.labels).answer is None:
            raise UserError(
                f"{folder}: {meta.spec.name} is trained to {meta.spec.task}, for which nothing is exported; "
                "train a classifier from it with --config.model.init_from, and export that"
            )
        _, params, stats = split(model)
        run = run_folder(folder)
        found = read_thresholds(run, meta.labels.names) if meta.labels.several else None
        thresholds = None if found is None else tuple(float(value) for value in found)
        own, running = ({path: np.asarray(array) for path, array in part.items()} for part in (params, stats))
        return cls(str(folder), meta, step, own, running, stored_temperature(run, step), thresholds)

    @property
    def fields(self) -> Mapping[str, Field]:
        """Shape and type of one clip of each input, as read."""
        return layout_of(self.meta.spec.inputs).inputs

    @property
    def weights(self) -> Weights:
        """Parameters and statistics by path."""
        return {**self.params, **self.stats}

    def inputs(self, batch: Any) -> Named:
        """Shapes and types of the inputs as read, `(B, …)` each.

        Args:
          batch: B, a number or a symbol.
        """
        return {
            name: jax.ShapeDtypeStruct((batch, *field.shape), np.dtype(field.dtype))
            for name, field in self.fields.items()
        }

    def structure(self, dtype: Any = None) -> nnx.GraphDef:
        """Structure of the network, with activations of a type; None: float32."""
        meta = self.meta
        head = make_task(meta.config, meta.spec, meta.labels, dtype).head
        model = build_model(meta.config, len(meta.labels.names), dtype=dtype, abstract=True, head=head)
        model.eval()
        return split(model)[0]

    def answers(self, network: Any, inputs: Mapping[str, jax.Array], dtype: Any = None) -> Named:
        """Answers of a network about B clips, by name.

        Args:
          network: the network, of `structure(dtype)`.
          inputs: inputs as read, by name.
          dtype: type of the network's inputs; None: float32.
        """
        meta = self.meta
        outputs = network(enter(inputs, meta.spec.inputs, dtype, network=network))
        answer = make_task(meta.config, meta.spec, meta.labels, dtype).answer
        assert answer is not None  # refused by `load`
        return named_arrays(answer(outputs, self.temperature))

    def outputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape of one clip's answer, and its type, by name."""
        graphdef = self.structure()
        found = jax.eval_shape(
            lambda inputs: self.answers(merge(graphdef, *self._parts(self.weights)), inputs), self.inputs(1)
        )
        return {name: (tuple(array.shape[1:]), str(array.dtype)) for name, array in found.items()}

    def by_platform(self, target: str) -> Callable[[Mapping[str, jax.Array], Mapping[str, jax.Array]], Named]:
        """Function of weights and inputs, to be traced inside of `targeting(target)`.

        Args:
          target: backend, "cpu", "gpu" or "tpu", which also decides the type of activations where the config does not.
        """
        with targeting(target):
            dtype = parallel.compute_dtype(self.meta.config.model.compute_dtype)
            graphdef = self.structure(dtype)

        def run(weights: Mapping[str, jax.Array], inputs: Mapping[str, jax.Array]) -> Named:
            params, stats = self._parts(weights)
            return self.answers(merge(graphdef, in_float32(params), stats), inputs, dtype)

        return run

    def reference(self) -> Callable[[Mapping[str, np.ndarray]], Named]:
        """The network itself in float32, compiled by JAX: inputs as read → answers."""
        graphdef = self.structure()

        @jax.jit
        def run(params: Named, stats: Named, inputs: Mapping[str, jax.Array]) -> Named:
            return self.answers(merge(graphdef, in_float32(params), stats), inputs)

        return lambda inputs: jax.tree.map(np.asarray, run(self.params, self.stats, dict(inputs)))

    def for_inference(self, *, native: bool) -> Callable[[Mapping[str, jax.Array]], Named]:
        """Function of inputs for graphs of other runtimes, in float32: with folded batch norms and without dropout.

        Args:
          native: whether 3D convolutions stay so; else they become 2D ones.
        """
        graphdef, weights = self.structure(), in_numpy32(self.weights)
        folding = self._folding(graphdef, weights)
        folded = folding.weights(weights)
        network: Any = merge(graphdef, *self._parts(folded))

        def run(inputs: Mapping[str, jax.Array]) -> Named:
            plain = conv_formulation("native") if native else contextlib.nullcontext()
            with targeting("onnx"), plain, folding.running(network, weights):
                return self.answers(network, inputs)

        return run

    def _parts(self, weights: Mapping[str, Any]) -> tuple[Named, Named]:
        """Parameters and statistics among weights."""
        return {path: weights[path] for path in self.params}, {path: weights[path] for path in self.stats}

    def _folding(self, graphdef: nnx.GraphDef, weights: Weights) -> Folding:
        network: Any = merge(graphdef, *self._parts(weights))
        entered = jax.eval_shape(lambda inputs: enter(inputs, self.meta.spec.inputs, network=network), self.inputs(1))
        return fold(network, entered, weights)


def named_arrays(tree: Any) -> Named:
    """Arrays of a tree by name, such as {"classes.0": …}; parts that are None are left out."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): jnp.asarray(leaf) for path, leaf in leaves}


def in_numpy32(weights: Weights) -> Weights:
    """Weights as NumPy arrays, float32."""
    return {path: np.asarray(array, np.float32) for path, array in weights.items()}
