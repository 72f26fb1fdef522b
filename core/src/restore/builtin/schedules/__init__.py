"""The core's own schedules."""
