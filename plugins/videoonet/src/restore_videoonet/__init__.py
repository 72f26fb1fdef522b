"""VideoOneNet (Milacski, Poczos, Lorincz, ICML 2020): unrolled ADMM with learned prior and data steps."""
