-- One row: features of the SAE that are routed to an LLM.
select count(*) as n_features from feature_routes where sae = $sae and route = 'llm'
