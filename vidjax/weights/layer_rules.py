"""Groups of rules that most tables share: a layer of PyTorch's → the layer of the same kind here."""

from vidjax.weights.layouts import CONV3D, COPY, LINEAR, Transform
from vidjax.weights.table import Rule


def dense(key: str, path: str) -> tuple[Rule, Rule]:
    """`torch.nn.Linear` with bias → `nnx.Linear`."""
    return Rule(f"{key}.weight", f"{path}.kernel", LINEAR), Rule(f"{key}.bias", f"{path}.bias", COPY)


def conv(key: str, path: str, transform: Transform = CONV3D) -> tuple[Rule, Rule]:
    """A convolution's weight and, where there is one, its bias → `Conv3D` or `TubeletEmbedding`."""
    return Rule(f"{key}.weight", f"{path}.kernel", transform), Rule(f"{key}.bias", f"{path}.bias", COPY)


def layer_norm(key: str, path: str) -> tuple[Rule, Rule]:
    """`torch.nn.LayerNorm` → `nnx.LayerNorm`."""
    return Rule(f"{key}.weight", f"{path}.scale", COPY), Rule(f"{key}.bias", f"{path}.bias", COPY)


def batch_norm(key: str, path: str) -> tuple[Rule, ...]:
    """`torch.nn.BatchNorm` → `BatchNorm`; its `num_batches_tracked` is for `Source.ignore`."""
    return (
        *layer_norm(key, path),
        Rule(f"{key}.running_mean", f"{path}.mean", COPY),
        Rule(f"{key}.running_var", f"{path}.var", COPY),
    )
