"""What changes when a feature is set: against the whole model, text by text, and where nothing can change."""

import pytest
import torch
from tiny import STOP, write_hand_set_sae, write_random_sae
from transformers import AutoModelForCausalLM

from pipeline.config import SubjectConfig
from pipeline.features.token_changes import Setting, hidden_changes
from pipeline.firings.forward import Reader
from pipeline.sae import load_sparse_coder
from pipeline.subject.forward import Hookpoint, load_subject


@pytest.fixture(scope="module")
def subject(tiny_subject):
    return load_subject(SubjectConfig(model=str(tiny_subject), dtype="float32"), "cpu")


@pytest.fixture(scope="module")
def texts():
    return torch.randint(2, 400, (3, 7), generator=torch.Generator().manual_seed(0))


def by_hand(tiny_subject, coder, module, texts, feature, strength):
    """Half the difference of the logits, less their mean: a run of the model with its LM head a sign and text."""
    model = AutoModelForCausalLM.from_pretrained(tiny_subject, dtype=torch.float32).eval()
    total = 0
    for text in texts:
        logits = []
        for sign in (1, -1):

            def set_feature(_module, _inputs, output, sign=sign):
                value = output[0] if isinstance(output, tuple) else output
                encoding = coder.encode(value[0])
                changed = value.clone()
                for position in range(1, value.shape[1]):
                    here = (encoding.tokens == position) & (encoding.features == feature)
                    own = float(encoding.activations[here].sum())
                    changed[0, position] += (sign * strength - own) * coder.decoder[feature]
                return (changed, *output[1:]) if isinstance(output, tuple) else changed

            handle = model.model.get_submodule(module).register_forward_hook(set_feature)
            with torch.inference_mode():
                logits.append(model(text[None]).logits[0, 1:].mean(dim=0))
            handle.remove()
        change = (logits[0] - logits[1]) / 2
        total += change - change.mean()
    return total / len(texts), model.get_output_embeddings().weight.detach()


@pytest.mark.parametrize("batch_tokens", [1, 40, 1000])
def test_it_is_the_change_of_the_whole_models_logits(tiny_subject, subject, texts, tmp_path, batch_tokens):
    coder = load_sparse_coder(write_random_sae(tmp_path / "layers.0"))
    reader = Reader(coder, Hookpoint("layers.0"))
    settings = [Setting(3, 2.0), Setting(11, 0.5), Setting(60, 5.0)]
    found = hidden_changes(subject, reader, texts, settings, batch_tokens, "sae")
    for row, (feature, strength) in zip(found, settings, strict=True):
        expected, unembedding = by_hand(tiny_subject, coder, "layers.0", texts, feature, strength)
        logits = unembedding @ row
        torch.testing.assert_close(logits - logits.mean(), expected, rtol=1e-3, atol=1e-4)


def test_a_feature_that_fires_is_set_and_not_added_to(tiny_subject, subject, texts, answers, tmp_path):
    coder = load_sparse_coder(write_hand_set_sae(tmp_path / "embed_tokens"))
    reader = Reader(coder, Hookpoint("embed_tokens"))
    [stop] = answers[STOP]  # its one token, on which it fires with 4
    firing = texts.clone()
    firing[:, 3] = stop
    found = hidden_changes(subject, reader, firing, [Setting(STOP, 4.0)], 1000, "sae")
    # Set to what it is anyway, the model is unchanged there: +m leaves the text as it was.
    expected, unembedding = by_hand(tiny_subject, coder, "embed_tokens", firing, STOP, 4.0)
    logits = unembedding @ found[0]
    torch.testing.assert_close(logits - logits.mean(), expected, rtol=1e-3, atol=1e-4)


def test_an_input_is_edited_as_an_output_is(subject, texts, tmp_path):
    coder = load_sparse_coder(write_random_sae(tmp_path / "layers.1"))
    settings = [Setting(5, 1.0)]
    before = hidden_changes(subject, Reader(coder, Hookpoint("layers.0")), texts, settings, 1000, "sae")
    after = hidden_changes(subject, Reader(coder, Hookpoint("layers.1", "input")), texts, settings, 1000, "sae")
    torch.testing.assert_close(after, before)


def test_a_direction_of_zeros_changes_nothing(subject, texts, tmp_path):
    coder = load_sparse_coder(write_random_sae(tmp_path / "layers.0"))
    coder.decoder[2] = 0
    reader = Reader(coder, Hookpoint("layers.0"))
    assert not hidden_changes(subject, reader, texts, [Setting(2, 1.0)], 64, "sae").any()


def test_a_transcoders_directions_are_added_where_they_belong(subject, texts, tmp_path):
    coder = load_sparse_coder(write_random_sae(tmp_path / "layers.0"))
    coder.encoder_bias.fill_(-1e6)  # nothing fires, whatever is read
    here, there = Hookpoint("layers.0"), Hookpoint("layers.0.post_attention_layernorm")
    settings = [Setting(5, 1.0)]
    expected = hidden_changes(subject, Reader(coder, here), texts, settings, 1000, "sae")
    found = hidden_changes(subject, Reader(coder, there, here), texts, settings, 1000, "sae")
    torch.testing.assert_close(found, expected)
    assert found.any()
