"""Prepared data sets: videos or clips in shards, written once and read fast."""
