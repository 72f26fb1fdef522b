"""U-Nets of the package unet, as a plugin of restorekit."""
