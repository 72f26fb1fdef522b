"""Methods without learned weights, called as the networks are: ``model(observed, operator)``."""
