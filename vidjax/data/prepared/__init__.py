"""Prepared data sets: clips or videos in shards, written once and read fast."""
