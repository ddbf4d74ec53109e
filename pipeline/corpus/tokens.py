"""The tokens of the subject model's tokenizer, with the bytes that each spells."""

import pyarrow as pa

from pipeline.lake import Lake, Published
from pipeline.models.load import load_tokenizer
from pipeline.models.token_bytes import token_bytes


def write_tokens(lake: Lake) -> Published:
    """Write the vocabulary with each token's own bytes, by the tokenizer's own rules."""
    tokenizer = load_tokenizer(lake.config.subject)
    special = set(tokenizer.all_special_ids)
    spell = token_bytes(tokenizer)
    n_tokens = len(tokenizer)
    spelled = [spell(token_id) for token_id in range(n_tokens)]
    table = pa.table(
        {
            "token_id": range(n_tokens),
            "text": [each.decode("utf-8", errors="backslashreplace") for each in spelled],
            "bytes": spelled,
            "is_special": [token_id in special for token_id in range(n_tokens)],
        }
    )
    return lake.write("tokens", table)
