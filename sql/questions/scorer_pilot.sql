-- One row: what the pilot determined for scorer $scorer (scorer_rhos): the form of its prompts, and the
-- probability from which its answer counts as yes. Either is null where the pilot did not determine it; there is
-- no row before a pilot.
select form, threshold
from scorer_rhos
where sae = $sae and scorer = $scorer
