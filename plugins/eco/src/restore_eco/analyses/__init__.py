"""The paper's analyses, each ending in a plot: ``python -m restore_eco.analyses --help``."""
