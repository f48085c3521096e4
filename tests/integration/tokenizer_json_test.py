"""A model folder with a tokenizer.json: what clients see of it."""

import codecs
import json
import pathlib
import subprocess
import tempfile
import unittest

import grpc
from drover_server import BIN, MODEL, SOURCE, Server, pb

TOKENIZERS = SOURCE / "tests" / "testdata" / "tokenizers"
DUMMY = ("--load-format", "dummy")


def write_model(folder, tokenizer):
    """A config of the demo model's size for llama3_style's ids; no weights."""
    config = json.loads((MODEL / "config.json").read_text())
    config |= {"vocab_size": 2053, "bos_token_id": 2048, "eos_token_id": 2049}
    path = pathlib.Path(folder)
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    return path


def llama3_style():
    return json.loads((TOKENIZERS / "llama3_style_tokenizer.json").read_text())


def byte_of_character():
    """As byte-level vocabularies write bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return ({chr(byte): byte for byte in printable} |
            {chr(256 + i): byte for i, byte in enumerate(others)})


BYTES = byte_of_character()


def text_of(pieces, special):
    """Whole characters only: an incomplete one at the end is not shown."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return decoder.decode(bytes(BYTES[character] for piece in pieces
                                if piece not in special
                                for character in piece))


class TokenizerJsonTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="drover_test_")
        cls.tokenizer = llama3_style()
        cls.special = {t["content"] for t in cls.tokenizer["added_tokens"]}
        model = write_model(cls.folder.name, cls.tokenizer)
        cls.server = Server(*DUMMY, model=model)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        cls.folder.cleanup()

    def test_tokenize_answers_as_the_reference_does(self):
        golden = json.loads(
            (TOKENIZERS / "golden_llama3_style.json").read_text())["cases"]
        request = pb.BatchedTokenizeRequest(
            requests=[pb.TokenizeRequest(text=case["text"])
                      for case in golden],
            return_tokens=True, return_offsets=True)
        answers = self.server.stub.Tokenize(request).responses
        self.assertEqual(len(answers), len(golden))
        for case, answer in zip(golden, answers):
            text = case["text"]
            self.assertEqual(list(answer.tokens), case["tokens"], text)
            self.assertEqual(
                [(o.start, o.end) for o in answer.offsets],
                [(len(text[:begin].encode()), len(text[:end].encode()))
                 for begin, end in case["offsets"]], text)

    def test_streams_of_parts_of_characters_add_up_to_their_text(self):
        """Random weights say random tokens: many end within a character."""
        for seed in range(8):
            options = {
                "method": "SAMPLE",
                "sampling": {"seed": seed},
                "stopping": {"max_new_tokens": 200, "min_new_tokens": 199},
                "response": {"generated_tokens": True},
            }
            (whole,) = self.server.generate("Où est 🦙?", **options)
            messages = list(self.server.stream("Où est 🦙?", **options))
            pieces = [t.text for t in whole.tokens]
            self.assertEqual(len(pieces), 200)
            self.assertEqual(whole.text, text_of(pieces, self.special))
            self.assertEqual("".join(m.text for m in messages), whole.text)
            self.assertIn("\ufffd", whole.text)

    def test_truncation_keeps_bos(self):
        (answer,) = self.server.generate(
            "one two three four", truncate_input_tokens=2,
            stopping={"max_new_tokens": 1}, response={"input_tokens": True})
        self.assertEqual(answer.input_token_count, 2)
        self.assertEqual(answer.input_tokens[0].text, "<|begin_of_text|>")

    def test_special_tokens_in_a_prompt_are_tokens(self):
        request = pb.BatchedTokenizeRequest(
            requests=[pb.TokenizeRequest(text="a<|eot_id|>")],
            return_tokens=True)
        (answer,) = self.server.stub.Tokenize(request).responses
        self.assertEqual(list(answer.tokens),
                         ["<|begin_of_text|>", "a", "<|eot_id|>"])


class TokenizerFailureTest(unittest.TestCase):
    """Rule 13: files that load, and cannot encode every text."""

    def serve(self, tokenizer):
        folder = tempfile.TemporaryDirectory(prefix="drover_test_")
        self.addCleanup(folder.cleanup)
        server = Server(*DUMMY, model=write_model(folder.name, tokenizer))
        self.addCleanup(server.__exit__)
        return server

    def assert_refused(self, call, details,
                       code=grpc.StatusCode.INVALID_ARGUMENT):
        with self.assertRaises(grpc.RpcError) as raised:
            call()
        self.assertEqual(raised.exception.details(), details)
        self.assertEqual(raised.exception.code(), code)

    def test_a_pattern_that_explodes_fails_the_text_that_it_explodes_on(self):
        tokenizer = llama3_style()
        split, _ = tokenizer["pre_tokenizer"]["pretokenizers"]
        split["pattern"] = {"Regex": "(?:a+)+[!?]"}
        server = self.serve(tokenizer)
        details = "tokenizer error regex: match limit exceeded"
        bad = "a" * 60
        self.assert_refused(lambda: server.generate(bad), details)
        self.assert_refused(lambda: server.generate("a!", bad), details)
        # Not even an acknowledgement.
        self.assert_refused(lambda: next(server.stream(bad)), details)
        # Not a fault of parameters there.
        self.assert_refused(lambda: server.tokenize(bad), details,
                            grpc.StatusCode.INTERNAL)
        (answer,) = server.generate("a!" * 30, stopping={"max_new_tokens": 1})
        self.assertEqual(answer.generated_token_count, 1)

    def test_without_bos_a_model_has_nothing_to_begin_an_empty_text_with(self):
        server = self.serve(llama3_style() | {"post_processor": None})
        details = ("tokenizer error an empty text gives this model no token to "
                   "start from")
        self.assert_refused(lambda: server.generate(""), details)
        self.assert_refused(lambda: next(server.stream("")), details)
        (counted,) = server.tokenize("")
        self.assertEqual(counted.token_count, 0)
        # Parameters come first.
        self.assert_refused(
            lambda: server.generate("", stopping={"max_new_tokens": 9999}),
            "max_new_tokens must be <= 1024")


class RefusalTest(unittest.TestCase):

    def test_what_cannot_be_used_is_named_in_one_line(self):
        tokenizer = llama3_style() | {"normalizer": {"type": "Lowercase"}}
        with tempfile.TemporaryDirectory() as folder:
            write_model(folder, tokenizer)
            done = subprocess.run(
                [BIN / "drover", "serve", "--model", folder, *DUMMY],
                capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"{folder}/tokenizer.json: normalizer.type: ",
                      done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
