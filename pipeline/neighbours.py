"""Near neighbours of every feature by the cosine of their decoder directions, exact, in blocks."""

import pyarrow as pa
import torch

from pipeline.lake import Lake, Published
from pipeline.sae import load_sparse_coder

N_NEIGHBOURS = 10
_BLOCK_BYTES = 1 << 28
"""Bound on the cosines that exist at once."""


def write_feature_neighbours(lake: Lake, sae: str) -> Published:
    """Write each feature's ten nearest others. Figure: the median cosine of the nearest."""
    own = lake.config.sae(sae)
    directions = torch.nn.functional.normalize(load_sparse_coder(own.source, own.format).decoder, dim=1)
    n_features = directions.shape[0]
    n_neighbours = min(N_NEIGHBOURS, n_features - 1)
    neighbours, cosines = [], []
    block = max(1, _BLOCK_BYTES // (4 * n_features))
    for start in range(0, n_features, block):
        block_cosines = directions[start : start + block] @ directions.T  # [block, n_features]
        rows = torch.arange(block_cosines.shape[0])
        block_cosines[rows, start + rows] = -2  # no feature is its own neighbour
        values, indices = block_cosines.topk(n_neighbours, dim=1)
        cosines.append(values)
        neighbours.append(indices)
    nearest = torch.cat(cosines)  # [n_features, n_neighbours]
    ranks = torch.arange(1, n_neighbours + 1).expand(n_features, -1)
    features = torch.arange(n_features)[:, None].expand(-1, n_neighbours)
    n_rows = n_features * n_neighbours
    columns = {
        "sae": pa.array([sae] * n_rows),
        "feature": features.flatten().to(torch.int32).numpy(),
        "neighbour": torch.cat(neighbours).flatten().to(torch.int32).numpy(),
        "rank": ranks.flatten().to(torch.int32).numpy(),
        "cosine": nearest.flatten().numpy(),
    }
    published = lake.write("feature_neighbours", pa.table(columns), sae=sae)
    median = round(float(nearest[:, 0].median()), 3) if n_neighbours else 0.0
    return Published("feature_neighbours", published.path, published.n_rows, {"median_nearest_cosine": median})
