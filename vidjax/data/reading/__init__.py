"""Reading of examples: files are opened, decoded, resized, cropped and augmented."""
