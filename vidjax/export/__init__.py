"""Trained networks as programs of other runtimes: StableHLO and ONNX files, and int8."""
