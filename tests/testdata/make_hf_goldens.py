"""Makes the models and goldens of hf-models/ that CASES below names: tiny
random weights, and what Hugging Face transformers computes from them in
float32 on the CPU. tests/model/model_golden_test.cc compares ours with it.

    python3 -m venv goldens-venv
    goldens-venv/bin/pip install torch==2.11.0 transformers==5.17.0 \
        safetensors==0.8.0 numpy==2.4.6
    goldens-venv/bin/python tests/testdata/make_hf_goldens.py [NAME...]

(PyPI's torch for Linux is the CUDA build, 5 GB with what it needs; the CPU is
enough to run it.) Two runs on one machine write the same bytes; on another CPU
log-probabilities may differ in their last digits.

Each config.json is written as it stands here and read by transformers, so the
old dialect is transformers' reading of it, not ours.

A golden proves little if the model hardly depends on what it is there for. So
each case has contrasts: the same weights under a config, or without a tensor,
that misses the point. Each must move some log-probability of a prompt by at
least MIN_CONTRAST, fifty times what the test tolerates.
"""

import dataclasses
import json
import pathlib
import shutil
import statistics
import sys
import tempfile

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

FOLDER = pathlib.Path(__file__).parent / "hf-models"
PROMPT_LENGTHS = (1, 7, 33, 200)
NUM_GREEDY = 32
BOS, EOS = 1, 2
MIN_CONTRAST = 0.05
MIN_MARGIN = 1e-3  # below it the test does not compare tokens

# Standard deviations that keep the residual stream near 1 and attention well
# away from uniform, so that positions matter.
MATRIX_DEVIATION = 0.15
BIAS_DEVIATION = 0.5
NORM_DEVIATION = 0.2


@dataclasses.dataclass
class Case:
    """config: all of config.json. contrasts: name to fields of config.json
    that are replaced, or to the end of the tensors' names that are zeroed."""
    name: str
    seed: int
    config: dict
    contrasts: dict
    max_shard_size: str = "1GB"


def llama(**fields):
    return {
        "architectures": ["LlamaForCausalLM"],
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 96,
        "max_position_embeddings": 512,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": False,
        "vocab_size": 160,
        **fields,
    }


def qwen2(**fields):
    family = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    return llama(**family, **fields)


DEFAULT_ROPE = {"rope_theta": 10000.0, "rope_type": "default"}
YARN = {"rope_theta": 10000.0, "rope_type": "yarn", "factor": 4.0,
        "original_max_position_embeddings": 128}
YARN_MSCALE = {**YARN, "truncate": False, "beta_fast": 16.0, "beta_slow": 0.5,
               "mscale": 1.4, "mscale_all_dim": 0.2}
OLD_YARN = {"type": "yarn", "factor": 4.0, "attention_factor": 1.5,
            "original_max_position_embeddings": 128}
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
               "down_proj")

CASES = [
    # The dialect of transformers before 5, and a file of float16.
    Case("llama-old-linear-f16", 8,
         llama(rope_theta=50000.0,
               rope_scaling={"type": "linear", "factor": 4.0},
               torch_dtype="float16"),
         {"no scaling": {"rope_scaling": None},
          "another theta": {"rope_theta": 10000.0}}),
    # Every optional field of yarn at its default.
    Case("llama-yarn", 7, llama(dtype="bfloat16", rope_parameters=YARN),
         {"no scaling": {"rope_parameters": DEFAULT_ROPE},
          "linear": {"rope_parameters": {
              "rope_theta": 10000.0, "rope_type": "linear", "factor": 4.0}},
          "no temperature": {"rope_parameters": {
              **YARN, "attention_factor": 1.0}}}),
    Case("llama-yarn-mscale", 9,
         llama(dtype="bfloat16", rope_parameters=YARN_MSCALE),
         {f"{field} at its default": {"rope_parameters": {
             key: YARN_MSCALE[key] for key in YARN_MSCALE if key != field}}
          for field in set(YARN_MSCALE) - set(YARN)}),
    # As Qwen2.5's config.json has it, but for attention_factor.
    Case("qwen2-old-yarn", 2,
         qwen2(rope_theta=1000000.0, rope_scaling=OLD_YARN,
               torch_dtype="bfloat16", max_window_layers=2,
               sliding_window=64, use_sliding_window=False),
         {"no scaling": {"rope_scaling": None},
          "another theta": {"rope_theta": 10000.0},
          "attention_factor at its default": {"rope_scaling": {
              key: OLD_YARN[key] for key in OLD_YARN
              if key != "attention_factor"}}}),
    Case("llama-biases", 10,
         llama(dtype="bfloat16", rope_parameters=DEFAULT_ROPE,
               attention_bias=True, mlp_bias=True),
         {f"no bias of {name}": name + ".bias" for name in PROJECTIONS}),
    # Three shards and one embedding.
    Case("llama-tied-shards", 4,
         llama(dtype="bfloat16", rope_parameters=DEFAULT_ROPE,
               tie_word_embeddings=True),
         {}, max_shard_size="60KB"),
    # No size is a multiple of a vector's; 6 heads of 22 are not hidden_size.
    Case("llama-head-dim", 3,
         llama(dtype="bfloat16", rope_parameters=DEFAULT_ROPE, head_dim=22,
               hidden_size=60, intermediate_size=90, num_attention_heads=6,
               num_key_value_heads=3, vocab_size=157),
         {}),
]


