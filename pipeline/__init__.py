"""latentlake: automated interpretability of sparse-autoencoder features as a lake of tables."""
