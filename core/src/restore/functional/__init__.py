"""Plain functions on tensors: colour, resizing, quality."""
