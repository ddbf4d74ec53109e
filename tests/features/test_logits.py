"""Promoted and suppressed tokens: the way from a direction to the logits, and who takes it."""

import json

import pytest
import torch
from sae_layouts import LAYOUTS, random_weights, write_json
from tiny import ANIMAL, COLOUR, NEVER, STOP, open_lake, rows_of, write_hand_set_sae
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CohereConfig,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    OlmoConfig,
)

from pipeline.config import SubjectConfig
from pipeline.corpus.tokens import write_tokens
from pipeline.features import logits
from pipeline.features.logits import extreme_logits, write_feature_logits
from pipeline.sae.write import write_saes
from pipeline.subject import unembedding
from pipeline.subject.hookpoints import written_hookpoint
from pipeline.subject.unembedding import Unembedding, load_unembedding, path_to_logits

CPU = torch.device("cpu")


def save(model, folder, tiny_subject, **options):
    """Save a model with gains that are not 1, and the tiny subject's tokenizer."""
    for name, parameter in model.named_parameters():
        if "norm" in name or "ln_f" in name:
            torch.nn.init.uniform_(parameter, 0.5, 2)
    model.save_pretrained(folder, **options)
    AutoTokenizer.from_pretrained(tiny_subject).save_pretrained(folder)
    return SubjectConfig(model=str(folder), dtype="float32")


@pytest.fixture
def subjects(tiny_subject, tmp_path):
    """A function that saves a model of an architecture; its config and the model itself."""

    def make(kind, **options):
        torch.manual_seed(0)
        if kind in {"llama", "tied llama"}:
            model = AutoModelForCausalLM.from_pretrained(tiny_subject)
            if kind == "tied llama":
                model.config.tie_word_embeddings = True
                model.tie_weights()
        elif kind == "gpt2":
            model = GPT2LMHeadModel(GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4, n_positions=64))
        elif kind in {"cohere", "olmo"}:  # LayerNorms that are no nn.LayerNorm, the one of OLMo without a weight
            size = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
            ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
            made = CohereConfig if kind == "cohere" else OlmoConfig
            model = AutoModelForCausalLM.from_config(made(**size, **ids, intermediate_size=64))
        else:
            size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8}
            heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
            model = Gemma2ForCausalLM(Gemma2Config(vocab_size=100, final_logit_softcapping=None, **size, **heads))
        return save(model, tmp_path / kind, tiny_subject, **options), model.double().eval()

    return make


def final_norm(model):
    return model.base_model.ln_f if hasattr(model.base_model, "ln_f") else model.base_model.norm


# The unembedding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "tied llama", "gpt2", "gemma2", "cohere", "olmo"])
def test_a_direction_moves_the_logits_as_the_model_itself_says(subjects, kind):
    """The derivative of the model's own last norm and head, at a state that the direction does not lengthen."""
    config, model = subjects(kind)
    found = load_unembedding(config, "cpu")
    assert found.centres == (kind in {"gpt2", "cohere", "olmo"})
    direction, state = torch.randn(2, 32, dtype=torch.float64)
    centred = direction - direction.mean() if found.centres else direction
    state = state - state.mean()
    state -= centred * (state @ centred) / (centred @ centred)
    rms = state.square().mean().sqrt()

    def head(x):
        return model.get_output_embeddings()(final_norm(model)(x))

    with torch.no_grad():
        slope = (head(state + 0.01 * direction) - head(state - 0.01 * direction)) / 0.02 * rms
    ours = found.weight.double() @ found.project(direction[None])[0].double()
    torch.testing.assert_close(ours, slope, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "tied llama", "gpt2", "olmo"])
