"""Who is let in, and what answers all the same (points 18 and 20)."""

import unittest

import grpc

from target import (LONG_ANSWERS, STORY, ConformanceTest, await_that, exactly,
                    reason)

OVERLOADED = "Model is overloaded"
REFUSED = 'tgi_request_failure{err="conc_limit"}'
SERVING = b"\x08\x01"  # of grpc.health.v1, of which there are no stubs here


class AdmissionTest(ConformanceTest):
    flags = ("--max-concurrent-requests", "3", *LONG_ANSWERS)

    def setUp(self):
        await_that(lambda: self.is_admitted("a", "b", "c"),
                   "the permits of tests before are back")

    def assert_overloaded(self, call, details=OVERLOADED):
        self.assert_refused(call, details, grpc.StatusCode.RESOURCE_EXHAUSTED)

    def is_admitted(self, *texts):
        try:
            self.server.generate(*texts, stopping=exactly(1))
            return True
        except grpc.RpcError as error:
            self.assertEqual(error.details(), OVERLOADED)
            return False

    def test_18_permits_are_counted_in_inputs(self):
        refused = self.metrics()[REFUSED]
        with self.running(), self.running():
            self.assert_overloaded(lambda: self.server.generate("a", "b"))
            with self.running():
                self.assert_overloaded(self.one)
                self.assert_overloaded(self.messages)
                self.check_the_rest_answers()
        # A permit is held until its stream has ended.
        await_that(lambda: self.is_admitted("a", "b", "c"),
                   "the permits are back")
        self.assertGreaterEqual(self.metrics()[REFUSED], refused + 3)

    def check_the_rest_answers(self):
        self.server.model_info()
        self.assertEqual(self.server.tokenize(*[STORY] * 9)[8],
                         self.server.tokenize(STORY)[0])
        self.assertEqual(len(self.server.generate()), 0)
        for path in ("/health", "/health/live", "/health/ready", "/metrics"):
            self.assertEqual(self.server.http(path)[0], 200, path)
        check = self.server.channel.unary_unary("/grpc.health.v1.Health/Check")
        self.assertEqual(check(b""), SERVING)

    def test_18_overload_comes_before_validation(self):
        bad = {"method": "SAMPLE", "sampling": {"temperature": 0.01}}
        with self.running(), self.running(), self.running():
            self.assert_overloaded(lambda: self.one(**bad))
            self.assert_overloaded(lambda: self.messages(**bad))

    def test_18_a_batch_that_can_never_be_served_names_the_limit(self):
        with self.assertRaises(grpc.RpcError) as raised:
            self.server.generate("a", "b", "c", "d")
        self.assertEqual(raised.exception.code(),
                         grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertRegex(raised.exception.details(), rf"^{OVERLOADED}.*\b3\b")

    def test_18_nobody_of_a_batch_that_is_refused_runs(self):
        inputs = self.metrics()["tgi_request_input_length_count"]
        with self.running(), self.running():
            for _ in range(3):
                self.assert_overloaded(lambda: self.server.generate("a", "b"))
        self.assertEqual(self.metrics()["tgi_request_input_length_count"],
                         inputs + 2)


class ModelInfoTest(ConformanceTest):

    def test_20_limits_are_those_of_the_server(self):
        self.assertEqual(self.info.model_kind, 0)
        self.assertGreater(self.info.max_new_tokens, 0)
        self.assertLess(self.info.max_new_tokens,
                        self.info.max_sequence_length)


class SmallContextTest(ConformanceTest):
    flags = ("--max-sequence-length", "64")

    def test_20_max_new_tokens_is_at_most_what_the_context_leaves(self):
        self.assertEqual((self.info.max_sequence_length,
                          self.info.max_new_tokens), (64, 63))
        answer = self.one(truncate_input_tokens=1, stopping=exactly(63))
        self.assertEqual((answer.generated_token_count, reason(answer)),
                         (63, "MAX_TOKENS"))


class FewNewTokensTest(ConformanceTest):
    flags = ("--max-new-tokens", "7")

    def test_20_max_new_tokens_is_at_most_what_was_configured(self):
        self.assertEqual(self.info.max_new_tokens, 7)


if __name__ == "__main__":
    unittest.main()
