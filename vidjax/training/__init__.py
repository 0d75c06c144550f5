"""Training: loss, optimiser, the pure step, checkpoints, logging and the loop."""
