"""CRDS: compressed video made better by a network built like a codec (Sun et al., 2024), as a plugin of restorekit."""
