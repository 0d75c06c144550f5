"""A network cut at an inner module: up to the module's output, and from it to the answer.

Families need nothing for it, as calls of modules are intercepted. Up to the cut, what comes later is not even traced;
from the cut on, the compiler leaves out what only the replaced output needs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import get_opaque_trace_state

from vidjax.errors import UserError
from vidjax.models.base import VideoNetwork, matching_paths
from vidjax.models.calls import intercepted, module_paths
from vidjax.nn.packed import packing


class _Reached(Exception):
    """Ends a trace at the cut, whose output it carries."""


def up_to(network: VideoNetwork, inputs: Any, layer: str) -> list[jax.Array]:
    """Arrays of the output of an inner module, mostly one; of its first call if there are several.

    Args:
      network: network in evaluation mode.
      inputs: B clips as they enter the network, see `VideoNetwork.encode`.
      layer: path of the module, see `VideoNetwork.intermediates`.

    Raises:
      UserError: if there is no such module, several have such a path, or it does not run, or only in a loop.
    """
    return between(network, inputs, "", (), layer)


def from_there(network: VideoNetwork, inputs: Any, layer: str, output: Sequence[jax.Array]) -> jax.Array:
    """The network's answer to clips, with the arrays `output` in the place of those of a module's first output.

    Args:
      network: network in evaluation mode.
      inputs: the clips; what is not needed beside the output costs nothing in a compiled program.
      layer: path of the module.
      output: result of `up_to` for the same clips.

    Raises:
      UserError: as `up_to` does.
    """
    with packing(1), intercepted(network, _replacing(one_module(network, layer), output)):
        return network(inputs)


def between(network: VideoNetwork, inputs: Any, start: str, output: Sequence[jax.Array], end: str) -> list[jax.Array]:
    """Arrays of the output of an inner module, as `up_to`, with `output` in the place of an earlier one's.

    Args:
      network: network in evaluation mode.
      inputs: the clips.
      start: path of the earlier module; empty: none, the clips alone.
      output: result of `up_to` for the earlier module and the same clips.
      end: path of the module.

    Raises:
      UserError: as `up_to` does.
    """
    path, outside = one_module(network, end), get_opaque_trace_state()
    replaced = _replacing(one_module(network, start), output) if start else _as_is

    def around(called: str, call: Callable[[], Any]) -> Any:
        out = replaced(called, call)
        if called != path:
            return out
        if get_opaque_trace_state() != outside:
            raise UserError(f"{type(network).__name__}: {path} runs inside a loop; choose a module outside of the loop")
        raise _Reached(_arrays(out))

    try:
        with packing(1), intercepted(network, around):
            network.encode(inputs)
    except _Reached as reached:
        return reached.args[0]
    raise UserError(f"{type(network).__name__}: {path} does not run while clips are encoded")


def _as_is(called: str, call: Callable[[], Any]) -> Any:
    del called
    return call()


def _replacing(path: str, output: Sequence[jax.Array]) -> Callable[[str, Callable[[], Any]], Any]:
    """Put the arrays `output` in the place of those of a module's first output."""
    used = []

    def around(called: str, call: Callable[[], Any]) -> Any:
        out = call()  # for its form; the compiler leaves it out, with all that only it needs
        if called != path or used:
            return out
        used.append(called)
        given = iter(output)
        return jax.tree.map(lambda leaf: next(given) if isinstance(leaf, jax.Array) else leaf, out)

    return around


def _arrays(out: Any) -> list[jax.Array]:
    return [leaf for leaf in jax.tree.leaves(out) if isinstance(leaf, jax.Array)]


def one_module(network: VideoNetwork, layer: str) -> str:
    """Path of the one module that a name, or a shell pattern, stands for.

    Raises:
      UserError: if there is none, or several.
    """
    found = list(matching_paths(type(network).__name__, list(module_paths(network)), [layer]))
    if len(found) > 1:
        some = ", ".join(found[:3])
        raise UserError(f"layer = {layer!r}: {len(found)} modules have such a path ({some}, …); choose one")
    return found[0]
