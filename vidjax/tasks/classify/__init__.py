"""Classes of a video, one or several."""
