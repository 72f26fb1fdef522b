"""The core's own datasets."""
