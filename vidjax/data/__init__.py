"""From records to batches: data sets, transforms and the Grain pipeline."""
