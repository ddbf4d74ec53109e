-- One row per feature: the first route that applies, and the reason.
-- Statistics are of train documents from position 1 on, as for rules and examples. A feature that fires often on
-- position 0 and rarely elsewhere is positional all the same.
-- A rule of token sets is our unigram filter. The post's own thresholds decide a route only where post_filters
-- names them.
with counted as (
    select
        *,
        least(n_slots_train, n_slots_test) < $routing_min_slots
        or least(n_documents_train, n_documents_test) < $routing_min_documents as is_too_rare,
        n_active_first >= $heuristics_min_firings and 2 * n_active_first > n_active and is_too_rare as is_of_first
    from feature_stats
),
judged as (
    select
        counted.*,
        feature_rules.rule,
        feature_rules.kind,
        feature_rules.train_precision,
        feature_rules.train_recall,
        feature_rules.train_f1,
        feature_rules.always_f1,
        case
            when n_active = 0 then 'dead'
            when density_train > $routing_dense then 'dense'
            when n_active_train >= $heuristics_min_firings and position_score > $routing_positional
            then 'positional'
            when is_of_first then 'positional'
            when is_positional and list_contains($routing_post_filters::varchar[], 'positional') then 'positional'
            when is_too_rare then 'too_rare'
            when is_unigram and list_contains($routing_post_filters::varchar[], 'unigram') then 'unigram'
            when is_previous_token and list_contains($routing_post_filters::varchar[], 'previous_token')
            then 'previous_token'
            when train_f1 >= $routing_rule_f1 and train_f1 >= always_f1 + $routing_rule_gain then 'rule'
            else 'llm'
        end as route
    from counted
    left join feature_rules
        on feature_rules.feature = counted.feature
        and feature_rules.sae = counted.sae
        and feature_rules.is_chosen
)
select
    sae,
    feature,
    route,
    case route
        when 'dead' then 'never fires in this corpus'
        when 'dense' then format(
            'fires on {:.1f} % of the train tokens, more than {:.1f} %',
            100 * density_train, 100 * $routing_dense::double
        )
        when 'positional' then
        if(
            is_of_first,
            format(
                'fires on position 0 and hardly anywhere else: {} of {} firings, and in {} train and {} test '
                || 'slots besides',
                n_active_first, n_active, n_slots_train, n_slots_test
            ),
            format(
                'its firing depends on the position: corrected score {:.3f} (cut {:.3f}), raw with '
                || 'position 0 {:.4f} nats; {} of {} firings on position 0',
                coalesce(position_score, 0), $routing_positional::double, position_information_nats,
                n_active_first, n_active
            )
        )
        when 'too_rare' then format(
            'fires in {} train and {} test slots of {} and {} documents; {} slots of {} documents are needed in '
            || 'each',
            n_slots_train, n_slots_test, n_documents_train, n_documents_test,
            $routing_min_slots, $routing_min_documents
        )
        when 'unigram' then format(
            'unigram by the post''s cut: {} tokens among its top firings, at most {} (F1 of its rule {:.2f})',
            n_top_tokens, $heuristics_max_tokens, coalesce(train_f1, 0)
        )
        when 'previous_token' then format(
            'previous token by the post''s cut: {} tokens before its top firings, at most {}',
            n_top_previous_tokens, $heuristics_max_tokens
        )
        when 'rule' then format(
            '{}it fires where {}: train F1 {:.2f} (precision {:.2f}, recall {:.2f}; always firing {:.2f})',
            if(kind = 'token', 'unigram filter: ', ''), rule, train_f1, train_precision, train_recall, always_f1
        )
        else
            case
                when train_f1 is null then 'no token repeats often enough for a rule'
                when train_f1 < $routing_rule_f1 then format(
                    'no rule reaches train F1 {:.2f}; the best has {:.2f}',
                    $routing_rule_f1::double, train_f1
                )
                else
                    format(
                        'its rule has train F1 {:.2f}, less than {:.2f} above the {:.2f} of always firing',
                        train_f1, $routing_rule_gain::double, always_f1
                    )
            end
    end as reason
from judged
order by sae, feature
