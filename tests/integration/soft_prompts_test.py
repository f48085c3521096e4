"""Soft prompts with the real programs: a prefix made of the embeddings of some
tokens must answer as these tokens do."""

import json
import math
import pathlib
import struct
import tempfile
import unittest

import grpc
from drover_server import MODEL, SOURCE, Server, pb

TOKENIZER = SOURCE / "tests/testdata/tokenizers/qwen_style_tokenizer.json"
HEAD = "The old fox went over the hill, and at the end of the day it said"
TEXT = " that a lion and a mouse can be the best of friends in the world"
# Of log-probabilities, in float32, where steps differ in their shape.
TOLERANCE = 1e-3


def write_model(folder):
    """The demo model's weights with a tokenizer that adds no BOS: what they say
    of its ids makes no sense, but it is what they say."""
    (folder / "tokenizer.json").symlink_to(TOKENIZER)
    for name in ("config.json", "generation_config.json",
                 "model.safetensors"):
        (folder / name).symlink_to(MODEL / name)
    return folder


def write_safetensors(path, name, dtype, shape, data):
    header = json.dumps({name: {"dtype": dtype, "shape": shape,
                                "data_offsets": [0, len(data)]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Replaced, not rewritten.
    new = path.with_suffix(".new")
    new.write_bytes(struct.pack("<Q", len(header)) + header + data)
    new.rename(path)


class Embeddings:
    """Rows of the demo model's table, as bytes."""

    def __init__(self):
        self._bytes = (MODEL / "model.safetensors").read_bytes()
        length = struct.unpack("<Q", self._bytes[:8])[0]
        header = json.loads(self._bytes[8:8 + length])
        entry = header["model.embed_tokens.weight"]
        self.dtype = entry["dtype"]
        self.hidden_size = entry["shape"][1]
        self._begin = 8 + length + entry["data_offsets"][0]
        self._row = self.hidden_size * {"F32": 4, "BF16": 2}[self.dtype]

    def rows(self, ids):
        at = [self._begin + i * self._row for i in ids]
        return b"".join(self._bytes[a:a + self._row] for a in at)

    def write(self, path, ids, name="prompt_embeddings"):
        write_safetensors(path, name, self.dtype, [len(ids), self.hidden_size],
                          self.rows(ids))


class Store:
    """A model, and a folder with the prefix "team/tuned", which is HEAD."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        (folder / "model").mkdir()
        self.model = write_model(folder / "model")
        self.path = folder / "prompts"
        self.embeddings = Embeddings()
        vocabulary = json.loads(TOKENIZER.read_text())["model"]["vocab"]
        with self.server() as server:
            pieces, text, whole = (
                list(answer.tokens) for answer in server.tokenize(
                    HEAD, TEXT, HEAD + TEXT, return_tokens=True))
            assert pieces + text == whole
        self.head_ids = [vocabulary[piece] for piece in pieces]
        self.embeddings.write(
            self.path / "team/tuned/adapter_model.safetensors", self.head_ids)

    def server(self, *flags, **options):
        return Server("--dtype", "float32", *flags, model=self.model,
                      env={"PREFIX_STORE_PATH": str(self.path)}, **options)


ASKED = {
    "stopping": {"max_new_tokens": 60},
    "response": {"input_tokens": True, "generated_tokens": True,
                 "token_logprobs": True, "token_ranks": True,
                 "top_n_tokens": 2},
}


def metric(server, name):
    _, text = server.http("/metrics")
    (line,) = [line for line in text.splitlines()
               if line.split(" ")[0] == name]
    return float(line.split(" ")[1])


class SoftPromptsTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="drover_test_")
        cls.store = Store(cls.folder.name)
        cls.num_prefix = len(cls.store.head_ids)
        cls.server = cls.store.server()
        (cls.tokens,) = cls.server.generate(HEAD + TEXT, **ASKED)
        assert cls.tokens.stop_reason == pb.MAX_TOKENS

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        cls.folder.cleanup()

    def assert_same_answer(self, actual, expected):
        """The text's records; the output's as far as no other token could have
        been chosen."""
        pairs = list(zip(actual.input_tokens, expected.input_tokens))
        for a, b in pairs[self.num_prefix:]:
            self.assertEqual(a.text, b.text)
            self.assertAlmostEqual(a.logprob, b.logprob, delta=TOLERANCE)
        self.assertEqual(len(actual.tokens), len(expected.tokens))
        for a, b in zip(actual.tokens, expected.tokens):
            self.assertAlmostEqual(a.logprob, b.logprob, delta=TOLERANCE)
            if b.top_tokens[0].logprob - b.top_tokens[1].logprob < 0.01:
                return
            self.assertEqual(a.text, b.text)

    def test_embeddings_of_tokens_are_these_tokens(self):
        (answer,) = self.server.generate(TEXT, prefix_id="team/tuned",
                                         **ASKED)
        self.assertEqual(answer.text, self.tokens.text)
        self.assertEqual(answer.tokens, self.tokens.tokens)
        # The text's records, its first included, whose score is the prefix's.
        self.assertEqual(answer.input_tokens[self.num_prefix:],
                         self.tokens.input_tokens[self.num_prefix:])

    def test_a_prefix_counts_as_pad_tokens_in_front(self):
        (answer,) = self.server.generate(TEXT, prefix_id="team/tuned",
                                         **ASKED)
        total = len(self.tokens.input_tokens)
        self.assertEqual(len(answer.input_tokens), total)
        self.assertEqual(answer.input_token_count, total - self.num_prefix)
        pads = answer.input_tokens[:self.num_prefix]
        self.assertEqual(len({pad.text for pad in pads}), 1)
        self.assertTrue(math.isnan(pads[0].logprob))
        for pad in pads[1:]:
            self.assertLess(pad.logprob, 0)
            self.assertGreater(pad.rank, 0)
        first, second, *rest = self.server.stream(
            TEXT, prefix_id="team/tuned", **ASKED)
        self.assertEqual(first.input_token_count, total - self.num_prefix)
        self.assertEqual(second.input_token_count, total)
        self.assertEqual(len(second.input_tokens), total)
        self.assertEqual("".join(m.text for m in rest), answer.text)

    def test_one_batch_shares_a_prefix(self):
        answers = self.server.generate(TEXT, TEXT, prefix_id="team/tuned",
                                       **ASKED)
        for answer in answers:
            self.assert_same_answer(answer, self.tokens)

    def test_a_prefix_takes_the_room_of_tokens(self):
        room = 2048 - self.num_prefix
        (full,) = self.server.generate(" a" * (room - 1),
                                       prefix_id="team/tuned", **ASKED)
        self.assertEqual(full.generated_token_count, 1)
        self.assertEqual(full.stop_reason, pb.TOKEN_LIMIT)
        with self.assertRaises(grpc.RpcError) as raised:
            self.server.generate(" a" * room, prefix_id="team/tuned")
        self.assertEqual(
            raised.exception.details(),
            f"input tokens ({room}) plus prefix length ({self.num_prefix}) "
            "must be < 2048")

    def test_what_cannot_be_had_is_said(self):
        embeddings = self.store.embeddings
        short = embeddings.hidden_size - 1
        write_safetensors(self.store.path / "narrow.safetensors", "x", "F32",
                          [2, short], bytes(8 * short))
        embeddings.write(self.store.path / "long.safetensors", [5] * 1025)
        (self.store.path / "old").mkdir()
        (self.store.path / "old/decoder.pt").write_bytes(b"PK")
        before = metric(self.server, "tgi_prompt_load_failure")
        rows = [
            ("none", 'prefix id "none" not found'),
            ("../model/model", "Invalid prefix id ../model/model, must contain "
             "only alphanumeric, _ and - and /"),
            ("narrow", f"Prefix embedding tensor dim {short} does not match "
             f"model ({embeddings.hidden_size})"),
            ("long", "Invalid prefix embedding length of 1025"),
            ("old", "old/decoder.pt is a pickle, which is not read: expected "
             "safetensors"),
        ]
        for prefix_id, cause in rows:
            with self.subTest(prefix_id):
                with self.assertRaises(grpc.RpcError) as raised:
                    list(self.server.stream(TEXT, prefix_id=prefix_id))
                self.assertEqual(raised.exception.code(),
                                 grpc.StatusCode.INVALID_ARGUMENT)
                self.assertEqual(
                    raised.exception.details(),
                    f"can't retrieve prompt prefix with id '{prefix_id}': "
                    f"{cause}")
        self.assertEqual(metric(self.server, "tgi_prompt_load_failure"),
                         before + len(rows))

    def test_a_prompt_that_was_tuned_again_counts(self):
        path = self.store.path / "again.safetensors"
        self.store.embeddings.write(path, [7, 8, 9])
        loads = metric(self.server, "tgi_prompt_load_duration_count")
        (other,) = self.server.generate(TEXT, prefix_id="again", **ASKED)
        self.assertEqual(len(other.input_tokens),
                         len(self.tokens.input_tokens) - self.num_prefix + 3)
        self.store.embeddings.write(path, self.store.head_ids)
        for _ in range(2):
            (answer,) = self.server.generate(TEXT, prefix_id="again", **ASKED)
            self.assertEqual(answer.tokens, self.tokens.tokens)
        self.assertEqual(metric(self.server, "tgi_prompt_load_duration_count"),
                         loads + 2)

    def test_small_steps_a_small_cache_and_two_ranks_change_nothing(self):
        """Prompts in chunks that end inside the prefix, more sequences than
        there are blocks for, a model divided."""
        with self.store.server(
                "--num-shard", "2", "--threads", "1", "--max-batch-size", "8",
                "--max-step-tokens", "16", "--max-sequence-length", "128",
                cache="1792KiB") as server:
            answers = server.generate(*[TEXT] * 8, prefix_id="team/tuned",
                                      **ASKED)
            self.assertGreater(metric(server, "tgi_preemption_count"), 0)
        for answer in answers:
            self.assert_same_answer(answer, self.tokens)


if __name__ == "__main__":
    unittest.main()
