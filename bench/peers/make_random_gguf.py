"""Writes a GGUF with random bfloat16 weights of the 1.1B benchmark shape.

llama.cpp cannot make weights up, and speed does not depend on their values.
Usage: make_random_gguf.py OUT.gguf        (needs PyPI's gguf and numpy)
"""

import sys

import gguf
import numpy as np

HIDDEN, LAYERS, HEADS, KV_HEADS = 2048, 22, 32, 4
INTERMEDIATE, VOCABULARY, CONTEXT = 5632, 32000, 2048
HEAD_DIM = HIDDEN // HEADS


def main(path):
    random = np.random.default_rng(0)

    def matrix(rows, columns):
        values = random.standard_normal((rows, columns), dtype=np.float32)
        values *= 0.02
        return (values.view(np.uint32) >> 16).astype(np.uint16)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"w{i}".encode() for i in range(VOCABULARY)])
    writer.add_token_scores([-float(i) for i in range(VOCABULARY)])
    writer.add_token_types([gguf.TokenType.NORMAL] * VOCABULARY)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def add(name, rows, columns):
        values = matrix(rows, columns)
        writer.add_tensor(name, values.view(np.uint8),
                          raw_dtype=gguf.GGMLQuantizationType.BF16)

    def add_norm(name):
        writer.add_tensor(name, np.ones(HIDDEN, dtype=np.float32))

    add("token_embd.weight", VOCABULARY, HIDDEN)
    add_norm("output_norm.weight")
    add("output.weight", VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        add_norm(block + "attn_norm.weight")
        add(block + "attn_q.weight", HIDDEN, HIDDEN)
        add(block + "attn_k.weight", KV_HEADS * HEAD_DIM, HIDDEN)
        add(block + "attn_v.weight", KV_HEADS * HEAD_DIM, HIDDEN)
        add(block + "attn_output.weight", HIDDEN, HIDDEN)
        add_norm(block + "ffn_norm.weight")
        add(block + "ffn_gate.weight", INTERMEDIATE, HIDDEN)
        add(block + "ffn_up.weight", INTERMEDIATE, HIDDEN)
        add(block + "ffn_down.weight", HIDDEN, INTERMEDIATE)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
