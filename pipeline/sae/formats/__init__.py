"""The file formats of sparse autoencoders, a module each."""
