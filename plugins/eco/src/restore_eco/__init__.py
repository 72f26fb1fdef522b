"""ECO (Lee & Heo): noise-free optimization in early training steps, and the networks it was shown on."""
