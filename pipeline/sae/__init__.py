"""Sparse autoencoders: every file format becomes one `SparseCoder`."""

from pipeline.sae.coder import Encoding, SparseCoder
from pipeline.sae.load import fetch_sae, load_sparse_coder, sae_files, sae_format

__all__ = ["Encoding", "SparseCoder", "fetch_sae", "load_sparse_coder", "sae_files", "sae_format"]
