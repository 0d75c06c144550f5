"""Metrics, and clip- and video-level evaluation over views."""
