"""The core's own plugin, through the same hooks as anyone's."""
