-- One row: what the pilot has told of scorer $scorer (scorer_rhos): the form of its prompts, and the probability
-- from which it is taken to say yes. Either is null where the pilot told none; there is no row before a pilot.
select form, threshold
from scorer_rhos
where sae = $sae and scorer = $scorer
