"""SrSENet: super-resolution with squeeze-and-excitation (Mei et al., 2018), as a plugin of restorekit."""
