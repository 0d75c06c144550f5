"""Interception of calls of a network's modules, and the modules' paths."""

import contextlib
import functools
import threading
from collections.abc import Callable, Collection, Generator
from typing import Any

from flax import nnx
from jax.extend.core import get_opaque_trace_state

from vidjax.errors import UserError
from vidjax.nn.packed import packing
from vidjax.nn.remat import straight

# An active context changes classes, so that there is only one at a time.
_LOCK = threading.RLock()


def module_paths(model: nnx.Module) -> dict[str, nnx.Module]:
    """Modules of a network by path: attributes and list indices, joined by dots; "" is the network itself.

    Lists and dictionaries of modules, which cannot be called, are left out.
    """
    found = ((".".join(map(str, path)), module) for path, module in nnx.iter_modules(model))
    return {path: module for path, module in found if not isinstance(module, nnx.List | nnx.Dict)}


@contextlib.contextmanager
def intercepted(model: nnx.Module, around: Callable[[str, functools.partial], Any]) -> Generator[None, None, None]:
    """Context in which `around(path, call)` replaces each call of a network's modules.

    Blocks run one by one, without `remat` and `scan_blocks` (`vidjax.nn.remat.straight`), so that each has its call.
    Calls of other networks, and calls of this one by other threads, are not intercepted.

    Args:
      model: network to intercept.
      around: function of a module's path, see `module_paths`, and a function without arguments that runs the module,
        whose `args` are the module and what it is called with; its result is returned to the module's caller.
    """
    paths = {id(module): path for path, module in module_paths(model).items()}
    owner, running = threading.get_ident(), []

    def passing(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(self: nnx.Module, *args: Any, **kwargs: Any) -> Any:
            path = paths.get(id(self))
            # A class that calls its parent's method runs once, not twice.
            if path is None or path in running or threading.get_ident() != owner:
                return call(self, *args, **kwargs)
            running.append(path)
            try:
                return around(path, functools.partial(call, self, *args, **kwargs))
            finally:
                running.pop()

        return wrapper

    with _LOCK, straight():
        classes = {type(module) for module in module_paths(model).values() if callable(module)}
        saved = {cls: cls.__dict__.get("__call__") for cls in classes}
        originals = {cls: cls.__call__ for cls in classes}
        try:
            for cls, call in originals.items():
                cls.__call__ = passing(call)
            yield
        finally:
            for cls, call in saved.items():
                if call is None:
                    del cls.__call__
                else:
                    cls.__call__ = call


@contextlib.contextmanager
def noted(model: nnx.Module, paths: Collection[str], *, once: bool = False) -> Generator[dict[str, Any], None, None]:
    """Context that keeps the outputs of inner modules, `{path: output}`, in the order of the calls.

    Args:
      model: network to watch.
      paths: paths of the modules, see `module_paths`. Of one that runs several times, the last output is kept.
      once: whether one that runs several times is an error instead.

    Raises:
      UserError: for a module inside a loop (a recurrent cell), which has no single output.
    """
    outside, found = get_opaque_trace_state(), {}

    def around(path: str, call: Callable[[], Any]) -> Any:
        out = call()
        if path in paths:
            name = f"{type(model).__name__}: {path}"
            if get_opaque_trace_state() != outside:
                raise UserError(f"{name} runs inside a loop, once per step; choose a module outside of the loop")
            if once and path in found:
                raise UserError(f"{name} runs several times; choose a module that runs once")
            found.pop(path, None)
            found[path] = out
        return out

    with packing(1), intercepted(model, around):
        yield found
