"""Hidden pixels from visible ones: pre-training without labels."""
