"""A feature is changed by exactly what its SAE makes of it, and strengths come out at their targets."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny import STOP, write_hand_set_sae, write_random_sae
from transformers import AutoModelForCausalLM

from pipeline.config import SubjectConfig
from pipeline.errors import SubjectError
from pipeline.features import steered_texts
from pipeline.features.steered_texts import Prompts, Steering
from pipeline.sae import load_sparse_coder
from pipeline.subject.forward import Hookpoint
from pipeline.subject.steering import Divergence, Edit, SteeredSubject, find_strengths, load_steered

TEXTS = torch.randint(2, 400, (6, 12), generator=torch.Generator().manual_seed(0))
TARGETS = (0.1, 0.33, 1.0)


@pytest.fixture(scope="module")
def subject(tiny_subject):
    return SubjectConfig(model=str(tiny_subject), dtype="float32")


@pytest.fixture(scope="module")
def coder(tmp_path_factory):
    return load_sparse_coder(str(write_random_sae(tmp_path_factory.mktemp("sae"))), None)


@pytest.fixture(scope="module")
def steered(subject, coder):
    return load_steered(subject, "cpu", coder, "layers.1", Hookpoint("layers.1"))


@torch.inference_mode()
def logits_by_hand(tiny_subject, coder, change):
    """Logits of the texts, where `change` gives what stands after layer 1 from what stood there."""
    model = AutoModelForCausalLM.from_pretrained(tiny_subject, dtype=torch.float32).eval()
    handle = model.model.layers[1].register_forward_hook(lambda _module, _inputs, x: change(x))
    found = model(input_ids=TEXTS, use_cache=False).logits
    handle.remove()
    return found


def test_without_an_edit_the_model_is_as_it_is(steered, tiny_subject, coder):
    torch.testing.assert_close(steered.logits(TEXTS), logits_by_hand(tiny_subject, coder, lambda x: x))


def test_what_is_added_is_the_decoders_row_on_all_tokens_but_the_first(steered, tiny_subject, coder):
    def change(x):
        changed = x + 3 * coder.decoder[7]
        changed[:, 0] = x[:, 0]
        return changed

    found = steered.logits(TEXTS, Edit(7, "add", 3.0))
    torch.testing.assert_close(found, logits_by_hand(tiny_subject, coder, change))
    torch.testing.assert_close(found[:, 0], steered.logits(TEXTS)[:, 0])


@pytest.mark.parametrize("strength", [0.0, -2.0])
def test_what_is_set_keeps_the_saes_error(steered, tiny_subject, coder, strength):
    seen = []

    def change(x):
        """The reconstruction with the feature set, and what the SAE leaves out of x."""
        rows = x.flatten(0, 1)
        encoding = coder.encode(rows)
        is_own = encoding.features == 7
        seen.append(int(is_own.sum()))
        error = rows - coder.reconstruct(rows, encoding)
        others = coder.reconstruct(rows, type(encoding)(*(column[~is_own] for column in encoding)))
        changed = (others + strength * coder.decoder[7] + error).view_as(x)
        changed[:, 0] = x[:, 0]
        return changed

    expected = logits_by_hand(tiny_subject, coder, change)
    assert seen[0] > 0
    torch.testing.assert_close(steered.logits(TEXTS, Edit(7, "set", strength)), expected, rtol=1e-4, atol=1e-5)


def test_to_set_a_feature_to_what_it_is_changes_nothing(subject, tmp_path):
    coder = load_sparse_coder(str(write_hand_set_sae(tmp_path / "sae")), None)
    steered = load_steered(subject, "cpu", coder, "embed_tokens", Hookpoint("embed_tokens"))
    assert steered._activations(steered._read(TEXTS), STOP).max() == 0
    torch.testing.assert_close(steered.logits(TEXTS, Edit(STOP, "set", 0.0)), steered.logits(TEXTS))


def test_an_saes_scale_is_the_features_too(subject, coder):
    scaled = replace(coder, normalisation="constant_norm_rescale")
    steered = load_steered(subject, "cpu", scaled, "layers.1", Hookpoint("layers.1"))
    x = steered._read(TEXTS).flatten(0, 1)
    encoding = scaled.encode(x)
    one = type(encoding)(torch.arange(len(x)), torch.full((len(x),), 7), torch.ones(len(x)))
    without = type(encoding)(*(column[:0] for column in one))
    difference = scaled.reconstruct(x, one) - scaled.reconstruct(x, without)
    torch.testing.assert_close(scaled.unit_of(x, 7), difference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", [Hookpoint("layers.1"), Hookpoint("layers.2", "input")])
def test_the_state_between_two_layers_is_steered_alike_from_both_sides(subject, coder, steered, place):
    own = load_steered(subject, "cpu", coder, "layers.1" if place.reads == "output" else "resid_pre.2", place)
    edit = Edit(3, "add", 2.0)
    torch.testing.assert_close(own.logits(TEXTS, edit), steered.logits(TEXTS, edit))


def test_strengths_reach_their_targets_on_texts_that_had_no_part_in_it(steered):
    """Tiny texts of random tokens are alike, so that few of them tell what holds on others."""
    generator = torch.Generator().manual_seed(1)
    held_out, unseen = (torch.randint(2, 400, (96, 12), generator=generator) for _ in range(2))
    on_held_out, on_unseen = Divergence(steered, held_out), Divergence(steered, unseen)
    for feature in (0, 7, 21):
        found = find_strengths(
            lambda strength, feature=feature: on_held_out(Edit(feature, "add", strength)),
            TARGETS,
            steered.unit_strength(steered.mean_norm(held_out), feature),
        )
        for target, strength in found.items():
            assert strength.is_reached and abs(strength.kl / target - 1) <= 0.01
            assert abs(on_unseen(Edit(feature, "add", strength.strength)) / target - 1) <= 0.1


def test_what_stands_at_the_hookpoint_is_read_once_for_all_features(steered, monkeypatch):
    read = SteeredSubject._read
    texts = []
    monkeypatch.setattr(SteeredSubject, "_read", lambda self, ids: texts.append(len(ids)) or read(self, ids))
    settings = SimpleNamespace(modes=("steer",), target_kls=(0.1,))
    monkeypatch.setattr(steered_texts, "_settings", lambda config: settings)
    prompts = Prompts([0, 1], TEXTS[:2], torch.full((2, 3), 0.5, dtype=torch.float64))
    steering = Steering(steered, TEXTS, prompts, {}, None, [b"a"] * 1000)
    for feature in (0, 7, 21):
        assert [*steering.rows(feature)]
    assert texts == [len(TEXTS)]


def test_a_divergence_is_that_of_the_definition(steered):
    edit = Edit(7, "add", 4.0)
    changed, unchanged = (steered.logits(TEXTS, each)[:, 1:].double().softmax(-1) for each in (edit, None))
    expected = (changed * (changed / unchanged).log()).sum(-1).mean()
    # A tenth of the tolerance with which a strength is found: what is kept is rounded.
    assert Divergence(steered, TEXTS)(edit) == pytest.approx(float(expected), rel=1e-3)


def test_a_target_that_no_strength_has_is_told_and_its_search_ends():
    measured = []

    def kl_of(strength):
        measured.append(strength)
        return 0.5 * (1 - math.exp(-strength))

    found = find_strengths(kl_of, [0.1, 1.0], unit=1.0)
    assert found[0.1].is_reached and not found[1.0].is_reached
    assert max(measured) == 64 and len(measured) < 30


@pytest.mark.parametrize("bend", [0.5, 1.0, 3.0, 8.0])
def test_a_search_takes_few_steps_whatever_the_curve(bend):
    measured = []

    def kl_of(strength):
        measured.append(strength)
        return strength**bend * (1 + math.tanh(strength - 3))

    found = find_strengths(kl_of, TARGETS, unit=10.0)
    assert all(each.is_reached for each in found.values()) and len(measured) <= 30


def test_the_same_draws_give_the_same_text_alone_and_among_others(steered):
    draws = torch.rand((6, 8), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    edit = Edit(7, "add", 4.0)
    first, again = (steered.write(TEXTS, draws, edit) for _ in range(2))
    assert torch.equal(first, again) and first.shape == (6, 8)
    assert not torch.equal(first, steered.write(TEXTS, draws))
    # What is written is what the model says of it when it reads it whole.
    logits = steered.logits(torch.cat([TEXTS, first], dim=1), edit)[:, TEXTS.shape[1] - 1 : -1]
    cumulated = logits.double().softmax(dim=-1).cumsum(dim=-1)
    upper = cumulated.gather(-1, first[..., None])[..., 0]
    lower = (cumulated - logits.double().softmax(dim=-1)).gather(-1, first[..., None])[..., 0]
    assert bool(((draws >= lower - 1e-5) & (draws <= upper + 1e-5)).all())


@pytest.mark.parametrize(
    ("name", "place", "says"),
    [
        ("layers.1.input_layernorm", Hookpoint("layers.1.input_layernorm"), "neither the residual stream nor"),
        ("resid_mid.1", Hookpoint("layers.1.post_attention_layernorm", "input"), "do not reach the residual"),
        ("attn_in.1", Hookpoint("layers.1.self_attn", "input"), "neither the residual stream nor what"),
    ],
)
def test_a_place_that_the_model_does_not_go_on_from_is_refused(subject, coder, name, place, says):
    with pytest.raises(SubjectError, match=says) as error:
        load_steered(subject, "cpu", coder, name, place)
    assert "\n" not in str(error.value) and f"'{name}'" in str(error.value)


def test_a_transcoder_is_refused(subject, coder):
    with pytest.raises(SubjectError, match="a transcoder reads one hookpoint and writes another"):
        load_steered(subject, "cpu", replace(coder, transcodes=True), "layers.1.mlp", Hookpoint("layers.1.mlp"))
