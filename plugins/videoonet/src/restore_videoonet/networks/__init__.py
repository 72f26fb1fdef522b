"""The networks inside the unrolled iterations, and the iterations themselves."""
