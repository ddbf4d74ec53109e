-- What a thing is drawn by: the hash, from 0 to below 2^64, of the seed and of a row that identifies the thing and
-- ends with the purpose of the draw. Things are taken in ascending order, or where it is below a share of 2^64.
--   draw_hash($seed, ($sae, feature, 'selected'))
-- DuckDB combines the hashes of several values from left to right, the last by xor. So the hashes for two purposes
-- differ in the same bits for every thing, and the two orders are related: a thing early in one tends to be early
-- in the other. Where the same things are drawn a second time, that draw is by hash(draw_hash(...)), which mixes
-- the bits once more. Whole numbers of any width have the same hash.
create macro draw_hash(seed, identity) as hash(struct_concat(row(seed::bigint), identity))
