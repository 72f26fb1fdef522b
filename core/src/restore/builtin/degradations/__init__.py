"""The core's own degradations."""