def random_weight(name, shape, generator):
    # Uniform: no logarithm whose last bit depends on the CPU.
    weight = 3**0.5 * (2 * torch.rand(shape, generator=generator) - 1)
    if name.endswith("norm.weight"):
        return 1 + NORM_DEVIATION * weight
    return weight * (BIAS_DEVIATION if name.endswith(".bias")
                     else MATRIX_DEVIATION)


def new_model(config):
    return AutoModelForCausalLM.from_config(
        config, dtype=torch.float32, attn_implementation="eager").eval()


def write_model(case, folder):
    """config.json and the weights, in the dtype that the config names."""
    (folder / "config.json").write_text(
        json.dumps(case.config, indent=2) + "\n", encoding="utf-8")
    config = AutoConfig.from_pretrained(folder)
    dtype = config.dtype  # new_model() changes it
    model = new_model(config)
    generator = torch.Generator().manual_seed(case.seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            weight.copy_(random_weight(name, weight.shape, generator))
    with tempfile.TemporaryDirectory() as saved:
        model.to(dtype).save_pretrained(
            saved, max_shard_size=case.max_shard_size)
        for file in pathlib.Path(saved).glob("*.safetensors*"):
            shutil.copyfile(file, folder / file.name)


def read_model(folder):
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()


def contrast_model(case, model, change):
    """`model` without what the case is there for."""
    fields = change if isinstance(change, dict) else {}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "config.json"
        path.write_text(json.dumps(case.config | fields), encoding="utf-8")
        contrast = new_model(AutoConfig.from_pretrained(folder))
    contrast.load_state_dict(model.state_dict())
    if isinstance(change, str):
        with torch.no_grad():
            for name, weight in contrast.named_parameters():
                if name.endswith(change):
                    weight.zero_()
    return contrast


@torch.no_grad()
def compute_logits(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0]


def prompt_logprobs(model, ids):
    logprobs = compute_logits(model, ids).double().log_softmax(dim=-1)
    return [logprobs[i, ids[i + 1]].item() for i in range(len(ids) - 1)]


def rounded(values):
    return [round(value, 6) for value in values]


def make_golden(model, prompt):
    golden = {"prompt_ids": prompt,
              "prompt_logprobs": rounded(prompt_logprobs(model, prompt)),
              "last_logits": rounded(
                  compute_logits(model, prompt)[-1].tolist()),
              "greedy_ids": [], "greedy_logprobs": [], "greedy_margin": [],
              "greedy_rank2": []}
    for _ in range(NUM_GREEDY):
        logits = compute_logits(model, prompt + golden["greedy_ids"])[-1]
        best, second = logits.topk(2).indices.tolist()
        logprob = logits.double().log_softmax(dim=-1)[best].item()
        margin = (logits[best] - logits[second]).item()
        golden["greedy_ids"].append(best)
        golden["greedy_logprobs"].append(round(logprob, 6))
        golden["greedy_margin"].append(round(margin, 6))
        golden["greedy_rank2"].append(second)
    return golden


def random_prompts(case):
    generator = torch.Generator().manual_seed(1000 + case.seed)
    for length in PROMPT_LENGTHS:
        ids = torch.randint(EOS + 1, case.config["vocab_size"], (length - 1,),
                            generator=generator)
        yield [BOS, *ids.tolist()]


def check_goldens(case, goldens):
    """Says how far apart the best two tokens are; greedy text has no end."""
    margins = [margin for golden in goldens
               for margin in golden["greedy_margin"]]
    small = sum(margin <= MIN_MARGIN for margin in margins)
    distinct = len({token for golden in goldens
                    for token in golden["greedy_ids"]})
    print(f"{case.name}: median margin {statistics.median(margins):.3f}, "
          f"{small} of {len(margins)} not above {MIN_MARGIN}, "
          f"{distinct} tokens")
    assert statistics.median(margins) > MIN_CONTRAST
    assert small <= len(margins) // 20
    assert all(EOS not in golden["greedy_ids"] for golden in goldens), (
        "EOS occurs: take another seed")


def check_contrasts(case, model, prompt):
    expected = prompt_logprobs(model, prompt)
    for name, change in sorted(case.contrasts.items()):
        other = prompt_logprobs(contrast_model(case, model, change), prompt)
        moved = max(abs(a - b) for a, b in zip(expected, other))
        print(f"  {name}: moves a log-probability by {moved:.3f}")
        assert moved >= MIN_CONTRAST


def make(case):
    folder = FOLDER / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_model(case, folder)
    model = read_model(folder)
    prompts = list(random_prompts(case))
    goldens = [make_golden(model, prompt) for prompt in prompts]
    check_goldens(case, goldens)
    check_contrasts(case, model, prompts[-1])
    source = (f"make_hf_goldens.py: transformers {transformers.__version__}, "
              f"torch {torch.__version__}, float32, CPU, eager")
    text = json.dumps({"source": source, "cases": goldens})
    (folder / "golden.json").write_text(text + "\n", encoding="utf-8")


def main(names):
    unknown = set(names) - {case.name for case in CASES}
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for case in CASES:
        if not names or case.name in names:
            make(case)


if __name__ == "__main__":
    main(sys.argv[1:])
