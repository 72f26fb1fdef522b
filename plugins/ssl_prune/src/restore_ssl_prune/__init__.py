"""SSL: structured sparsity learning for video super-resolution (Xia et al., CVPR 2023), as a plugin of restorekit."""
