"""The networks of the paper's tables: EDSR, RCAN, SwinIR."""
