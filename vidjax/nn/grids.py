"""Sizes along time, height and width: of kernels, strides and windows, and of tokens."""

Triple = tuple[int, int, int]  # (t, h, w), in pixels and frames or in places of a map
Grid = Triple  # tokens along T, H and W
