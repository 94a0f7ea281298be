"""Networks, losses, metrics, training and prediction.

Keras is imported by the modules of this package, never by ``import miscnn`` alone.
"""
