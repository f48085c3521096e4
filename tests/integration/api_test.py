"""The public API against the real binaries and the demo model."""

import concurrent.futures
import itertools
import json
import math
import unittest

import grpc

from drover_server import MODEL, Server, parameters, pb

GOLDEN = json.loads((MODEL / "golden_generation.json").read_text())["cases"]


class ApiTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--dtype", "float32")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def golden_prefix(self, case):
        """The golden ids up to the first step with a small margin."""
        ids = []
        for token, margin in zip(case["greedy_ids"], case["greedy_margin"]):
            if margin < 1e-3:
                break
            ids.append(token)
        return ids

    def test_greedy_text_is_the_golden_one(self):
        for case in GOLDEN:
            ids = self.golden_prefix(case)
            (answer,) = self.server.generate(
                case["text"], stopping={"max_new_tokens": len(ids)})
            self.assertEqual(answer.input_token_count, len(case["prompt_ids"]))
            self.assertEqual(answer.generated_token_count, len(ids))
            self.assertEqual(answer.stop_reason, pb.MAX_TOKENS)
            if len(ids) == len(case["greedy_ids"]):
                self.assertEqual(answer.text, case["greedy_text"])
            else:
                self.assertTrue(case["greedy_text"].startswith(answer.text))

    def test_prompt_logprobs_are_the_golden_ones(self):
        case = GOLDEN[0]
        (answer,) = self.server.generate(case["text"],
                                         stopping={"max_new_tokens": 1},
                                         response={
                                             "input_tokens": True,
                                             "token_logprobs": True,
                                             "token_ranks": True
                                         })
        records = answer.input_tokens
        self.assertTrue(math.isnan(records[0].logprob))
        self.assertEqual(records[0].rank, 0)
        for record, want in zip(records[1:], case["prompt_logprobs"]):
            self.assertAlmostEqual(record.logprob, want, delta=1e-3)
            self.assertGreaterEqual(record.rank, 1)

    def test_the_stream_adds_up_to_the_unary_text(self):
        for params in (
            {},
            {
                "method": "SAMPLE",
                "sampling": {
                    "seed": 7,
                    "temperature": 0.8
                }
            },
        ):
            params = {**params, "stopping": {"max_new_tokens": 40}}
            (answer,) = self.server.generate("Once upon a time", **params)
            messages = list(self.server.stream("Once upon a time", **params))
            self.assertEqual("".join(m.text for m in messages), answer.text)
            self.assertEqual(messages[0].input_token_count,
                             answer.input_token_count)
            self.assertEqual(messages[0].text, "")
            counts = [m.generated_token_count for m in messages[1:]]
            self.assertEqual(counts, sorted(set(counts)))
            self.assertEqual(messages[-1].stop_reason, pb.MAX_TOKENS)
            self.assertEqual(messages[-1].seed, answer.seed)

    def test_a_batch_answers_in_order(self):
        prompts = [case["text"] for case in GOLDEN]
        together = self.server.generate(*prompts,
                                        stopping={"max_new_tokens": 12})
        for prompt, answer in zip(prompts, together):
            (alone,) = self.server.generate(prompt,
                                            stopping={"max_new_tokens": 12})
            self.assertEqual(answer.text, alone.text)

    def test_unseeded_samples_differ_and_report_their_seeds(self):
        answers = self.server.generate(*["Once upon a time"] * 5,
                                       method="SAMPLE",
                                       stopping={"max_new_tokens": 30})
        self.assertEqual(len({a.seed for a in answers}), 5)
        self.assertEqual(len({a.text for a in answers}), 5)
        self.assertTrue(all(a.seed < 2**32 for a in answers))
        (again,) = self.server.generate("Once upon a time",
                                        method="SAMPLE",
                                        sampling={"seed": answers[3].seed},
                                        stopping={"max_new_tokens": 30})
        self.assertEqual(again.text, answers[3].text)

    def test_64_streams_at_once_each_get_their_own_text(self):
        prompts = [f"Once upon a time there were {n} mice" for n in range(64)]
        params = {
            "method": "SAMPLE",
            "sampling": {
                "seed": 11
            },
            "stopping": {
                "max_new_tokens": 24
            }
        }

        def text(prompt):
            return "".join(m.text for m in self.server.stream(prompt, **params))

        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            together = list(pool.map(text, prompts))
        for prompt, got in list(zip(prompts, together))[::16]:
            self.assertEqual(got, text(prompt))

    def test_cancelling_a_stream_frees_the_server(self):
        stream = self.server.stream("Once upon a time",
                                    stopping={
                                        "max_new_tokens": 1000,
                                        "min_new_tokens": 1000
                                    })
        next(stream)
        next(stream)
        stream.cancel()
        with self.assertRaises(grpc.RpcError) as raised:
            list(stream)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.CANCELLED)
        # The next call is answered long before the cancelled one would end.
        (answer,) = self.server.generate("The king",
                                         stopping={"max_new_tokens": 2})
        self.assertEqual(answer.generated_token_count, 2)

    def test_stop_sequences_cut_the_text(self):
        case = GOLDEN[0]
        word = case["greedy_text"].split()[3]
        for include in (True, False):
            (answer,) = self.server.generate(case["text"],
                                             stopping={
                                                 "max_new_tokens": 40,
                                                 "stop_sequences": [word],
                                                 "include_stop_sequence":
                                                     include
                                             })
            end = case["greedy_text"].index(word)
            self.assertEqual(
                answer.text,
                case["greedy_text"][:end + (len(word) if include else 0)])
            self.assertEqual(answer.stop_reason, pb.STOP_SEQUENCE)
            self.assertEqual(answer.stop_sequence, word)

    def test_bad_input_is_refused_with_the_documented_text(self):
        extra = "must request input and/or generated tokens to request extra token detail"
        stops = ("can specify at most 6 non-empty stop sequences, each not "
                 "more than 240 UTF8 bytes")
        rows = [
            ({"method": "SAMPLE", "sampling": {"temperature": 0.01}},
             "temperature must be >= 0.05"),
            ({"method": "SAMPLE", "sampling": {"top_p": 1.5}},
             "top_p must be > 0.0 and <= 1.0"),
            ({"method": "SAMPLE", "sampling": {"typical_p": 1.5}},
             "typical_p must be <= 1.0"),
            ({"method": "SAMPLE", "sampling": {"top_k": 2**31}},
             "top_k must be strictly positive"),
            ({"stopping": {"max_new_tokens": 5000}},
             "max_new_tokens must be <= 1024"),
            ({"stopping": {"min_new_tokens": 21}},
             "min_new_tokens must be <= max_new_tokens"),
            ({"decoding": {"repetition_penalty": -1.0}},
             "repetition_penalty must be > 0.0"),
            ({"decoding": {"length_penalty": {"decay_factor": 11}}},
             "length_penalty must be >= 1.0 and <= 10.0"),
            ({"stopping": {"stop_sequences": ["a"] * 7}}, stops),
            ({"stopping": {"stop_sequences": [""]}}, stops),
            ({"response": {"token_logprobs": True}}, extra),
            ({"decoding": {"regex": "a*"}},
             "guided decoding is not supported"),
        ]
        for params, text in rows:
            with self.subTest(text), self.assertRaises(grpc.RpcError) as raised:
                self.server.generate("Once", **params)
            self.assertEqual(raised.exception.code(),
                             grpc.StatusCode.INVALID_ARGUMENT)
            self.assertEqual(raised.exception.details(), text)

    def test_of_several_faults_the_first_in_tgis_order_is_told(self):
        """Faults are added from the last rule to the first; each new one wins."""
        faults = [
            ("must request input and/or generated tokens to request extra "
             "token detail", "response", {"token_ranks": True}),
            ("can specify at most 6 non-empty stop sequences, each not more "
             "than 240 UTF8 bytes", "stopping",
             {"stop_sequences": ["a"] * 7}),
            ("length_penalty must be >= 1.0 and <= 10.0", "decoding",
             {"length_penalty": {"decay_factor": 0.5}}),
            ("repetition_penalty must be > 0.0", "decoding",
             {"repetition_penalty": -1}),
            ("min_new_tokens must be <= max_new_tokens", "stopping",
             {"min_new_tokens": 9000}),
            ("max_new_tokens must be <= 1024", "stopping",
             {"max_new_tokens": 8000}),
            ("top_k must be strictly positive", "sampling", {"top_k": 2**31}),
            ("typical_p must be <= 1.0", "sampling", {"typical_p": 2}),
            ("top_p must be > 0.0 and <= 1.0", "sampling", {"top_p": -1}),
            ("temperature must be >= 0.05", "sampling", {"temperature": 0.04}),
        ]
        params = {"method": "SAMPLE"}
        for text, group, fields in faults:
            params.setdefault(group, {}).update(fields)
            with self.subTest(text):
                with self.assertRaises(grpc.RpcError) as unary:
                    self.server.generate("Once", **params)
                with self.assertRaises(grpc.RpcError) as stream:
                    list(self.server.stream("Once", **params))
                self.assertEqual(unary.exception.details(), text)
                self.assertEqual(stream.exception.details(), text)

    def test_what_the_server_has_not_is_refused_not_ignored(self):
        text = pb.GenerationRequest(text="Once")
        rows = [
            ({"prefix_id": "tuned"}, "can't retrieve prompt prefix with id "
             "'tuned': prefix id \"tuned\" not found"),
            ({"adapter_id": "lora"},
             "adapter_id supplied but no adapter store was configured"),
        ]
        for fields, details in rows:
            calls = [
                lambda: self.server.stub.Generate(
                    pb.BatchedGenerationRequest(requests=[text], **fields)),
                lambda: list(self.server.stub.GenerateStream(
                    pb.SingleGenerationRequest(request=text, **fields))),
                lambda: self.server.stub.Tokenize(
                    pb.BatchedTokenizeRequest(
                        requests=[pb.TokenizeRequest(text="Once")], **fields)),
            ]
            for call in calls:
                with self.assertRaises(grpc.RpcError) as raised:
                    call()
                self.assertEqual(raised.exception.code(),
                                 grpc.StatusCode.INVALID_ARGUMENT)
                self.assertEqual(raised.exception.details(), details)

    def test_the_order_of_a_streams_messages(self):
        """Section 5's table, for every combination of what may be asked for."""
        for asked in itertools.product((False, True), repeat=3):
            echo, input_tokens, generated_tokens = asked
            with self.subTest(asked):
                messages = list(
                    self.server.stream("The very é",
                                       method="SAMPLE",
                                       sampling={"seed": 99},
                                       stopping={"max_new_tokens": 3},
                                       response={
                                           "input_text": echo,
                                           "input_tokens": input_tokens,
                                           "generated_tokens":
                                               generated_tokens
                                       }))
                fields = [{f.name for f, _ in m.ListFields()} for m in messages]
                want = [{"input_token_count", "seed"} |
                        ({"text"} if echo else set())]
                if input_tokens:
                    want.append({"input_tokens", "input_token_count"})
                token = {"generated_token_count", "text"} | (
                    {"tokens"} if generated_tokens else set())
                # Without token records, what waits for the writer is merged.
                num_tokens = 3 if generated_tokens else len(fields) - len(want)
                self.assertIn(num_tokens, (1, 2, 3))
                want += [token] * (num_tokens - 1)
                want += [token | {"stop_reason", "seed"}]
                self.assertEqual(fields, want)

    def test_a_prompt_that_does_not_fit_names_the_limit(self):
        with self.assertRaises(grpc.RpcError) as raised:
            self.server.generate("mouse " * 3000)
        self.assertRegex(
            raised.exception.details(),
            r"input tokens \(\d+\) plus prefix length \(0\) must be < 2048")

    def test_truncation_keeps_bos_and_the_tail(self):
        (answer,) = self.server.generate("once upon a time there was a fox",
                                         truncate_input_tokens=3,
                                         response={"input_tokens": True})
        self.assertEqual(answer.input_token_count, 3)
        self.assertEqual([t.text for t in answer.input_tokens],
                         ["<s>", "▁a", "▁fox"])

    def test_tokenize_gives_pieces_and_byte_offsets(self):
        request = pb.BatchedTokenizeRequest(
            requests=[pb.TokenizeRequest(text="The very é")],
            return_tokens=True,
            return_offsets=True)
        (answer,) = self.server.stub.Tokenize(request).responses
        self.assertEqual(answer.tokens[:3], ["<s>", "▁The", "▁very"])
        offsets = [(o.start, o.end) for o in answer.offsets]
        self.assertEqual(offsets[:3], [(0, 0), (0, 3), (3, 8)])
        self.assertEqual(offsets[-1], (9, 11))
        self.assertEqual(answer.token_count, len(answer.tokens))

    def test_model_info(self):
        info = self.server.stub.ModelInfo(pb.ModelInfoRequest())
        self.assertEqual(info.max_sequence_length, 2048)
        self.assertEqual(info.max_new_tokens, 1024)

    def test_an_empty_batch_is_answered_even_with_bad_parameters(self):
        self.assertEqual(
            len(self.server.generate(stopping={"max_new_tokens": 99999})), 0)

    def test_a_missing_request_is_refused(self):
        with self.assertRaises(grpc.RpcError) as raised:
            list(
                self.server.stub.GenerateStream(pb.SingleGenerationRequest()))
        self.assertEqual(raised.exception.details(), "missing request")


if __name__ == "__main__":
    unittest.main()
