"""Small real parts: a subject model, an SAE whose right answers are known, a corpus, an experiment.

Nothing here is a mock. The subject is a three-layer Llama with random weights, whose embedding is set by
hand so that the SAE at `embed_tokens` has firings that can be told from a token alone:

    feature 0 (STOP)    fires on " stop" only, with 4
    feature 1 (COLOUR)  fires on " red", " green" and " blue", with 1, 2 and 3
    feature 2 (NEVER)   never fires
    feature 3 (ALWAYS)  fires on every token, with 1
    feature 4 (ANIMAL)  fires on forty names of animals, with 0.25 to 2
    feature 5 and up    never fire

`hand_set_answers` gives the same by token id. `write_experiment` puts it all into one folder:

    config = load_config(write_experiment(tmp_path, corpus={"shards": 3}))
"""

import json
import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from pipeline.asking import unfinished
from pipeline.config import Config
from pipeline.lake import Lake
from pipeline.pilot.write import write_scorer_rhos
from pipeline.sources import fix_sources, recorded_lake

STOP, COLOUR, NEVER, ALWAYS, ANIMAL = range(5)
N_FEATURES = 8
WIDTH = 32
CONTEXT_LENGTH = 64

COLOURS = ("red", "green", "blue")
# fmt: off
ANIMALS = (
    "ant", "ape", "bat", "bear", "bee", "bird", "boar", "cat", "cow", "crab", "crow", "deer", "dog", "dove",
    "duck", "eel", "elk", "fish", "flea", "fly", "fox", "frog", "goat", "goose", "hare", "hen", "horse",
    "lion", "lynx", "mole", "mouse", "mule", "newt", "owl", "ox", "pig", "rat", "seal", "swan", "wolf",
)
PLAIN_WORDS = (
    "and", "the", "of", "a", "to", "in", "that", "it", "was", "for", "on", "are", "with", "as", "his",
    "they", "at", "be", "this", "from", "have", "or", "by", "one", "had", "not", "but", "what", "all",
    "were", "when", "we", "there", "can", "an", "your", "which", "their", "said", "if", "do", "will",
    "each", "about", "how", "up", "out", "them", "then",
)
# fmt: on
OPENERS = ("today", "often", "here")
OTHER_SCRIPTS = 'naïve café "quoted" it\'s\n\n\temoji 👩‍🚀 and 日本語, 한국어; a ½ dash…\r\n  two  spaces'

_FIRST_FREE = 4
"""Coordinates of the embedding below this one are read by the hand-set SAE; the others are noise."""


