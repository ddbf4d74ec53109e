"""Near neighbours of every feature by the cosine of their decoder directions: exact, and in bounded memory.

Every product is computed once, in the dtype that this machine multiplies fastest (bfloat16, where it has the
instructions for it), in square blocks above the diagonal; a block serves its rows and its columns. The
rounding error of each product is bounded, so a pair is dropped only if it is provably not among the nearest. The
rest, some tens of pairs per feature, is computed again in float64, which decides. For unit vectors a, b rounded to
a', b', with e_a = |a - a'|, d their width, and p the product as it was computed:

    |p - a.b| <= e_a |b'| + e_b + g + u |p|

where g = (d + 2) 2^-24 |a'| |b'| bounds the float32 sums (Higham 2002, section 3.1), and u is half the distance
of two neighbouring numbers of the dtype at 1, in which p is stored.
"""

from dataclasses import replace
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import linear

from pipeline.features.weights import of_weights
from pipeline.lake import Lake, Published
from pipeline.models.precision import faster_dtype
from pipeline.progress import progress
from pipeline.sae import load_sae

_N_NEIGHBOURS = 10

LEAST_COSINE = 0.01
"""The least cosine of a neighbour. Features of real SAEs have nearer ones; in a dictionary of orthogonal
directions (a model's neurons) all pairs tie at 0, and their ids would decide which of them count. It is twice the
rounding error of the first products in bfloat16, so such pairs are not computed again."""

_PANEL = 4096
"""Features a side of a block of products."""

_GROUP = 64
"""Products whose maximum is checked first: if it is too small, all are skipped."""

_MAX_PENDING = 1 << 23
"""Maximum number of pairs waiting for float64; beyond it they are settled early."""

_PAIRS_AT_ONCE = 256
"""Few enough that their vectors stay in the processor's cache."""


class Neighbours(NamedTuple):
    """Pairs sorted by (feature, rank): feature, neighbour and rank (from 1) int64, cosine float64, each [n]."""

    feature: Tensor
    neighbour: Tensor
    rank: Tensor
    cosine: Tensor


@of_weights
def write_feature_neighbours(lake: Lake, sae: str) -> Published:
    """Write each feature's nearest others, ten at most.

    Figures: the median cosine of the nearest, and the number of features with a near copy.
    """
    own = lake.config.sae(sae)
    found = nearest(load_sae(own).decoder)
    columns = {
        "sae": pa.array([sae] * len(found.feature)),
        "feature": found.feature.to(torch.int32).numpy(),
        "neighbour": found.neighbour.to(torch.int32).numpy(),
        "rank": found.rank.to(torch.int32).numpy(),
        "cosine": found.cosine.numpy(),
    }
    published = lake.write("feature_neighbours", pa.table(columns), sae=sae)
    first = found.cosine[found.rank == 1]
    figures: dict[str, float | int | str] = {
        "median_nearest_cosine": round(float(first.median()), 3) if len(first) else 0.0,
        "features_with_a_copy_above_0.9": int((first > 0.9).sum()),
    }
    return replace(published, figures=figures)


