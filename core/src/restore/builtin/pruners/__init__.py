"""The core's own pruners."""
