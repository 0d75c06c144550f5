"""Interception of calls of a network's modules, and the modules' paths."""

import contextlib
import functools
import threading
from collections.abc import Callable, Generator
from typing import Any

from flax import nnx

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