@torch.inference_mode()
def nearest(directions: Tensor, n_neighbours: int = _N_NEIGHBOURS, dtype: torch.dtype | None = None) -> Neighbours:
    """The nearest others of each row of directions [n, d] by cosine in float64; ties go to the smaller index.

    Only rows with a cosine of LEAST_COSINE or more count, so a row may have fewer. A row of zeros has no
    direction: it has no neighbours, and is not one. `dtype`, that of the first products, affects the time and
    never the result; if left out, it is the faster one on this machine.
    """
    search = _Search(directions, n_neighbours, dtype or faster_dtype(directions.shape[1]))
    starts = range(0, search.n_rows, _PANEL)
    n_blocks = len(starts) * (len(starts) + 1) // 2
    with progress(n_blocks, "cosines", "blocks") as bar:
        for first in starts:
            for second in starts[first // _PANEL :]:
                search.look_at(first, second)
                bar.update(1)
    return search.result()


class _Search:
    """What is known while the blocks go by: bounds for each row, and the pairs that may be among its nearest."""

    def __init__(self, directions: Tensor, n_neighbours: int, dtype: torch.dtype) -> None:
        norms = torch.cat([part.double().norm(dim=1) for part in torch.split(directions, _PANEL)])  # [n]
        self._features = norms.nonzero().flatten()  # [n_rows], those that have a direction
        self.n_rows = len(self._features)
        self._directions = directions
        self._norms = norms
        self._n_neighbours = n_neighbours
        width = directions.shape[1]
        # Rounded unit vectors, and below them zeros up to a whole group: [n_rows + padding, d].
        self._rounded = torch.zeros((-(-self.n_rows // _GROUP) * _GROUP, width), dtype=dtype)
        errors = torch.zeros(self.n_rows, dtype=torch.float64)
        for start in range(0, self.n_rows, _PANEL):
            features = self._features[start : start + _PANEL]
            unit = directions[features].double() / norms[features, None]
            rounded = unit.to(dtype)
            self._rounded[start : start + len(unit)] = rounded
            errors[start : start + len(unit)] = (unit - rounded.double()).norm(dim=1)
        longest = 1 + (float(errors.max()) if len(errors) else 0)  # of a rounded vector
        sums = (width + 2) * 2.0**-24 * longest**2
        self._error = errors * longest + float(longest - 1) + sums  # [n_rows]
        self._store_error = torch.finfo(dtype).eps / 2
        # The largest products of each row so far; the least of them bounds its n-th nearest from below.
        self._largest = torch.full((self.n_rows, n_neighbours), -torch.inf, dtype=dtype)
        self._floor = torch.full((self.n_rows,), LEAST_COSINE, dtype=torch.float64)
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []  # rows int32, columns int32, products
        self._n_pending = 0
        self._found = _no_pairs()

    def look_at(self, first: int, second: int) -> None:
        """Take in the products of the panels that begin at two rows."""
        n_columns = min(_PANEL, self.n_rows - second)
        rows = self._rounded[first : min(first + _PANEL, self.n_rows)]
        products = linear(rows, self._rounded[second : second + _PANEL])
        products[:, n_columns:] = -torch.inf  # padding is not a neighbour
        if first == second:
            products.fill_diagonal_(-torch.inf)  # nor is a feature its own
        # Maxima over a dimension in the middle of memory are slow, so that each side has its own way to them.
        self._take(products, torch.unflatten(products, 1, (_GROUP, -1)).amax(1), first, second)
        if first != second:
            products = products[:, :n_columns]
            self._take(products.T, torch.unflatten(products, 0, (_GROUP, -1)).amax(0).T, second, first)
        if self._n_pending > _MAX_PENDING:
            self._settle()

    def result(self) -> Neighbours:
        """The nearest of every row, once all blocks have been looked at."""
        self._settle()
        return self._found

    def _take(self, products: Tensor, maxima: Tensor, first: int, second: int) -> None:
        """Keep the pairs of a block [rows, columns] that may be among the nearest of its rows.

        `maxima` [rows, n_groups] are over groups of columns that are n_groups apart.
        """
        own = slice(first, first + len(products))
        groups = torch.unflatten(products, 1, (_GROUP, -1))  # [rows, _GROUP, n_groups]
        largest = torch.cat([self._largest[own], maxima], dim=1)
        self._largest[own] = largest.topk(self._n_neighbours, dim=1).values
        cut = self._cut(own)[:, None]  # [rows, 1]
        rows, group = (maxima >= cut).nonzero(as_tuple=True)
        members = groups[rows, :, group]  # [n_hits, _GROUP]
        hit, member = ((members >= cut[rows]) & (members > -torch.inf)).nonzero(as_tuple=True)
        columns = second + member * groups.shape[2] + group[hit]
        kept = (first + rows[hit]).to(torch.int32), columns.to(torch.int32), members[hit, member]
        self._pending.append(kept)
        self._n_pending += len(columns)

    def _cut(self, rows: slice | Tensor) -> Tensor:
        """The least product, float64 [rows], whose cosine may still be among the nearest of its row.

        With p_n the n-th largest product, the n-th largest cosine is at least floor = p_n - error - u |p_n|. A
        cosine of at least floor has a product p with p + u |p| >= floor - error.
        """
        least = self._largest[rows, -1].double()
        floor = torch.maximum(least - self._error[rows] - self._store_error * least.abs(), self._floor[rows])
        reach = floor - self._error[rows]
        return torch.where(reach >= 0, reach / (1 + self._store_error), reach / (1 - self._store_error))

    def _settle(self) -> None:
        """Compute the pending pairs that may still count in float64, and keep each row's nearest."""
        parts = zip(*self._pending, strict=True) if self._pending else ((_NONE,), (_NONE,), (_NONE,))
        rows, columns, products = (torch.cat(part) for part in parts)
        self._pending, self._n_pending = [], 0
        # A few tens of pairs a row are left of some hundred.
        kept = torch.cat(
            [
                product >= self._cut(row.long())
                for row, product in zip(torch.split(rows, 1 << 20), torch.split(products, 1 << 20), strict=True)
            ]
        )
        rows, columns = rows[kept].long(), columns[kept].long()
        order = rows.argsort()
        rows, columns = rows[order], columns[order]
        features, neighbours = self._features[rows], self._features[columns]
        cosines = [
            (self._directions[one].double() * self._directions[other].double()).sum(dim=1)
            / (self._norms[one] * self._norms[other])
            for one, other in zip(
                torch.split(features, _PAIRS_AT_ONCE), torch.split(neighbours, _PAIRS_AT_ONCE), strict=True
            )
        ]
        cosine = torch.cat([self._found.cosine, *cosines])
        is_near = cosine >= LEAST_COSINE
        self._found = _nearest_of(
            torch.cat([self._found.feature, features])[is_near],
            torch.cat([self._found.neighbour, neighbours])[is_near],
            cosine[is_near],
            self._n_neighbours,
        )
        last = self._found.rank == self._n_neighbours
        rows = torch.searchsorted(self._features, self._found.feature[last])
        # Less than the rounding of a float64 sum, so that a tie is never cut off.
        self._floor[rows] = self._found.cosine[last] - 1e-12


_NONE = torch.empty(0, dtype=torch.int32)


def _no_pairs() -> Neighbours:
    none = torch.empty(0, dtype=torch.int64)
    return Neighbours(none, none, none, none.double())


def _nearest_of(feature: Tensor, neighbour: Tensor, cosine: Tensor, n_neighbours: int) -> Neighbours:
    """The nearest of each feature among pairs in any order, the smaller index first where cosines are equal."""
    order = neighbour.argsort()
    order = order[cosine[order].argsort(stable=True, descending=True)]
    order = order[feature[order].argsort(stable=True)]
    feature, neighbour, cosine = feature[order], neighbour[order], cosine[order]
    starts = torch.searchsorted(feature, feature)
    rank = torch.arange(len(feature)) - starts + 1
    kept = rank <= n_neighbours
    return Neighbours(feature[kept], neighbour[kept], rank[kept], cosine[kept])
