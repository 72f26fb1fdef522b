"""Measuring models under named protocols."""
