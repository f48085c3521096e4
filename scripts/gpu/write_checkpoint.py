"""Writes a model folder of Llama-2-7B's shape, as Hugging Face lays one out.

Usage: write_checkpoint.py FOLDER [--layers N]

config.json, bfloat16 weights in several safetensors files with an index (13.5
GB), and the demo model's tokenizer, whose 4096 pieces are the first of the
32000 ids. The weights are random, finite and small; what is measured with them
is how long loading takes. --layers makes a smaller one, for trials.

Needs only Python's own library; writes on all CPUs. FOLDER appears complete or
not at all.
"""

import argparse
import concurrent.futures
import json
import math
import pathlib
import random
import shutil

HIDDEN, HEADS, INTERMEDIATE, VOCABULARY = 4096, 32, 11008, 32000
CONTEXT = 4096
MAX_FILE_BYTES = 5 * 10**9
CHUNK_BYTES = 1 << 20
TOKENIZER = (pathlib.Path(__file__).resolve().parents[2]
             / "models/fables-7m/tokenizer.model")


def tensor_shapes(num_layers):
    """Name to shape, in the order of the forward."""
    shapes = {"model.embed_tokens.weight": [VOCABULARY, HIDDEN]}
    for layer in range(num_layers):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "input_layernorm.weight"] = [HIDDEN]
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{prefix}self_attn.{name}.weight"] = [HIDDEN, HIDDEN]
        shapes[prefix + "post_attention_layernorm.weight"] = [HIDDEN]
        for name in ("gate_proj", "up_proj"):
            shapes[f"{prefix}mlp.{name}.weight"] = [INTERMEDIATE, HIDDEN]
        shapes[prefix + "mlp.down_proj.weight"] = [HIDDEN, INTERMEDIATE]
    shapes["model.norm.weight"] = [HIDDEN]
    shapes["lm_head.weight"] = [VOCABULARY, HIDDEN]
    return shapes


def num_bytes(shape):
    return 2 * math.prod(shape)


def split_into_files(shapes):
    """Lists of names, each at most MAX_FILE_BYTES together."""
    files, used = [[]], 0
    for name, shape in shapes.items():
        if used + num_bytes(shape) > MAX_FILE_BYTES:
            files.append([])
            used = 0
        files[-1].append(name)
        used += num_bytes(shape)
    return files


def write_header(path, names, shapes):
    """Also makes the file as large as it will be. Returns name to offset."""
    header, offsets, end = {"__metadata__": {"format": "pt"}}, {}, 0
    for name in names:
        offsets[name], begin = end, end
        end += num_bytes(shapes[name])
        header[name] = {"dtype": "BF16", "shape": shapes[name],
                        "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return {name: 8 + len(text) + offset for name, offset in offsets.items()}


def write_tensor(path, offset, name, shape):
    """A norm is all ones. A matrix has values of 1/64 to 1/32 of either sign:
    random sign and mantissa bits under a fixed exponent."""
    generator = random.Random(name)
    size = num_bytes(shape)
    keep = int.from_bytes(b"\x7f\x80" * (CHUNK_BYTES // 2), "little")
    exponent = int.from_bytes(b"\x80\x3c" * (CHUNK_BYTES // 2), "little")
    with open(path, "r+b") as file:
        file.seek(offset)
        if len(shape) == 1:
            file.write(b"\x80\x3f" * shape[0])
            return
        for begin in range(0, size, CHUNK_BYTES):
            bits = generator.getrandbits(8 * CHUNK_BYTES) & keep | exponent
            data = bits.to_bytes(CHUNK_BYTES, "little")
            file.write(data[:size - begin])


def write_weights(folder, shapes):
    files = split_into_files(shapes)
    weight_map, tasks = {}, []
    for number, names in enumerate(files, start=1):
        file = f"model-{number:05}-of-{len(files):05}.safetensors"
        offsets = write_header(folder / file, names, shapes)
        for name in names:
            weight_map[name] = file
            tasks.append((folder / file, offsets[name], name, shapes[name]))
    with concurrent.futures.ProcessPoolExecutor() as pool:
        for done in [pool.submit(write_tensor, *task) for task in tasks]:
            done.result()
    total = sum(num_bytes(shape) for shape in shapes.values())
    write_json(folder / "model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": weight_map})
    return total


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n",
                    encoding="utf-8")


def config(num_layers):
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "dtype": "bfloat16",
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": CONTEXT,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": num_layers,
        "num_key_value_heads": HEADS,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": VOCABULARY,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=32)
    options = parser.parse_args()
    partial = options.folder.with_name(options.folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    total = write_weights(partial, tensor_shapes(options.layers))
    write_json(partial / "config.json", config(options.layers))
    shutil.copyfile(TOKENIZER, partial / "tokenizer.model")
    partial.rename(options.folder)
    print(f"{options.folder}: {total / 1e9:.2f} GB of weights")


if __name__ == "__main__":
    main()
