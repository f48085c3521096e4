"""What is refused, in which words and in which order (points 1 and 2), and how
parameters are read that are not refused."""

import unittest

import grpc

from target import LONG_STORY, STORY, ConformanceTest, batch, exactly, pb
from target import needs_own_server

STOPS = ("can specify at most 6 non-empty stop sequences, each not more than "
         "240 UTF8 bytes")
DETAIL = ("must request input and/or generated tokens to request extra token "
          "detail")
NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def sampled(**sampling):
    return {"method": "SAMPLE", "sampling": sampling}


class RequestTest(ConformanceTest):

    def long_prompt(self):
        """A text of at least as many tokens as the context holds."""
        text = LONG_STORY * (self.info.max_sequence_length // 400 + 1)
        (answer,) = self.server.tokenize(text)
        self.assertGreaterEqual(answer.token_count,
                                self.info.max_sequence_length)
        return text, answer.token_count

    def test_01_an_empty_batch_is_answered_even_with_invalid_parameters(self):
        for fields in ({}, {"stopping": {"max_new_tokens": 2**31}},
                       sampled(temperature=0.01), {"prefix_id": "none"}):
            self.assertEqual(len(self.server.generate(**fields)), 0)

    def test_02_each_rule_about_parameters_has_its_text(self):
        most = self.info.max_new_tokens
        rows = [
            (sampled(temperature=0.049), "temperature must be >= 0.05"),
            (sampled(temperature=-1), "temperature must be >= 0.05"),
            (sampled(top_p=1.01), "top_p must be > 0.0 and <= 1.0"),
            (sampled(top_p=-0.1), "top_p must be > 0.0 and <= 1.0"),
            (sampled(typical_p=1.01), "typical_p must be <= 1.0"),
            (sampled(top_k=2**31), "top_k must be strictly positive"),
            (sampled(top_k=2**32 - 1), "top_k must be strictly positive"),
            ({"stopping": {"max_new_tokens": most + 1}},
             f"max_new_tokens must be <= {most}"),
            ({"stopping": {"max_new_tokens": 3, "min_new_tokens": 4}},
             "min_new_tokens must be <= max_new_tokens"),
            ({"decoding": {"repetition_penalty": -0.1}},
             "repetition_penalty must be > 0.0"),
            ({"stopping": {"stop_sequences": list("abcdefg")}}, STOPS),
            ({"stopping": {"stop_sequences": ["a", ""]}}, STOPS),
            ({"stopping": {"stop_sequences": ["a" * 241]}}, STOPS),
            ({"stopping": {"stop_sequences": ["é" * 120 + "a"]}}, STOPS),
            ({"decoding": {"regex": "a*"}},
             "guided decoding is not supported"),
            ({"decoding": {"format": "JSON"}},
             "guided decoding is not supported"),
        ]
        rows += [({"decoding": {"length_penalty": {"decay_factor": decay}}},
                  "length_penalty must be >= 1.0 and <= 10.0")
                 for decay in (0, 0.99, 10.01, *NOT_FINITE)]
        rows += [({"response": {detail: value}}, DETAIL) for detail, value in (
            ("token_logprobs", True), ("token_ranks", True),
            ("top_n_tokens", 1))]
        rows += [({"response": {"top_n_tokens": 11, asked: True}},
                  "top_n_tokens (11) must be <= 10")
                 for asked in ("input_tokens", "generated_tokens")]
        for fields, details in rows:
            self.assert_both_refused(details, **fields)

    def test_02_what_is_not_finite_gets_the_text_of_its_field(self):
        for value in NOT_FINITE:
            for fields, details in (
                (sampled(temperature=value), "temperature must be >= 0.05"),
                (sampled(top_p=value), "top_p must be > 0.0 and <= 1.0"),
                (sampled(typical_p=value), "typical_p must be <= 1.0"),
                ({"decoding": {"repetition_penalty": value}},
                 "repetition_penalty must be > 0.0"),
            ):
                self.assert_both_refused(details, **fields)

    def test_02_lengths_that_do_not_fit_are_told_with_their_numbers(self):
        text, length = self.long_prompt()
        limit = self.info.max_sequence_length
        self.assert_both_refused(
            f"input tokens ({length}) plus prefix length (0) must be < {limit}",
            text)
        self.assert_both_refused(
            f"input tokens ({limit}) plus prefix length (0) must be < {limit}",
            text, truncate_input_tokens=limit)
        self.assert_both_refused(
            f"input tokens ({limit - 1}) plus prefix length (0) plus "
            f"min_new_tokens (2) must be <= {limit}",
            text, truncate_input_tokens=limit - 1, stopping=exactly(2))

    def test_02_one_input_that_does_not_fit_fails_the_batch(self):
        text, length = self.long_prompt()
        limit = self.info.max_sequence_length
        self.assert_refused(
            lambda: self.server.generate(STORY, text, "", text),
            f"input tokens ({length}) plus prefix length (0) must be < {limit}")

    def test_02_prefixes_and_adapters_that_are_not_there(self):
        invalid = ("Invalid {} ../x, must contain only alphanumeric, _ and - "
                   "and /")
        rows = [
            ({"prefix_id": "no-such"}, "can't retrieve prompt prefix with id "
             "'no-such': prefix id \"no-such\" not found"),
            ({"prefix_id": "ü"}, "can't retrieve prompt prefix with id 'ü': "
             "prefix id \"ü\" not found"),
            ({"prefix_id": "../x"}, "can't retrieve prompt prefix with id "
             "'../x': " + invalid.format("prefix id")),
            ({"adapter_id": "lora"},
             "adapter_id supplied but no adapter store was configured"),
        ]
        for fields, details in rows:
            self.assert_both_refused(details, **fields)
            self.assert_refused(
                lambda: self.server.tokenize(STORY, **fields), details)

    def test_02_of_several_faults_the_first_rule_is_told(self):
        """Faults are added from the last rule to the first; each wins."""
        text, length = self.long_prompt()
        limit = self.info.max_sequence_length
        most = self.info.max_new_tokens
        faults = [
            (f"input tokens ({limit - 1}) plus prefix length (0) plus "
             f"min_new_tokens (2) must be <= {limit}",
             {"truncate_input_tokens": limit - 1, "stopping": exactly(2)}),
            (f"input tokens ({length}) plus prefix length (0) must be < "
             f"{limit}", {"truncate_input_tokens": 0}),
            ("can't retrieve prompt prefix with id 'none': prefix id \"none\" "
             "not found", {"prefix_id": "none"}),
            (STOPS, {"stopping": {"stop_sequences": [""]}}),
            (DETAIL, {"response": {"token_ranks": True}}),
            (STOPS, {"stopping": {"stop_sequences": ["a"] * 7}}),
            ("length_penalty must be >= 1.0 and <= 10.0",
             {"decoding": {"length_penalty": {"decay_factor": 0.5}}}),
            ("repetition_penalty must be > 0.0",
             {"decoding": {"repetition_penalty": -1}}),
            ("min_new_tokens must be <= max_new_tokens",
             {"stopping": {"min_new_tokens": most + 9}}),
            (f"max_new_tokens must be <= {most}",
             {"stopping": {"max_new_tokens": most + 8}}),
            ("top_k must be strictly positive", sampled(top_k=2**31)),
            ("typical_p must be <= 1.0", sampled(typical_p=2)),
            ("top_p must be > 0.0 and <= 1.0", sampled(top_p=-1)),
            ("temperature must be >= 0.05", sampled(temperature=0.04)),
        ]
        fields = {}
        for details, more in faults:
            for name, value in more.items():
                if isinstance(value, dict):
                    fields.setdefault(name, {}).update(value)
                else:
                    fields[name] = value
            self.assert_both_refused(details, text, **fields)

    def test_02_a_stream_without_a_request_is_refused(self):
        self.assert_refused(
            lambda: list(self.server.stub.GenerateStream(
                pb.SingleGenerationRequest())), "missing request")

    def test_02_the_bounds_themselves_are_accepted(self):
        rows = [
            sampled(temperature=0.05), sampled(top_p=1), sampled(typical_p=1),
            sampled(typical_p=-1), sampled(top_k=2**31 - 1),
            {"decoding": {"repetition_penalty": 1000}},
            {"decoding": {"length_penalty": {"decay_factor": 1}}},
            {"decoding": {"length_penalty": {"decay_factor": 10}}},
            {"decoding": {"format": "TEXT"}},
            {"stopping": {"stop_sequences": ["é" * 120, *"\0\1\2\3\4"]}},
            {"response": {"top_n_tokens": 10, "generated_tokens": True}},
        ]
        for fields in rows:
            with self.subTest(fields):
                stopping = {**fields.pop("stopping", {}), "max_new_tokens": 1}
                self.assertEqual(
                    self.one(**fields,
                             stopping=stopping).generated_token_count, 1)
        self.assertGreaterEqual(
            self.one(stopping={"max_new_tokens": self.info.max_new_tokens,
                               "time_limit_millis": 1}).generated_token_count,
            1)


class FurtherRequestTest(ConformanceTest):
    """Sections 2 and 23."""

    def test_nothing_set_is_greedy_and_at_most_twenty_tokens(self):
        answer = self.one()
        self.assertEqual(answer.seed, 0)
        self.assertLessEqual(answer.generated_token_count, 20)
        self.assertEqual(
            answer.text, self.one(stopping={"max_new_tokens": 20}).text)
        self.assert_both_refused("min_new_tokens must be <= max_new_tokens",
                                 stopping={"min_new_tokens": 21})
        self.assertEqual(
            self.one(stopping={"min_new_tokens": 20}).generated_token_count, 20)

    def test_greedy_discards_sampling_values_unread(self):
        answer = self.one(sampling={"temperature": 0.01, "top_p": 7,
                                    "typical_p": "NaN", "top_k": 2**31,
                                    "seed": 5})
        self.assertEqual(answer.text, self.one().text)
        self.assertEqual(answer.seed, 0)

    def test_a_method_that_is_not_known_is_greedy(self):
        request = batch(STORY)
        request.params.method = 7
        (answer,) = self.server.stub.Generate(request).responses
        self.assertEqual(answer, self.one())

    def test_an_explicit_temperature_of_zero_is_greedy(self):
        answer = self.one(method="SAMPLE",
                          sampling={"temperature": 0.0, "seed": 5})
        self.assertEqual(answer, self.one())

    def test_sampling_values_of_zero_are_the_defaults(self):
        seeded = {"method": "SAMPLE", "sampling": {"seed": 3}}
        zeros = {"method": "SAMPLE",
                 "sampling": {"seed": 3, "top_k": 0, "top_p": 0,
                              "typical_p": 0}}
        ones = {"method": "SAMPLE",
                "sampling": {"seed": 3, "temperature": 1, "top_p": 1,
                             "typical_p": 1}}
        want = self.one(**seeded)
        self.assertEqual(self.one(**zeros), want)
        self.assertEqual(self.one(**ones), want)
        self.assertEqual(
            self.one(**seeded, decoding={"repetition_penalty": 1}), want)

    def test_empty_ids_are_absent(self):
        self.assertEqual(self.one(prefix_id="", adapter_id=""), self.one())

    def test_a_batch_answers_in_the_order_of_its_requests(self):
        texts = ["The king", STORY, "", "The king"]
        together = self.server.generate(*texts, stopping=exactly(1),
                                        response={"input_text": True})
        alone = [self.one(text, stopping=exactly(1),
                          response={"input_text": True}) for text in texts]
        self.assertEqual(list(together), alone)
        for text, answer in zip(texts, together):
            self.assertTrue(answer.text.startswith(text))

    def test_an_empty_prompt_is_its_bos(self):
        answer = self.one("", stopping=exactly(2))
        self.assertEqual(answer.input_token_count,
                         self.server.tokenize("")[0].token_count)
        self.assertEqual(answer.generated_token_count, 2)

    def test_compressed_requests_are_accepted(self):
        for how in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            answer = self.server.stub.Generate(batch(STORY), compression=how)
            self.assertEqual(answer.responses[0], self.one())

    def test_what_is_no_message_is_told_from_a_method_that_is_not_there(self):
        not_utf8 = b"\x12\x01\xff"
        for method, sent in (("Generate", b"\xff\xff"),
                             ("Generate", b"\x1a\x03" + not_utf8),
                             ("Tokenize", b"\x12\x03\x0a\x01\xff"),
                             ("ModelInfo", b"\x0a\x01\xff")):
            call = self.server.channel.unary_unary(
                "/fmaas.GenerationService/" + method)
            with self.assertRaises(grpc.RpcError) as raised:
                call(sent)
            self.assertIn(raised.exception.code(),
                          (grpc.StatusCode.INVALID_ARGUMENT,
                           grpc.StatusCode.INTERNAL))
            self.assertNotEqual(raised.exception.details(), "")

    @needs_own_server
    def test_a_message_over_the_limit_is_refused(self):
        with self.assertRaises(grpc.RpcError) as raised:
            self.one("a" * (4 << 20))
        self.assertEqual(raised.exception.code(),
                         grpc.StatusCode.RESOURCE_EXHAUSTED)


class SmallServerTest(ConformanceTest):
    flags = ("--max-new-tokens", "7", "--max-top-n-tokens", "2")

    def test_02_the_cap_of_top_n_tokens_is_the_servers(self):
        asked = {"generated_tokens": True}
        self.assert_both_refused("top_n_tokens (3) must be <= 2",
                                 response={"top_n_tokens": 3, **asked})
        (record,) = self.one(stopping=exactly(1), response={
            "top_n_tokens": 2, **asked}).tokens
        self.assertEqual(len(record.top_tokens), 2)

    def test_the_implicit_limit_yields_to_the_servers(self):
        self.assertEqual(self.one(stopping={"min_new_tokens": 7})
                         .generated_token_count, 7)
        self.assert_both_refused("max_new_tokens must be <= 7",
                                 stopping={"max_new_tokens": 8})


if __name__ == "__main__":
    unittest.main()