def test_shards_and_a_loaded_model_give_what_one_file_gives(subjects, kind, monkeypatch):
    whole = load_unembedding(subjects(kind)[0], "cpu")
    config, _ = subjects(kind, max_shard_size="20KB")
    assert len(set(unembedding._stored_tensors(config).values())) > 1
    sharded = load_unembedding(config, "cpu")
    monkeypatch.setattr(unembedding, "_stored_tensors", lambda _: {})
    loaded = load_unembedding(config, "cpu")
    for other in (sharded, loaded):
        assert torch.equal(other.weight.float(), whole.weight.float())
        torch.testing.assert_close(other.gain, whole.gain, rtol=1e-5, atol=1e-5)
        assert other.centres == whole.centres


def test_no_model_is_loaded_where_its_files_give_the_tensors_by_name(subjects, monkeypatch):
    config, _ = subjects("llama")
    monkeypatch.setattr(unembedding, "_load_model", lambda *_: pytest.fail("a model was loaded"))
    assert load_unembedding(config, "cpu").weight.shape[1] == 32


# Which directions reach it -----------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "path"), [
    ("embed_tokens", "residual"),
    ("layers.1", "residual"),
    ("layers.1.mlp", "direct"),
    ("layers.1.mlp.down_proj", "direct"),
    ("layers.1.self_attn", "direct"),
    ("layers.1.self_attn.o_proj", "direct"),
    ("layers.1.self_attn.q_proj", "none"),
    ("layers.1.mlp.up_proj", "none"),
    ("layers.1.input_layernorm", "none"),
    ("norm", "none"),
])  # fmt: skip
def test_a_module_writes_to_the_residual_stream_adds_to_it_or_does_neither(tiny_subject, module, path):
    assert path_of(SubjectConfig(model=str(tiny_subject)), module) == path


def path_of(subject, name, transcodes=False, width=32):
    return path_to_logits(subject, written_hookpoint(subject, name, transcodes=transcodes), width)


def test_a_direction_of_another_width_reaches_nothing(tiny_subject):
    assert path_of(SubjectConfig(model=str(tiny_subject)), "layers.1", width=64) == "none"


@pytest.mark.parametrize(("kind", "module", "path"), [
    ("gpt2", "h.1", "residual"), ("gpt2", "h.0.mlp.c_proj", "direct"), ("gpt2", "h.0.ln_1", "none"),
    ("gpt2", "wte", "residual"),
    ("gemma2", "layers.1", "residual"), ("gemma2", "layers.1.mlp", "none"),  # normalised before it is added
])  # fmt: skip
def test_other_architectures_are_told_apart_too(subjects, kind, module, path):
    assert path_of(subjects(kind)[0], module) == path


@pytest.mark.parametrize(("kind", "name", "transcodes", "path"), [
    ("gpt2", "resid_pre.1", False, "residual"), ("gpt2", "embed", False, "residual"),
    ("gpt2", "blocks.0.hook_resid_mid", False, "residual"),
    ("gpt2", "blocks.0.hook_mlp_out", False, "direct"),
    ("gemma2", "mlp_out.1", False, "direct"),  # after the norm it is what is added
    ("gpt2", "attn_z.0", False, "none"), ("gpt2", "mlp_in.0", False, "none"),
    ("gpt2", "mlp_in.0", True, "direct"),  # a transcoder writes what the MLP adds
    ("gemma2", "model.layers.1.post_feedforward_layernorm.output", False, "direct"),  # Gemma Scope 2's names
    ("gemma2", "model.layers.1.pre_feedforward_layernorm.output", True, "direct"),
    ("gemma2", "blocks.1.ln2.hook_normalized", True, "direct"), ("gemma2", "resid_mid.1", True, "direct"),
])  # fmt: skip
def test_a_place_writes_to_the_residual_stream_adds_to_it_or_does_neither(subjects, kind, name, transcodes, path):
    assert path_of(subjects(kind)[0], name, transcodes) == path


