"""Listing of videos: annotation files, folders, prepared and published data sets."""
