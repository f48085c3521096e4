"""Limits of time, and requests that nobody waits for any more (points 16
and 17)."""

import unittest

import grpc

from target import (LONG_ANSWERS, STORY, ConformanceTest, batch, exactly,
                    needs_http, pb, reason)

CANCELLED = 'tgi_request_failure{err="cancelled"}'
PREFILLS = 'tgi_batch_inference_count{method="prefill"}'
DECODES = 'tgi_batch_inference_count{method="next_token"}'
RUNNING = "tgi_batch_current_size"
BLOCKS = "tgi_kv_cache_usage_ratio"


class TimeLimitTest(ConformanceTest):

    def check(self, answer, messages, most):
        for last in (answer, messages[-1]):
            self.assertEqual(reason(last), "TIME_LIMIT")
            self.assertGreaterEqual(last.generated_token_count, 1)
            self.assertLess(last.generated_token_count, most)
            self.assertEqual(last.stop_sequence, "")
        self.assertEqual(len(answer.tokens), answer.generated_token_count)
        self.assertEqual([m.generated_token_count for m in messages[1:]],
                         [*range(1, len(messages))])

    def test_16_in_the_middle_of_decoding_and_of_min_new_tokens(self):
        most = self.info.max_new_tokens
        for least in (0, most):
            # Where EOS may come, it is made unlikely.
            self.check(*self.both(
                method="SAMPLE", sampling={"seed": 2, "temperature": 9},
                stopping={"max_new_tokens": most, "min_new_tokens": least,
                          "time_limit_millis": 40},
                response={"generated_tokens": True}), most)

    @needs_http
    def test_16_who_is_late_on_an_idle_server_still_gets_a_token(self):
        for _ in range(5):
            self.await_metric(RUNNING, 0)
            answer = self.one(stopping={**exactly(100),
                                        "time_limit_millis": 1})
            self.await_metric(RUNNING, 0)
            messages = self.messages(stopping={**exactly(100),
                                               "time_limit_millis": 1},
                                     response={"generated_tokens": True})
            for last in (answer, messages[-1]):
                self.assertEqual(reason(last), "TIME_LIMIT")
                self.assertGreaterEqual(last.generated_token_count, 1)


class QueueTest(ConformanceTest):
    """One runs; who comes then waits."""

    flags = ("--max-batch-size", "1", *LONG_ANSWERS)

    def setUp(self):
        self.await_metric(RUNNING, 0)

    def test_03_a_stream_is_acknowledged_before_it_is_its_turn(self):
        with self.running():
            waiting = self.server.stream(STORY, method="SAMPLE",
                                         sampling={"seed": 9})
            first = next(waiting)
            self.assertEqual(first, pb.GenerationResponse(
                input_token_count=first.input_token_count, seed=9))
            self.assertGreater(first.input_token_count, 0)
            waiting.cancel()

    def test_16_in_the_queue(self):
        fields = {"method": "SAMPLE", "sampling": {"seed": 5},
                  "stopping": {"max_new_tokens": 9, "time_limit_millis": 20},
                  "response": {"input_text": True, "input_tokens": True,
                               "generated_tokens": True}}
        with self.running():
            answer, messages = self.both(**fields)
        length = messages[0].input_token_count
        self.assertEqual(answer, pb.GenerationResponse(
            input_token_count=length, stop_reason=pb.TIME_LIMIT))
        self.assertEqual(messages, [
            pb.GenerationResponse(input_token_count=length, seed=5, text=STORY),
            pb.GenerationResponse(stop_reason=pb.TIME_LIMIT),
        ])

    def test_17_a_cancelled_request_makes_room(self):
        before = self.metrics()
        with self.running() as running:
            waiting = self.server.stream(STORY, stopping=exactly(3))
            next(waiting)
            running.cancel()
            with self.assertRaises(grpc.RpcError) as raised:
                list(running)
            self.assertEqual(raised.exception.code(),
                             grpc.StatusCode.CANCELLED)
            self.assertEqual(list(waiting)[-1].generated_token_count, 3)
        self.await_metric(CANCELLED, before[CANCELLED] + 1)
        self.await_metric(BLOCKS, 0)
        self.assertLess(self.metrics()[DECODES] - before[DECODES],
                        self.info.max_new_tokens)

    def test_17_a_unary_call_too(self):
        cancelled = self.metrics()[CANCELLED]
        call = self.server.stub.Generate.future(batch(
            STORY, STORY, stopping=exactly(self.info.max_new_tokens)))
        self.await_metric(RUNNING, 1)
        call.cancel()
        self.await_metric(CANCELLED, cancelled + 2)
        self.await_metric(BLOCKS, 0)

    def check_never_runs(self, leave):
        """`leave` makes a request that waits and takes its client away."""
        before = self.metrics()
        with self.running():
            leave()
            self.await_metric(CANCELLED, before[CANCELLED] + 1)
            self.assertEqual(self.metrics()[RUNNING], 1)
        self.one(stopping=exactly(1))
        after = self.metrics()
        self.assertEqual(after[PREFILLS], before[PREFILLS] + 2)

    def test_17_who_is_cancelled_in_the_queue_never_runs(self):
        def leave():
            waiting = self.server.stream(STORY)
            next(waiting)
            waiting.cancel()

        self.check_never_runs(leave)

    def test_17_whose_clients_deadline_passes_in_the_queue_never_runs(self):
        def leave():
            with self.assertRaises(grpc.RpcError) as raised:
                self.server.generate(STORY, timeout=0.05)
            self.assertEqual(raised.exception.code(),
                             grpc.StatusCode.DEADLINE_EXCEEDED)

        self.check_never_runs(leave)


if __name__ == "__main__":
    unittest.main()
