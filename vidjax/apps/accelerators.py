"""What accelerators can do at most, by their makers' data sheets."""

# Dense bfloat16 matrix products with float32 sums, FLOP/s per device (TPUs: per chip), without sparsity.
PEAK_FLOPS = {
    "a10": 125e12,
    "a100": 312e12,
    "b200": 2250e12,
    "h100": 989e12,  # SXM
    "h200": 989e12,
    "l4": 121e12,
    "l40s": 362e12,
    "rtx4090": 165e12,
    "tpu_v4": 275e12,
    "tpu_v5e": 197e12,
    "tpu_v5p": 459e12,
    "tpu_v6e": 918e12,
}
