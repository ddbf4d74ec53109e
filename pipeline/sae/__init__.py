"""Sparse autoencoders: every file format becomes one `SparseCoder`."""

from pipeline.sae.coder import RELU, Encoding, GroupMax, JumpReLU, SparseCoder, TopK
from pipeline.sae.finding import sae_files
from pipeline.sae.load import load_sae, load_sparse_coder

__all__ = [
    "RELU",
    "Encoding",
    "GroupMax",
    "JumpReLU",
    "SparseCoder",
    "TopK",
    "load_sae",
    "load_sparse_coder",
    "sae_files",
]