# The extremes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [(7, 3), (8192, 4096)])
def test_extremes_are_those_of_all_logits_less_their_mean(blocks, monkeypatch):
    monkeypatch.setattr(logits, "_BLOCK_TOKENS", blocks[0])
    monkeypatch.setattr(logits, "_BLOCK_FEATURES", blocks[1])
    weight, decoder, gain = torch.randn(40, 8), torch.randn(10, 8), torch.rand(8)
    n_tokens = 33  # the rows after it are padding
    all_logits = (decoder.double() * gain) @ weight[:n_tokens].double().T
    all_logits -= all_logits.mean(dim=1, keepdim=True)
    promoted, suppressed = extreme_logits(decoder, Unembedding(weight, gain, False), n_tokens, 10, CPU)
    for found, largest in ((promoted, True), (suppressed, False)):
        expected = all_logits.topk(10, dim=1, largest=largest)
        assert torch.equal(found.token_ids, expected.indices)
        torch.testing.assert_close(found.values.double(), expected.values, rtol=1e-5, atol=1e-5)


def test_a_vocabulary_of_fewer_tokens_is_listed_whole():
    found, _ = extreme_logits(torch.ones(2, 4), Unembedding(torch.randn(5, 4), torch.ones(4), False), 5, 10, CPU)
    assert [sorted(row) for row in found.token_ids.tolist()] == [[0, 1, 2, 3, 4]] * 2


# The table ---------------------------------------------------------------------------------------------


def written(config):
    lake = open_lake(config)
    write_saes(lake)
    write_tokens(lake)
    published = write_feature_logits(lake, "hand-set")
    return published, rows_of(lake, "from feature_logits order by feature")


def test_with_a_tied_embedding_the_hand_set_features_promote_the_tokens_they_fire_on(
    make_experiment, subjects, tmp_path, answers
):
    subject, model = subjects("tied llama")
    write_hand_set_sae(tmp_path / "sae", shared=0)
    published, rows = written(make_experiment(subject={"model": subject.model, "dtype": "float32"}))
    assert published.figures["path"] == "residual"
    gain = final_norm(model).weight[1].item()  # the coordinate that STOP reads
    [stop] = answers[STOP]
    first, second = rows[STOP]["promoted"][:2]
    assert (first["token_id"], first["text"]) == (stop, " stop")
    assert first["logit"] - second["logit"] == pytest.approx(4 * gain, rel=1e-5)
    # Less the mean: 4 of one token in the vocabulary.
    assert second["logit"] == pytest.approx(-4 * gain / len(model.lm_head.weight), rel=1e-4)
    assert [each["text"] for each in rows[COLOUR]["promoted"][:3]] == [" blue", " green", " red"]
    assert {each["token_id"] for each in rows[ANIMAL]["promoted"]} <= set(answers[ANIMAL])
    assert rows[NEVER]["promoted"] is None  # a direction of zeros
    assert len(rows[STOP]["suppressed"]) == 10


def test_where_directions_do_not_reach_the_logits_the_lists_are_null(make_experiment, tmp_path):
    write_hand_set_sae(tmp_path / "sae", shared=0)
    entry = {"name": "hand-set", "source": str(tmp_path / "sae"), "hookpoint": "layers.1.input_layernorm"}
    published, rows = written(make_experiment(saes=[entry | {"n_features": 8}]))
    assert published.figures == {"path": "none"}
    assert len(rows) == 8
    assert all((row["path"], row["promoted"], row["suppressed"]) == ("none", None, None) for row in rows)


@pytest.mark.parametrize(
    ("place", "side", "path"), [("hook_attn_out", "", "direct"), ("attn.hook_z", ".input", "none")]
)
def test_directions_of_what_a_block_is_given_are_not_what_it_adds(make_experiment, tmp_path, place, side, path):
    folder = LAYOUTS["saelens"].write(tmp_path / "sae", random_weights(8, 32, k=2))
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"]["hook_name"] = f"blocks.1.{place}"
    write_json(folder / "cfg.json", config)
    entry = {"name": "hand-set", "source": str(folder), "n_features": 8}
    entry["hookpoint"] = f"layers.1.self_attn.o_proj{side}"
    assert written(make_experiment(saes=[entry]))[0].figures["path"] == path
