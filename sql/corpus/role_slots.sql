-- One row per role: its documents, units and tokens, its slots, and how many of these can become examples.
select
    role,
    (select count(*) from documents where documents.role = roles.role) as n_documents,
    (select count(distinct documents.unit) from documents where documents.role = roles.role) as n_units,
    (select coalesce(sum(documents.n_tokens), 0)::bigint from documents where documents.role = roles.role)
        as n_tokens,
    (select count(*) from slots where slots.role = roles.role) as n_slots,
    (select count(*) from slots where slots.role = roles.role and slots.is_candidate) as n_candidates
from (values ('train'), ('test')) as roles (role)
