-- One row per text, $n at most, whose embedding is most like that of what is searched for: their cosine.
select meanings.explanation, array_cosine_similarity(meanings.vector, asked_meaning.vector) as similarity
from meanings
cross join asked_meaning
order by similarity desc, meanings.explanation
limit $n
