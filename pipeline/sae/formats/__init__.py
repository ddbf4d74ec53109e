"""The file formats of sparse autoencoders, one module each."""