def write_tiny_subject(folder: Path) -> Path:
    """Save a tiny causal language model and its tokenizer of some 450 tokens, for `from_pretrained`."""
    tokenizer = _train_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=1024,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.eos_token_id,
                initializer_range=0.3,
            )
        )
        noise = torch.randint(-4, 5, (len(tokenizer), WIDTH)) / 8
    noise[:, :_FIRST_FREE] = _hand_set_coordinates(tokenizer)
    model.model.embed_tokens.weight.data.copy_(noise)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_learned_positions(folder: Path, n_positions: int) -> Path:
    """Save a tiny GPT-2, which has a vector for each position and none beyond, with the tiny model's tokenizer."""
    tokenizer = _train_tokenizer()
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=len(tokenizer), n_embd=WIDTH, n_layer=2, n_head=4, n_positions=n_positions, **ids
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_larger_subject(folder: Path, tokenizer_folder: Path, *, is_tied: bool, shard: str = "5GB") -> Path:
    """Save a Llama whose matrices are all of sizes that can be int8, with the tokenizer of another folder."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=512,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                attention_bias=True,
                tie_word_embeddings=is_tied,
                eos_token_id=tokenizer.eos_token_id,
                initializer_range=0.2,
            )
        )
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder


def hand_set_answers(subject_folder: Path) -> dict[int, dict[int, float]]:
    """The activation by token id of each feature of the hand-set SAE that ever fires."""
    tokenizer = AutoTokenizer.from_pretrained(subject_folder)
    coordinates = _hand_set_coordinates(tokenizer)
    return {
        feature: {token_id: value for token_id, value in enumerate(coordinates[:, place].tolist()) if value > 0}
        for feature, place in _READS.items()
    }


def write_hand_set_sae(
    folder: Path,
    *,
    n_features: int = N_FEATURES,
    k: int | None = None,
    scale: float = 1.0,
    dead_ids: int = 0,
    shared: float = 0.11,
) -> Path:
    """Save the SAE that the module's docstring describes, in sparsify layout; d_in 32.

    Args:
        folder: Where to; made if it is not there.
        n_features: At least 5; those from 5 on never fire.
        k: Features kept a token; all of them if left out, so that most kept values are 0.
        scale: What every activation is multiplied with.
        dead_ids: This many dead features come first, so that STOP has this id, COLOUR the next, ...
        shared: What all directions have in common, so that they are neighbours: orthogonal ones have none.
    """
    encoder = torch.zeros(dead_ids + n_features, WIDTH)
    bias = torch.full((dead_ids + n_features,), -1.0)
    b_dec = torch.zeros(WIDTH)
    b_dec[:_FIRST_FREE] = 0.25  # taken off the input and given back by the bias: both have to be right
    for feature, place in _READS.items():
        encoder[dead_ids + feature, place] = scale
        bias[dead_ids + feature] = 0.25 * scale
    decoder = encoder.clone()
    decoder[[dead_ids + feature for feature in _READS], -1] = shared * scale
    return write_sparsify(folder, encoder, bias, decoder, b_dec, k or dead_ids + n_features)


def write_random_sae(
    folder: Path, *, n_features: int = 64, d_in: int = WIDTH, k: int = 4, seed: int = 0, **cfg: Any
) -> Path:
    """Save an SAE with random weights in sparsify layout, for `layers.0` and the like."""
    generator = torch.Generator().manual_seed(seed)
    encoder = torch.randn(n_features, d_in, generator=generator)
    bias = torch.randn(n_features, generator=generator) / 8
    b_dec = torch.randn(d_in, generator=generator) / 8
    decoder = torch.nn.functional.normalize(encoder, dim=1)
    return write_sparsify(folder, encoder, bias, decoder, b_dec, k, **cfg)


def write_sparsify(
    folder: Path, encoder: Tensor, bias: Tensor, decoder: Tensor, b_dec: Tensor, k: int, **cfg: Any
) -> Path:
    """Save tensors as eai-sparsify does: encoder and decoder [n, d_in], bias [n], b_dec [d_in]."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"encoder.weight": encoder, "encoder.bias": bias, "W_dec": decoder, "b_dec": b_dec}
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, folder / "sae.safetensors")
    written = {
        "activation": "topk",
        "expansion_factor": 32,
        "normalize_decoder": True,
        "num_latents": encoder.shape[0],
        "k": k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": encoder.shape[-1],
        **cfg,
    }
    (folder / "cfg.json").write_text(json.dumps(written), encoding="utf-8")
    return folder


def corpus_texts(n_documents: int = 40, n_sentences: int = 16, seed: int = 0) -> list[str]:
    """English-like texts: 2 % of the words are "stop", 4 % colours, 8 % animals; 4 sentences a paragraph."""
    draw = random.Random(seed)
    kinds = ((("stop",), 0.02), (COLOURS, 0.04), (ANIMALS, 0.08), (PLAIN_WORDS, 0.86))
    words, weights = zip(*kinds, strict=True)

    def sentence() -> str:
        picked = draw.choices(words, weights, k=draw.randint(5, 11))
        return " ".join([draw.choice(OPENERS), *map(draw.choice, picked)]) + "."

    return [
        "\n\n".join(
            " ".join(sentence() for _ in range(min(4, n_sentences - first))) for first in range(0, n_sentences, 4)
        )
        for _ in range(n_documents)
    ]


def write_corpus(folder: Path, *, kind: str = "text", texts: Iterable[str] | None = None, **size: int) -> Path:
    """Write texts (by default those of `corpus_texts(**size)`) as a folder of .txt files, .jsonl or .parquet.

    Returns the path that `corpus.sources` takes.
    """
    texts = corpus_texts(**size) if texts is None else list(texts)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"text": text, "book": f"book {number // 2}"} for number, text in enumerate(texts)]
    if kind == "jsonl":
        path = folder / "corpus.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path
    if kind == "parquet":
        path = folder / "corpus.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    for number, text in enumerate(texts):
        (folder / f"{number:04d}.txt").write_bytes(text.encode())
    return folder


