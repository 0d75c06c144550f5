"""A file becomes clips: opened, decoded, resized, cropped, changed."""
