"""The core's own models."""