def write_experiment(folder: Path, **sections: Any) -> Path:
    """Write an experiment's YAML file, and what it refers to if the sections do not say: all below `folder`.

    A section that is a dict is merged into the defaults, anything else replaces them: `corpus={"shards": 3}`,
    `saes=[...]`, `seed=1`. The subject model takes half a second; give `subject={"model": ...}` to share one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "name": "tiny",
        "subject": {"model": str(folder / "subject"), "dtype": "float32"},
        "saes": [hand_set_entry(folder / "sae")],
        "corpus": {
            "sources": [{"kind": "text", "path": str(folder / "corpus")}],
            "context_length": CONTEXT_LENGTH,
            "shards": 2,
        },
        "explaining": {"dtype": "float32", "n_examples": 4, "max_tokens": 4, "controls": 2},
        "scoring": {"dtype": "float32", "n_questions": 4, "pilot_features": 0},
        "machine": {"lake": str(folder / "lake"), "device": "cpu", "batch_tokens": 1024},
    }
    for name, section in sections.items():
        merges = isinstance(section, Mapping) and isinstance(values.get(name), Mapping)
        values[name] = {**values[name], **section} if merges else section
    for sae in values["saes"]:  # most are hand-set or random, and reconstruct nothing
        sae.setdefault("fit", "accept")
    for section in ("explaining", "scoring"):  # the tiny model explains and scores too
        values[section].setdefault("model", values["subject"]["model"])
    if values["subject"]["model"] == str(folder / "subject") and not (folder / "subject").exists():
        write_tiny_subject(folder / "subject")
    if "saes" not in sections and not (folder / "sae").exists():
        write_hand_set_sae(folder / "sae")
    if "sources" not in sections.get("corpus", {}) and not (folder / "corpus").exists():
        write_corpus(folder / "corpus")
    path = folder / f"{values['name']}.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def hand_set_entry(folder: Path, name: str = "hand-set", n_features: int = N_FEATURES) -> dict[str, Any]:
    """The entry of `saes` for an SAE at the embedding."""
    return {"name": name, "source": str(folder), "hookpoint": "embed_tokens", "n_features": n_features}


def open_lake(config: Config) -> Lake:
    """The experiment's lake with its sources fixed, as a first run leaves it; no table is made yet.

    But for the scorers' rhos where the config wants no pilot: they are the config's then.
    """
    lake = Lake(config, fix_sources(config))
    for sae in config.sae_names if config.scoring.pilot_features == 0 else ():
        if not lake.has("scorer_rhos", sae=sae):
            _write_rhos_of_config(lake, sae)
    return lake


def _write_rhos_of_config(lake: Lake, sae: str) -> None:
    """The rhos of an SAE without a pilot; they depend on the config alone, so that each config's are made once."""
    key = (sae, lake.config.scoring.model_dump_json(), lake.config.seed)
    if key not in _RHOS_MADE:
        write_scorer_rhos(lake, sae)
        _RHOS_MADE[key] = pq.read_table(lake.paths("scorer_rhos", sae=sae))
    else:
        lake.write_parts("scorer_rhos", _RHOS_MADE[key], sae=sae)


def stored(lake: Lake, table: str, **partition: Any) -> pl.DataFrame:
    """The rows of a partition in the order in which they are stored, plug-in after plug-in."""
    paths = [lake.path(table, part=part, **partition) for part in lake.parts(table)]
    return pl.concat([pl.read_parquet(path) for path in paths])


def rows_of(lake: Lake, sql: str) -> list[dict[str, Any]]:
    """The rows of a select over the lake's views: `rows_of(lake, "from documents")`."""
    with lake.connect(tables=re.findall(r"\w+", sql)) as connection:
        return connection.sql(sql).pl().to_dicts()


def unfinished_batches(config: Config) -> list[tuple[str, int]]:
    """SAE and number of each batch that a run would go on with, in a lake as its last run left it."""
    return unfinished.unfinished_batches(recorded_lake(config))


_RHOS_MADE: dict[tuple[Any, ...], pa.Table] = {}

_READS = {STOP: 1, COLOUR: 2, ALWAYS: 0, ANIMAL: 3}
"""The coordinate of the embedding that each feature reads."""


def _hand_set_coordinates(tokenizer: Any) -> Tensor:
    """The coordinates that the hand-set SAE reads, float32 [n_tokens, 4]; exact in bfloat16 and float16."""
    coordinates = torch.zeros(len(tokenizer), _FIRST_FREE)
    coordinates[:, _READS[ALWAYS]] = 1.0
    strengths = {
        STOP: {"stop": 4.0},
        COLOUR: {word: 1.0 + number for number, word in enumerate(COLOURS)},
        ANIMAL: {word: 0.25 * (1 + number % 8) for number, word in enumerate(ANIMALS)},
    }
    for feature, words in strengths.items():
        for word, strength in words.items():
            [token_id] = tokenizer(" " + word, add_special_tokens=False).input_ids  # one token each
            coordinates[token_id, _READS[feature]] = strength
    return coordinates


def _train_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer in which each word of the corpus is one token with its space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        min_frequency=2,
        special_tokens=["<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = ("stop", *COLOURS, *ANIMALS, *PLAIN_WORDS, *OPENERS)
    tokenizer.train_from_iterator([" ".join(["", *words, *words])], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>")
