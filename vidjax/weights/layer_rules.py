"""Rules that most tables share: a PyTorch layer → the vidjax layer of the same kind."""

from vidjax.weights.layouts import CONV3D, COPY, LINEAR, Transform
from vidjax.weights.table import Rule


def dense(key: str, path: str) -> tuple[Rule, Rule]:
    """Rules for a dense layer: `torch.nn.Linear` with bias → `nnx.Linear`."""
    return Rule(f"{key}.weight", f"{path}.kernel", LINEAR), Rule(f"{key}.bias", f"{path}.bias", COPY)


def conv(key: str, path: str, transform: Transform = CONV3D) -> tuple[Rule, Rule]:
    """Rules for a convolution's weight and its bias, if there is one → `Conv3D` or `TubeletEmbedding`."""
    return Rule(f"{key}.weight", f"{path}.kernel", transform), Rule(f"{key}.bias", f"{path}.bias", COPY)


def layer_norm(key: str, path: str) -> tuple[Rule, Rule]:
    """Rules for a layer norm: `torch.nn.LayerNorm` → `nnx.LayerNorm`."""
    return Rule(f"{key}.weight", f"{path}.scale", COPY), Rule(f"{key}.bias", f"{path}.bias", COPY)


def batch_norm(key: str, path: str) -> tuple[Rule, ...]:
    """Rules for a batch norm: `torch.nn.BatchNorm` → `BatchNorm`; `Source.ignore` lists its `num_batches_tracked`."""
    return (
        *layer_norm(key, path),
        Rule(f"{key}.running_mean", f"{path}.mean", COPY),
        Rule(f"{key}.running_var", f"{path}.var", COPY),
    )
