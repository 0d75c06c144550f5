"""Weight tables, one file per model family: the names that each source gives its weights."""
