-- One row: the probability from which scorer $scorer is taken to say yes, as its pilot has told (scorer_rhos); no
-- row where it had none.
select threshold
from scorer_rhos
where sae = $sae and scorer = $scorer and threshold is not null
