"""A tiny model whose next token depends on the last one alone, as a test says.

Token t's embedding is unit vector t and the layer adds nothing to it, so that
column t of the head is the scores of whatever comes after t.
"""

import array
import atexit
import json
import math
import pathlib
import shutil
import struct
import sys
import tempfile

from target import SOURCE

sys.path.insert(0, str(SOURCE / "tests" / "fuzz"))

import make_corpus

SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
EOS = "</s>"
NUM_HEADS = 2  # so that two shards can run it
HEAD_DIM = 16
SURE = 30.0  # the score of what a script says next; all else has 0


class ScriptedModel:
    """What it says after a piece is in `scores`: {piece: {next: score}}."""

    def __init__(self, pieces, scores):
        self.vocabulary = SPECIAL + BYTES + pieces
        self.scores = scores
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="drover_test_"))
        atexit.register(shutil.rmtree, self.folder)
        (self.folder / "tokenizer.model").write_bytes(self._tokenizer(pieces))
        (self.folder / "config.json").write_text(json.dumps(self._config()))
        with open(self.folder / "model.safetensors", "wb") as file:
            write_safetensors(file, self._weights())

    def _tokenizer(self, pieces):
        control = [(SPECIAL[0], make_corpus.UNKNOWN),
                   *((name, make_corpus.CONTROL) for name in SPECIAL[1:])]
        every_byte = [(name, make_corpus.BYTE) for name in BYTES]
        return make_corpus.model(make_corpus.BPE,
                                 control + every_byte + pieces, True)

    def _config(self):
        return {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "hidden_act": "silu", "hidden_size": len(self.vocabulary),
            "head_dim": HEAD_DIM, "intermediate_size": HEAD_DIM,
            "num_hidden_layers": 1, "num_attention_heads": NUM_HEADS,
            "num_key_value_heads": NUM_HEADS, "max_position_embeddings": 256,
            "rms_norm_eps": 1e-12, "rope_theta": 10000.0,
            "vocab_size": len(self.vocabulary), "bos_token_id": 1,
            "eos_token_id": 2, "tie_word_embeddings": False,
            "torch_dtype": "float32",
        }

    def _weights(self):
        """{name: (shape, values)}"""
        size = len(self.vocabulary)
        identity = zeros(size, size)
        head = zeros(size, size)
        for token in range(size):
            identity[1][token * size + token] = 1.0
        for last, following in self.scores.items():
            for piece, score in following.items():
                row = self.vocabulary.index(piece)
                head[1][row * size + self.vocabulary.index(last)] = score
        # What RMSNorm makes of a unit vector is sqrt(size) long.
        norm = ((size,), array.array("f", [1 / math.sqrt(size)] * size))
        heads = NUM_HEADS * HEAD_DIM
        layer = {f"self_attn.{name}_proj": (heads, size)
                 for name in ("q", "k", "v")}
        layer |= {"self_attn.o_proj": (size, heads),
                  "mlp.gate_proj": (HEAD_DIM, size),
                  "mlp.up_proj": (HEAD_DIM, size),
                  "mlp.down_proj": (size, HEAD_DIM)}
        weights = {f"model.layers.0.{name}.weight": zeros(*shape)
                   for name, shape in layer.items()}
        weights |= {f"model.layers.0.{name}.weight": norm
                    for name in ("input_layernorm",
                                 "post_attention_layernorm")}
        return weights | {"model.embed_tokens.weight": identity,
                          "model.norm.weight": norm, "lm_head.weight": head}


def scripts(*lines):
    """The scores of a model that says each line, a list of pieces, from its
    first on and then ends."""
    scores = {}
    for line in lines:
        for piece, following in zip(line, [*line[1:], EOS]):
            scores.setdefault(piece, {})[following] = SURE
    assert all(len(following) == 1 for following in scores.values()), scores
    return scores


def zeros(*shape):
    return shape, array.array("f", bytes(4 * math.prod(shape)))


def write_safetensors(file, tensors):
    """{name: (shape, array of float32)}"""
    header, offset = {}, 0
    for name, (shape, values) in tensors.items():
        size = values.itemsize * len(values)
        header[name] = {"dtype": "F32", "shape": list(shape),
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    file.write(struct.pack("<Q", len(text)) + text)
    for _, values in tensors.values():
        file.write(values.tobytes())
