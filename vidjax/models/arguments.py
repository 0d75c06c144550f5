"""Arguments of networks' constructors, and the errors for unknown ones."""

import dataclasses
import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from flax import nnx

from vidjax.errors import UserError

T = TypeVar("T")

# Arguments that `create_model` passes to every constructor.
GIVEN = ("num_classes", "dtype", "rngs")
OWN = ("num_classes", "seed", "dtype", "input", "probe", "probe_options")

# Names of arguments in other libraries.
_ALIASES = {
    **dict.fromkeys(("rngs", "rng", "key", "prng_key"), "seed"),
    **dict.fromkeys(("image_size", "img_size", "input_size", "crop_size", "resolution", "res"), "size"),
    **dict.fromkeys(("frames", "n_frames", "nframes", "num_segments", "clip_len", "clip_length", "T"), "num_frames"),
    **dict.fromkeys(("n_classes", "classes", "num_labels", "num_outputs"), "num_classes"),
    **dict.fromkeys(("drop_rate", "dropout_rate", "head_dropout"), "dropout"),
    **dict.fromkeys(("drop_path_rate", "stochastic_depth", "stochastic_depth_prob"), "drop_path"),
    **dict.fromkeys(("gradient_checkpointing", "grad_checkpointing", "use_checkpoint"), "remat"),
    **dict.fromkeys(("precision", "compute_dtype"), "dtype"),
    **dict.fromkeys(("patch_size", "tubelet_size"), "tubelet"),
    **dict.fromkeys(("num_layers", "layers"), "depth"),
    **dict.fromkeys(("num_heads", "n_heads"), "heads"),
    **dict.fromkeys(("embed_dim", "hidden_size", "width"), "dim"),
    **dict.fromkeys(("in_chans", "num_channels", "channels"), "in_channels"),
}
_WEIGHTS = ("pretrained", "weights", "checkpoint", "checkpoint_path", "ckpt")


class ArgumentError(UserError, TypeError):
    """Error: a network does not take an argument; the message names those that it takes."""


# Arguments of networks' classes that functions which build networks usually make themselves.
_PARTS = ("stem", "stem_features", "stages", "block", "last", "conventions")


def settles(*names: str) -> Callable[[Callable], Callable]:
    """Decorator that names the class's arguments which a function that builds networks sets itself."""

    def mark(build: Callable) -> Callable:
        vars(build)["settled"] = names
        return build

    return mark


def by_field(init: Callable[..., T]) -> Callable[..., T]:
    """Decorator that flattens groups of options of a constructor, or a function that builds, into keyword arguments.

    A group is a keyword parameter annotated with a dataclass. Callers pass its fields by name; omitted fields take
    the values of the default group, or else the dataclass's defaults. So

        @by_field
        def __init__(self, num_classes, *, size: TransformerSize, execution: Execution, rngs): ...

    is called as `VideoMAE(400, dim=384, depth=12, heads=6, remat="full", rngs=rngs)`, which is also the signature
    shown to `inspect` and `arguments_of`.
    """
    signature = inspect.signature(init)
    groups = {name: p for name, p in signature.parameters.items() if dataclasses.is_dataclass(p.annotation)}
    flat: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        flat += _fields(parameter) if name in groups else [parameter]
    shown = signature.replace(parameters=flat)

    @functools.wraps(init)
    def with_fields(*args: Any, **kwargs: Any) -> T:
        shown.bind(*args, **kwargs)
        for name, parameter in groups.items():
            fields = {p.name: kwargs.pop(p.name) for p in _fields(parameter) if p.name in kwargs}
            default = parameter.default
            kwargs[name] = (
                parameter.annotation(**fields)
                if default is inspect.Parameter.empty
                else dataclasses.replace(default, **fields)
            )
        return init(*args, **kwargs)

    vars(with_fields)["__signature__"] = shown
    return with_fields


def _fields(group: inspect.Parameter) -> list[inspect.Parameter]:
    """Fields of a group of options as keyword parameters, with their defaults."""

    def default(field: dataclasses.Field) -> Any:
        if group.default is not inspect.Parameter.empty:
            return getattr(group.default, field.name)
        return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default

    return [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default(field), annotation=field.type)
        for field in dataclasses.fields(group.annotation)
    ]


def arguments_of(build: Callable[..., nnx.Module]) -> list[str]:
    """Names of the arguments of a network's class, or of a function that builds one, except those in `GIVEN`.

    `**kwargs` stands for the arguments of the base class, or of the class that the function returns.
    """
    return sorted(_signature(build).keys() - set(GIVEN))


def default_of(build: Callable[..., nnx.Module], name: str) -> Any:
    """Default of an argument of a network's class, or of a function that builds one; None: it must be given.

    Args:
      build: the class or function.
      name: an argument, one of `arguments_of(build)`.
    """
    default = _signature(build)[name].default
    return None if default is inspect.Parameter.empty else default


def _signature(build: Callable[..., nnx.Module]) -> dict[str, inspect.Parameter]:
    if not inspect.isclass(build):
        own = dict(inspect.signature(build).parameters)
        if not _take_further(own):
            return own
        # A function makes these from its own arguments, unless it hands on whatever it is given.
        settled = {*_PARTS, *getattr(build, "settled", ())} if not getattr(build, "hands_on", False) else set()
        handed_on = _signature(inspect.signature(build).return_annotation)
        return own | {name: p for name, p in handed_on.items() if name not in settled and name not in own}
    found: dict[str, inspect.Parameter] = {}
    for cls in build.__mro__:
        if "__init__" in vars(cls):
            own = dict(inspect.signature(cls.__init__).parameters)
            further = _take_further(own)
            found = {name: p for name, p in own.items() if name != "self"} | found
            if not further:
                break
    return found


def _take_further(parameters: dict[str, inspect.Parameter]) -> bool:
    """Remove a `**kwargs` from the parameters, and return whether there was one."""
    kinds = {name: p.kind for name, p in parameters.items()}
    further = [name for name, kind in kinds.items() if kind == inspect.Parameter.VAR_KEYWORD]
    for name in further:
        del parameters[name]
    return bool(further)


def check_arguments(name: str, build: Callable[..., nnx.Module], given: Mapping[str, Any]) -> None:
    """Check that a network takes the given arguments.

    Args:
      name: name of the model.
      build: class of the model, or function that builds it.
      given: arguments to check.

    Raises:
      ArgumentError: if not; the message names the first wrong one, likely alternatives and all valid arguments.
    """
    known = arguments_of(build)
    for wrong in given:
        if wrong not in known:
            takes = f"{name} takes {', '.join(known) or 'nothing'}; create_model itself takes {', '.join(OWN)}"
            raise ArgumentError(f"{name} takes no argument {wrong!r}.{_hint(wrong, known)} {takes}.")


def _hint(wrong: str, known: Iterable[str]) -> str:
    if wrong in _WEIGHTS:
        return " Weights of a file are loaded by vidjax.load_pretrained(name, file)."
    names = [*known, *OWN]
    meant = _ALIASES.get(wrong, wrong)
    if meant in names:
        return f" Use {meant}=…."
    if meant in ("size", "num_frames"):
        return f" It takes clips of any {'size' if meant == 'size' else 'length'} without it."
    close = difflib.get_close_matches(wrong, names, n=2)
    return f" Did you mean {' or '.join(close)}?" if close else ""
