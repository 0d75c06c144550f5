"""Data sets, transforms and the Grain pipeline, from records to batches."""
