-- One row per text, at most $n, whose embedding is most similar to that of the search: their cosine.
select meanings.explanation, array_cosine_similarity(meanings.vector, asked_meaning.vector) as similarity
from meanings
cross join asked_meaning
order by similarity desc, meanings.explanation
limit $n
