"""The core's own metrics."""
