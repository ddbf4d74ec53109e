"""Every family's places, on tiny models with random weights, against the residual sum computed by hand.

What is right is found without the tables of `families`: the states before and after a layer are transformers'
own (`output_hidden_states`); the attention's addition is the layer's output projection, applied here to what a
hook of this test saw it read; the MLP's is its module, called here on the norm of the right state. The sum of the
three has to be the state after the layer, or the computation by hand is wrong itself.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from torch import Tensor, nn

from pipeline.config import SaeConfig, SubjectConfig
from pipeline.errors import SubjectError
from pipeline.fit.hookpoints_tried import hookpoints_of_all_layers, nearby_hookpoints, own_hookpoints
from pipeline.sae.coder import RELU, SparseCoder
from pipeline.subject.families import family_of
from pipeline.subject.forward import Hookpoint, Subject, load_subject
from pipeline.subject.hookpoints import hookpoint_widths, is_same_tensor, resolve_hookpoint, written_hookpoint

TOKEN_IDS = torch.randint(2, 50, (3, 9), generator=torch.Generator().manual_seed(0))
WIDTH, LAYER = 16, 1


class Parts(NamedTuple):
    """What a layer adds and reads, [n_contexts, length, width] each; resid_mid is None in a parallel block."""

    attn_in: Tensor
    attn_out: Tensor
    resid_mid: Tensor | None
    mlp_in: Tensor
    mlp_out: Tensor


class Model(NamedTuple):
    """A tiny model and its layers by hand.

    Attributes:
        config: Of transformers.
        layers: The path of its list of layers.
        projection: The attention's output projection below a layer.
        parts: What the layer adds and reads, of the layer, the state before it and what the projection gives.
        embed: The path of its embedding.
    """

    config: Any
    layers: str
    projection: str
    parts: Callable[[Any, Tensor, Tensor], Parts]
    embed: str = "embed_tokens"


def sequential(attn_norm: str, mlp_norm: str, mlp: Callable[[Any, Tensor], Tensor]) -> Any:
    """A pre-norm block: the MLP reads the norm of the state that has the attention's addition."""

    def parts(layer: Any, before: Tensor, projected: Tensor) -> Parts:
        middle = before + projected
        normed = layer.get_submodule(mlp_norm)(middle)
        return Parts(layer.get_submodule(attn_norm)(before), projected, middle, normed, mlp(layer, normed))

    return parts


def parallel(attn_norm: str, mlp_norm: str) -> Any:
    """Both blocks read norms of the state before the layer."""

    def parts(layer: Any, before: Tensor, projected: Tensor) -> Parts:
        normed = layer.get_submodule(mlp_norm)(before)
        return Parts(layer.get_submodule(attn_norm)(before), projected, None, normed, layer.mlp(normed))

    return parts


def sandwich(layer: Any, before: Tensor, projected: Tensor) -> Parts:
    """Gemma 2 and 3: a norm before each block and one after it."""
    added = layer.post_attention_layernorm(projected)
    middle = before + added
    normed = layer.pre_feedforward_layernorm(middle)
    mlp_out = layer.post_feedforward_layernorm(layer.mlp(normed))
    return Parts(layer.input_layernorm(before), added, middle, normed, mlp_out)


def norms_after(layer: Any, before: Tensor, projected: Tensor) -> Parts:
    """OLMo 2: the blocks read the state itself, and what they add is normalised."""
    added = layer.post_attention_layernorm(projected)
    middle = before + added
    return Parts(before, added, middle, middle, layer.post_feedforward_layernorm(layer.mlp(middle)))


def opt_post_norm(layer: Any, before: Tensor, projected: Tensor) -> Parts:
    """opt-350m: the norms come after the additions."""
    middle = layer.self_attn_layer_norm(before + projected)
    return Parts(before, projected, middle, middle, opt_mlp(layer, middle))


def own_mlp(layer: Any, normed: Tensor) -> Tensor:
    found: Tensor | tuple[Tensor, ...] = layer.mlp(normed)
    return found[0] if isinstance(found, tuple) else found


def opt_mlp(layer: Any, normed: Tensor) -> Tensor:
    found: Tensor = layer.fc2(layer.activation_fn(layer.fc1(normed)))
    return found


