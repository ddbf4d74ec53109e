-- One row per test window of the examples: its tokens.
select example_id, token_ids from examples where role = 'test'
