"""Feature vectors of many videos: their files, search, near-duplicates, recommendation and scores."""
