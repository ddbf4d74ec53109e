-- One row per figure of scrambled_contexts: the share that fires, among random tokens and in real text, and the
-- rate on filler tokens.
select
    unnest(['candidates_verified', 'share_active', 'share_active_in_text', 'share_of_fillers_active']) as figure,
    unnest([
        count(distinct feature), round(sum(n_active) / nullif(sum(n_contexts), 0), 3),
        round(sum(fire_share * n_contexts) / nullif(sum(n_contexts), 0), 3),
        round(sum(n_fillers_active) / nullif(sum(n_fillers), 0), 5)
    ]) as value
from scrambled_contexts