def bloom_mlp(layer: Any, normed: Tensor) -> Tensor:
    found: Tensor = layer.mlp(normed, torch.zeros_like(normed))
    return found


LLAMA = sequential("input_layernorm", "post_attention_layernorm", own_mlp)
GPT2 = sequential("ln_1", "ln_2", own_mlp)
OPT = sequential("self_attn_layer_norm", "final_layer_norm", opt_mlp)
BLOOM = sequential("input_layernorm", "post_attention_layernorm", bloom_mlp)

SIZES = {"vocab_size": 50, "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2}
SIZES["pad_token_id"] = 0  # some default to one that is not in so small a vocabulary
GROUPED = {**SIZES, "num_key_value_heads": 1, "head_dim": 6, "intermediate_size": 24}
EXPERTS = {"moe_intermediate_size": 8, "num_experts_per_tok": 2}
SHARED = {**EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 8}
LINEAR = {f"linear_{each}": 2 for each in ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim")}
LINEAR |= {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
OLD = {"vocab_size": 50, "n_embd": WIDTH, "n_layer": 3, "n_head": 2}


def llama(config: type, **others: Any) -> Model:
    return Model(config(**{**GROUPED, **others}), "layers", "self_attn.o_proj", LLAMA)


MODELS: dict[str, Callable[[], Model]] = {
    "llama": lambda: llama(transformers.LlamaConfig),
    "smollm2": lambda: llama(transformers.LlamaConfig, tie_word_embeddings=True),
    "mistral": lambda: llama(transformers.MistralConfig, sliding_window=4),
    "gemma": lambda: llama(transformers.GemmaConfig),
    "qwen2": lambda: llama(transformers.Qwen2Config, head_dim=8),
    "qwen3": lambda: llama(transformers.Qwen3Config),
    "smollm3": lambda: llama(transformers.SmolLM3Config, head_dim=8),
    "phi3": lambda: llama(transformers.Phi3Config, head_dim=8),
    "mixtral": lambda: llama(transformers.MixtralConfig, num_local_experts=4, num_experts_per_tok=2),
    "qwen2_moe": lambda: llama(
        transformers.Qwen2MoeConfig, head_dim=8, num_experts=4, shared_expert_intermediate_size=8, **EXPERTS
    ),
    "qwen3_moe": lambda: llama(transformers.Qwen3MoeConfig, num_experts=4, **EXPERTS),
    "gpt_oss": lambda: llama(transformers.GptOssConfig, num_local_experts=4, num_experts_per_tok=2),
    "glm": lambda: llama(transformers.GlmConfig),
    "helium": lambda: llama(transformers.HeliumConfig, head_dim=8),
    "ministral": lambda: llama(transformers.MinistralConfig),
    "ministral3": lambda: llama(transformers.Ministral3Config),
    "olmoe": lambda: llama(transformers.OlmoeConfig, head_dim=8, num_experts=4, num_experts_per_tok=2),
    "qwen3_5_text": lambda: llama(transformers.Qwen3_5TextConfig, **LINEAR),
    "qwen3_5_moe_text": lambda: llama(transformers.Qwen3_5MoeTextConfig, **LINEAR, **SHARED),
    "qwen3_next": lambda: llama(transformers.Qwen3NextConfig, **LINEAR, **SHARED),
    "olmo": lambda: llama(transformers.OlmoConfig, head_dim=8),
    "starcoder2": lambda: llama(transformers.Starcoder2Config, head_dim=8),
    "olmo2": lambda: llama(transformers.Olmo2Config, head_dim=8)._replace(parts=norms_after),
    "olmo3": lambda: llama(transformers.Olmo3Config, head_dim=8)._replace(parts=norms_after),
    "exaone4": lambda: llama(transformers.Exaone4Config)._replace(parts=norms_after),
    "cohere2": lambda: llama(transformers.Cohere2Config)._replace(
        parts=parallel("input_layernorm", "input_layernorm")
    ),
    "gemma2": lambda: Model(transformers.Gemma2Config(**GROUPED), "layers", "self_attn.o_proj", sandwich),
    "gemma3_text": lambda: Model(transformers.Gemma3TextConfig(**GROUPED), "layers", "self_attn.o_proj", sandwich),
    "cohere": lambda: Model(
        transformers.CohereConfig(**GROUPED, bos_token_id=1, eos_token_id=2),
        *("layers", "self_attn.o_proj", parallel("input_layernorm", "input_layernorm")),
    ),
    "phi": lambda: Model(
        transformers.PhiConfig(**SIZES, intermediate_size=24),
        *("layers", "self_attn.dense", parallel("input_layernorm", "input_layernorm")),
    ),
    "gptj": lambda: Model(
        transformers.GPTJConfig(**OLD, rotary_dim=4), "h", "attn.out_proj", parallel("ln_1", "ln_1"), "wte"
    ),
    "gpt_neox": lambda: Model(
        transformers.GPTNeoXConfig(**SIZES, intermediate_size=24),
        *("layers", "attention.dense", parallel("input_layernorm", "post_attention_layernorm"), "embed_in"),
    ),
    "gpt_neox, sequential": lambda: Model(
        transformers.GPTNeoXConfig(**SIZES, intermediate_size=24, use_parallel_residual=False),
        *("layers", "attention.dense", LLAMA, "embed_in"),
    ),
    "falcon": lambda: Model(
        transformers.FalconConfig(**SIZES, parallel_attn=True, bos_token_id=1, eos_token_id=2),
        *("h", "self_attention.dense", parallel("input_layernorm", "input_layernorm"), "word_embeddings"),
    ),
    "gpt2": lambda: Model(transformers.GPT2Config(**OLD), "h", "attn.c_proj", GPT2, "wte"),
    "gpt_neo": lambda: Model(
        transformers.GPTNeoConfig(
            vocab_size=50, hidden_size=WIDTH, num_layers=3, num_heads=2,
            attention_types=[[["global", "local", "global"], 1]],
        ),
        *("h", "attn.attention.out_proj", GPT2, "wte"),
    ),
    "opt": lambda: Model(
        transformers.OPTConfig(**SIZES, ffn_dim=24, word_embed_proj_dim=WIDTH),
        *("decoder.layers", "self_attn.out_proj", OPT, "decoder.embed_tokens"),
    ),
    "opt, norms after": lambda: Model(
        transformers.OPTConfig(**SIZES, ffn_dim=24, word_embed_proj_dim=8, do_layer_norm_before=False),
        *("decoder.layers", "self_attn.out_proj", opt_post_norm, "decoder.embed_tokens"),
    ),
    "bloom": lambda: Model(
        transformers.BloomConfig(**SIZES), "h", "self_attention.dense", BLOOM, "word_embeddings_layernorm"
    ),
}  # fmt: skip


class Tiny(NamedTuple):
    """A tiny model that is loaded, with what is right at its middle layer, by place."""

    config: SubjectConfig
    subject: Subject
    right: dict[str, Tensor | None]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    @cache
    def build(name: str) -> Tiny:
        model = MODELS[name]()
        folder = tmp_path_factory.mktemp("model")
        save_random(model.config, folder)
        config = SubjectConfig(model=str(folder), dtype="float32")
        subject = load_subject(config, "cpu")
        return Tiny(config, subject, compute_by_hand(model, subject.model))

    return build


def save_random(config: Any, folder: Path) -> None:
    """Save a model in which no two modules do the same: norms and biases are random too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():
            parameter.data.uniform_(-0.5, 0.7)
    model.save_pretrained(folder)


@torch.inference_mode()
def compute_by_hand(model: Model, module: Any) -> dict[str, Tensor | None]:
    layer = module.get_submodule(f"{model.layers}.{LAYER}")
    projection, embedding = layer.get_submodule(model.projection), module.get_submodule(model.embed)
    seen: dict[str, Tensor] = {}
    handles = [
        projection.register_forward_hook(lambda _, inputs, _output: seen.update(z=inputs[0].clone())),
        embedding.register_forward_hook(lambda _, _inputs, output: seen.update(embed=output.clone())),
    ]
    states = module(TOKEN_IDS, output_hidden_states=True, use_cache=False).hidden_states
    for handle in handles:
        handle.remove()
    parts = model.parts(layer, states[LAYER], projection(seen["z"]))
    middle = states[LAYER] + parts.attn_out if parts.resid_mid is None else parts.resid_mid
    after = middle + parts.mlp_out
    if model.parts is opt_post_norm:
        after = layer.final_layer_norm(after)
    torch.testing.assert_close(after, states[LAYER + 1])  # or the computation by hand is wrong
    return {
        "embed": seen["embed"],
        "resid_pre": states[LAYER],
        "attn_z": seen["z"],
        "resid_post": states[LAYER + 1],
        **parts._asdict(),
    }


NAMES = {
    "resid_pre": ("resid_pre.1", "blocks.1.hook_resid_pre", "resid_post.0"),
    "attn_in": ("attn_in.1",),
    "attn_z": ("attn_z.1", "blocks.1.attn.hook_z"),
    "attn_out": ("attn_out.1", "blocks.1.hook_attn_out"),
    "resid_mid": ("resid_mid.1", "blocks.1.hook_resid_mid"),
    "mlp_in": ("mlp_in.1", "blocks.1.mlp.hook_in"),
    "mlp_out": ("mlp_out.1", "blocks.1.hook_mlp_out"),
    "resid_post": ("resid_post.1", "blocks.1.hook_resid_post", "resid_pre.2"),
    "embed": ("embed", "hook_embed"),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_place_of_every_family_is_what_the_residual_sum_says(tiny: Callable[[str], Tiny], name: str) -> None:
    config, subject, right = tiny(name)
    for place, names in NAMES.items():
        for each in names:
            if right[place] is None:
                with pytest.raises(SubjectError, match="run in parallel"):
                    resolve_hookpoint(config, each)
                continue
            hookpoint = resolve_hookpoint(config, each)
            # Beside others, which are run later: a model that adds in place must not change what was read.
            beside = [resolve_hookpoint(config, "resid_post.2"), resolve_hookpoint(config, "mlp_out.1")]
            read = subject.read(TOKEN_IDS, [hookpoint, *beside])[hookpoint]
            torch.testing.assert_close(read, right[place], msg=lambda said, each=each: f"{each}: {said}")
            assert hookpoint_widths(config, [hookpoint]) == {hookpoint: right[place].shape[-1]}


@pytest.mark.parametrize("name", MODELS)
def test_the_address_before_the_mlps_norm_is_the_residual(tiny: Callable[[str], Tiny], name: str) -> None:
    # TransformerLens' hook_mlp_in is not what the MLP reads.
    config, subject, right = tiny(name)
    hookpoint = resolve_hookpoint(config, "blocks.1.hook_mlp_in")
    expected = right["resid_pre"] if right["resid_mid"] is None else right["resid_mid"]
    torch.testing.assert_close(subject.read(TOKEN_IDS, [hookpoint])[hookpoint], expected)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "gpt_neox"])
def test_what_transformerlens_calls_normalised_is_before_an_rmsnorms_gain_and_after_a_layernorms(
    tiny: Callable[[str], Tiny], name: str
) -> None:
    config, subject, right = tiny(name)
    eps = getattr(subject.model.config, "rms_norm_eps", None)
    middle, before = right["resid_mid"], right["resid_pre"]
    for block, state, after in (("attn", before, right["attn_in"]), ("mlp", middle, right["mlp_in"])):
        hookpoint = resolve_hookpoint(config, f"blocks.1.ln{1 if block == 'attn' else 2}.hook_normalized")
        read = subject.read(TOKEN_IDS, [hookpoint])[hookpoint]
        assert after is not None
        if eps is None:
            assert hookpoint == resolve_hookpoint(config, f"{block}_in.1")
            torch.testing.assert_close(read, after)
            continue
        assert state is not None and hookpoint == resolve_hookpoint(config, f"{block}_rms.1")
        torch.testing.assert_close(read, state / ((state**2).sum(dim=-1, keepdim=True) / WIDTH + eps).sqrt())
        gain = after / read  # the same at every token, and not 1
        torch.testing.assert_close(gain, gain[:1, :1].expand_as(gain), rtol=1e-4, atol=1e-5)
        assert ((gain - 1).abs() > 0.05).any()


@pytest.mark.parametrize(
    ("name", "transcodes", "expected"),
    [
        ("resid_mid.1", False, "resid_mid.1"),
        ("resid_mid.1", True, "mlp_out.1"),
        ("mlp_in.1", True, "mlp_out.1"),
        ("blocks.1.ln2.hook_normalized", True, "mlp_out.1"),
        ("blocks.1.ln1.hook_normalized", True, "attn_out.1"),
        ("model.layers.1.pre_feedforward_layernorm.output", True, "mlp_out.1"),
        ("layers.1.mlp.input", True, "layers.1.mlp"),
    ],
)
def test_a_transcoders_directions_belong_to_what_comes_out(
    tiny: Callable[[str], Tiny], name: str, transcodes: bool, expected: str
) -> None:
    config = tiny("gemma2").config
    assert written_hookpoint(config, name, transcodes=transcodes) == resolve_hookpoint(config, expected)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("blocks.1.hook_resid_post", "resid_post.1"),
        ("blocks.2.hook_mlp_out", "mlp_out.2"),
        ("model.layers.1.post_feedforward_layernorm.output", "mlp_out.1"),
        ("blocks.1.mlp.hook_out", "layers.1.mlp"),
        ("blocks.9.hook_mlp_out", "mlp_out.1"),  # no place of this model
        (None, "mlp_out.1"),
    ],
)
def test_a_transcoders_files_say_what_comes_out(
    tiny: Callable[[str], Tiny], target: str | None, expected: str
) -> None:
    config = tiny("gemma2").config
    written = written_hookpoint(config, "mlp_in.1", transcodes=True, target=target)
    assert written == resolve_hookpoint(config, expected)


@pytest.mark.parametrize("family", ["gemma2", "gpt_neox", "llama"])
@pytest.mark.parametrize("name", ["blocks.1.hook_mlp_in", "blocks.1.hook_resid_pre", "resid_pre.2", "embed"])
def test_a_transcoder_that_reads_the_state_before_a_layer_gives_what_that_layers_mlp_adds(
    tiny: Callable[[str], Tiny], family: str, name: str
) -> None:
    config = tiny(family).config
    expected = f"mlp_out.{2 if name.endswith('2') else 0 if name == 'embed' else 1}"
    assert written_hookpoint(config, name, transcodes=True) == resolve_hookpoint(config, expected)


def test_where_a_transcoder_is_tried_its_target_is_of_the_layer_that_it_reads(
    tiny: Callable[[str], Tiny],
) -> None:
    config, eye = tiny("gpt_neox").config, torch.eye(WIDTH)
    coder = SparseCoder(None, eye, torch.zeros(WIDTH), eye, RELU, transcodes=True)
    sae = SaeConfig(name="t", source="t", hookpoint="blocks.1.hook_mlp_in", n_features=WIDTH)
    own = own_hookpoints(config, sae, coder)
    assert own.target == resolve_hookpoint(config, "mlp_out.1")
    around = {each.name: each.target for each in nearby_hookpoints(config, coder, own)}
    # The state between two layers is what the MLP of the later one reads, as at its own place.
    for name, target in {"resid_post.1": "mlp_out.2", "mlp_in.1": "mlp_out.1", "mlp_out.1": "mlp_out.1"}.items():
        assert around[name] == resolve_hookpoint(config, target), name
    everywhere = {each.name: each.target for each in hookpoints_of_all_layers(config, coder, own)}
    assert everywhere["resid_post.1"] == resolve_hookpoint(config, "mlp_out.2")


def test_what_an_mlp_gives_is_what_it_adds_unless_that_is_normalised_first(tiny: Callable[[str], Tiny]) -> None:
    for name in ("llama", "gpt2", "bloom"):
        config = tiny(name).config
        assert resolve_hookpoint(config, "blocks.1.mlp.hook_out") == resolve_hookpoint(config, "mlp_out.1")
    for name in ("gemma2", "gemma3_text", "olmo2"):
        config, subject, right = tiny(name)
        raw = resolve_hookpoint(config, "mlp_raw.1")
        read = subject.read(TOKEN_IDS, [raw])[raw]
        norm = subject.model.layers[LAYER].post_feedforward_layernorm
        with torch.inference_mode():
            torch.testing.assert_close(norm(read), right["mlp_out"])
        assert right["mlp_out"] is not None and not torch.allclose(read, right["mlp_out"])


@pytest.mark.parametrize("name", ["llama", "gpt2", "gptj", "gpt_neox", "opt", "bloom", "phi", "falcon"])
@torch.inference_mode()
def test_the_mlps_activations_times_its_last_weights_are_what_it_adds(
    tiny: Callable[[str], Tiny], name: str
) -> None:
    config, subject, right = tiny(name)
    hookpoint = resolve_hookpoint(config, "mlp_act.1")
    assert resolve_hookpoint(config, "blocks.1.mlp.hook_post") == hookpoint
    read = subject.read(TOKEN_IDS, [hookpoint])[hookpoint]
    torch.testing.assert_close(subject.model.get_submodule(hookpoint.module)(read), right["mlp_out"])


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_experts_have_no_one_activation(tiny: Callable[[str], Tiny], name: str) -> None:
    with pytest.raises(SubjectError, match="nearest"):
        resolve_hookpoint(tiny(name).config, "mlp_act.1")


def test_a_layer_without_an_attention_has_no_places_of_one(tiny: Callable[[str], Tiny]) -> None:
    config = tiny("qwen3_5_text").config
    assert resolve_hookpoint(config, "blocks.2.hook_resid_post") == Hookpoint("layers.2")
    with pytest.raises(SubjectError, match=r"'attn_out\.2' is not a module"):
        resolve_hookpoint(config, "attn_out.2")


def test_by_its_path_a_module_that_returns_the_residual_added_is_read_as_it_is(
    tiny: Callable[[str], Tiny],
) -> None:
    config, subject, right = tiny("bloom")
    module, place = resolve_hookpoint(config, "h.1.mlp"), resolve_hookpoint(config, "mlp_out.1")
    read = subject.read(TOKEN_IDS, [module, place])
    torch.testing.assert_close(read[module], right["resid_post"])
    assert right["resid_mid"] is not None
    torch.testing.assert_close(read[module] - read[place], right["resid_mid"])


def test_what_a_model_adds_to_in_place_was_copied(tiny: Callable[[str], Tiny]) -> None:
    config, subject, right = tiny("falcon")
    mlp = resolve_hookpoint(config, "mlp_out.1")
    seen: list[Tensor] = []
    handle = subject.model.get_submodule(mlp.module).register_forward_hook(lambda *given: seen.append(given[2]))
    try:
        read = subject.read(TOKEN_IDS, [mlp, resolve_hookpoint(config, "resid_post.1")])[mlp]
    finally:
        handle.remove()
    assert not torch.allclose(seen[0], read)  # the model's own tensor holds more by now
    torch.testing.assert_close(read, right["mlp_out"])


# Names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reads", "expected"),
    [
        ("layers.1.mlp", "output", Hookpoint("layers.1.mlp")),
        ("layers.1.mlp", "input", Hookpoint("layers.1.mlp", "input")),
        ("layers.1.mlp.input", "output", Hookpoint("layers.1.mlp", "input")),
        ("layers.1.mlp.output", "input", Hookpoint("layers.1.mlp")),
        ("model.layers.1.output", "output", Hookpoint("layers.1")),
        ("model.layers.1.self_attn.o_proj", "input", Hookpoint("layers.1.self_attn.o_proj", "input")),
        # An address says its place, whichever side a coder reads of modules.
        ("mlp_out.1", "input", Hookpoint("layers.1.mlp")),
        ("blocks.0.hook_resid_pre", "output", Hookpoint("layers.0", "input")),
    ],
)
def test_a_name_is_a_module_path_with_or_without_its_side_or_an_address(
    tiny: Callable[[str], Tiny], name: str, reads: Any, expected: Hookpoint
) -> None:
    assert resolve_hookpoint(tiny("llama").config, name, reads) == expected


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("resid_pre.2", "layers.2.input", True),
        ("resid_post.1", "layers.2.input", True),
        ("mlp_in.1", "layers.1.post_attention_layernorm", True),
        ("mlp_out.1", "layers.1.mlp.down_proj", True),
        ("mlp_out.1", "resid_post.1", False),
        ("mlp_in.1", "mlp_out.1", False),
        ("resid_post.1", "resid_post.2", False),
    ],
)
def test_places_are_compared_by_what_is_there_and_not_by_their_names(
    tiny: Callable[[str], Tiny], one: str, other: str, is_same: bool
) -> None:
    config = tiny("llama").config
    assert is_same_tensor(config, resolve_hookpoint(config, one), resolve_hookpoint(config, other)) == is_same


def test_a_centred_hookpoint_is_read_less_its_tokens_means(tiny: Callable[[str], Tiny]) -> None:
    config, subject, right = tiny("gpt2")
    plain, centred = (resolve_hookpoint(config, "resid_post.1", centred=flag) for flag in (False, True))
    read = subject.read(TOKEN_IDS, [plain, centred])
    state = right["resid_post"]
    assert state is not None
    torch.testing.assert_close(read[plain], state)
    torch.testing.assert_close(read[centred], state - state.mean(dim=-1, keepdim=True))
    assert not torch.allclose(read[plain], read[centred])


def test_a_text_model_inside_a_larger_one_is_addressed_alike(tmp_path: Path) -> None:
    text = {**GROUPED, "model_type": "gemma3_text"}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.Gemma3Config(text_config=text, vision_config=vision).save_pretrained(tmp_path)
    config = SubjectConfig(model=str(tmp_path))
    assert resolve_hookpoint(config, "resid_post.1") == Hookpoint("language_model.layers.1")
    assert resolve_hookpoint(config, "model.layers.1.output") == Hookpoint("language_model.layers.1")
    assert hookpoint_widths(config, [Hookpoint("language_model.layers.1")]).popitem()[1] == WIDTH


def test_an_address_in_a_model_of_an_unknown_kind_asks_for_a_module_path(tmp_path: Path) -> None:
    transformers.GraniteConfig(**{**GROUPED, "head_dim": 8}).save_pretrained(tmp_path)
    config = SubjectConfig(model=str(tmp_path))
    assert resolve_hookpoint(config, "layers.1.mlp") == Hookpoint("layers.1.mlp")
    with pytest.raises(SubjectError, match="the structure of models of type 'granite'; write a module path"):
        resolve_hookpoint(config, "mlp_out.1")


@pytest.mark.parametrize(
    ("config", "is_known"),
    [
        (transformers.BloomConfig(apply_residual_connection_post_layernorm=True), False),
        (transformers.FalconConfig(parallel_attn=False), False),
        (transformers.BloomConfig(), True),
    ],
)
def test_a_variant_whose_residual_is_another_is_not_guessed_at(config: Any, is_known: bool) -> None:
    assert (family_of(config) is not None) == is_known


@pytest.mark.parametrize("name", MODELS)
def test_a_padding_token_of_the_config_is_not_looked_for_in_tokens_that_are_not_there(
    tmp_path: Path, name: str
) -> None:
    config = MODELS[name]().config
    config.pad_token_id = 0
    config.save_pretrained(tmp_path)
    subject = SubjectConfig(model=str(tmp_path), dtype="float32")
    place = resolve_hookpoint(subject, "resid_post.1")
    assert hookpoint_widths(subject, [place]) == {place: WIDTH}


def test_a_module_that_is_not_run_or_gives_no_activations_is_named() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle, self.counts = nn.Identity(), nn.Identity()

        def forward(self, input_ids: Tensor, use_cache: bool) -> None:
            self.counts(len(input_ids))

    subject = Subject(Layer(), "toy", torch.device("cpu"))
    with pytest.raises(SubjectError, match="'toy' does not run its module 'idle'"):
        subject.read(TOKEN_IDS, [Hookpoint("idle")])
    with pytest.raises(SubjectError, match="the output of 'counts' of 'toy' is not an activation tensor"):
        subject.read(TOKEN_IDS, [Hookpoint("counts")])
