"""The engine: whole files through a model, from its traits alone."""
