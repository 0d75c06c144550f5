"""One file per family: how each source names its weights."""
