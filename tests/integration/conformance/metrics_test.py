"""/metrics: which series there are and what they count (point 23)."""

import contextlib
import re
import unittest

import grpc

from target import (STORY, ConformanceTest, await_that, exactly, needs_http,
                    pb)

# Section 17: name, and labels with their values.
REASONS = ("MAX_TOKENS", "EOS_TOKEN", "TIME_LIMIT", "STOP_SEQUENCE",
           "TOKEN_LIMIT")
KINDS = ("single", "batch", "stream")
ERRORS = ("conc_limit", "queue_full", "validation", "generate", "unknown",
          "cancelled", "timeout")
METHODS = ("prefill", "next_token")

COUNTERS = {
    "tgi_request_count": {"kind": KINDS},
    "tgi_request_input_count": {},
    "tgi_request_success": {"stop_reason": REASONS, "kind": KINDS},
    "tgi_request_failure": {"err": ERRORS},
    "tgi_tokenize_request_count": {},
    "tgi_tokenize_request_input_count": {},
    "tgi_batch_inference_count": {"method": METHODS},
    "tgi_batch_inference_success": {"method": METHODS},
    "tgi_batch_inference_failure": {"method": METHODS, "reason": (
        "oom", "connection", "error")},
    "tgi_batch_concatenation_count": {},
    "tgi_queue_jump": {},
    "tgi_granular_batch_addition": {},
    "tgi_prefill_weight_limit_exceeded": {},
    "tgi_prefill_padding_limit_exceeded": {},
    "tgi_prompt_load_failure": {},
}
STEP = {"method": METHODS, "makeup": ("single_only",)}
HISTOGRAMS = {
    **{f"tgi_{name}": {} for name in (
        "request_duration", "request_validation_duration",
        "request_queue_duration", "request_inference_duration",
        "request_mean_time_per_token_duration", "tokenize_request_duration",
        "prompt_load_duration", "request_input_length", "request_total_tokens",
        "request_generated_tokens", "request_max_new_tokens",
        "tokenize_request_tokens", "request_raw_input_length",
        "batch_next_tokens", "time_to_first_token_duration",
        "inter_token_duration")},
    "tgi_batch_inference_duration": STEP,
    "tgi_batch_inference_forward_duration": STEP,
    "tgi_batch_inference_tokproc_duration": STEP,
    "tgi_batch_inference_batch_size": {"method": METHODS},
}
GAUGES = ("tgi_queue_size", "tgi_batch_current_size", "tgi_batch_input_tokens",
          "tgi_batch_max_remaining_tokens", "tgi_kv_cache_usage_ratio")


def label_sets(labels):
    """{"a": ("x", "y")} -> [{a="x"}, {a="y"}]"""
    sets = [frozenset()]
    for name, values in labels.items():
        sets = [some | {f'{name}="{value}"'} for some in sets
                for value in values]
    return sets


def split(series):
    """(name, set of labels) of a series."""
    name, _, labels = series.partition("{")
    return name, frozenset(re.findall(r'\w+="[^"]*"', labels))


@needs_http
class MetricsTest(ConformanceTest):

    def test_23_every_series_is_there_before_it_counts_anything(self):
        present = {split(series) for series in self.metrics()}
        for name, labels in COUNTERS.items():
            for some in label_sets(labels):
                self.assertIn((name, some), present)
                self.assertIn((name + "_total", some), present)
        for name, labels in HISTOGRAMS.items():
            for some in label_sets(labels):
                for suffix in ("_sum", "_count"):
                    self.assertIn((name + suffix, some), present)
                self.assertIn((name + "_bucket", some | {'le="+Inf"'}),
                              present)
        for name in GAUGES:
            self.assertIn((name, frozenset()), present)

    def test_23_durations_have_the_buckets_of_tgis(self):
        bounds = sorted(
            float(re.search('le="([^"]*)"', series).group(1))
            for series in self.metrics()
            if series.startswith("tgi_request_duration_bucket"))
        want = [0.00015 * 1.5**k for k in range(35)] + [float("inf")]
        self.assertEqual(len(bounds), len(want))
        for got, expected in zip(bounds[:-1], want):
            self.assertAlmostEqual(got, expected, delta=1e-4 * expected)
        self.assertEqual(bounds[-1], want[-1])


@needs_http
class CountingTest(ConformanceTest):
    """Each test says which series its traffic moves, and by how much."""

    @contextlib.contextmanager
    def counted(self, **want):
        """Series by their names, with the labels' values after the name."""
        await_that(lambda: self.metrics()["tgi_batch_current_size"] == 0,
                   "nothing runs")
        before = self.metrics()
        yield
        series = {name: self.find(before, name) for name in want}

        def moved():
            after = self.metrics()
            return {name: after[series[name]] - before[series[name]]
                    for name in want}

        try:
            await_that(lambda: moved() == want, "")
        except AssertionError:
            self.assertEqual(moved(), want)

    def find(self, metrics, name):
        """`request_count__stream`: the series with a label of that value."""
        name, *values = name.split("__")
        (series,) = [
            series for series in metrics if split(series)[0] == f"tgi_{name}"
            and all(f'="{value}"' in series for value in values)]
        return series

    def test_23_of_calls_and_tokens(self):
        length = self.server.tokenize(STORY)[0].token_count
        with self.counted(
                request_count__single=1, request_count__batch=1,
                request_count__stream=2, request_input_count=5,
                request_success__MAX_TOKENS__single=1,
                request_success__MAX_TOKENS__batch=2,
                request_success__MAX_TOKENS__stream=2,
                request_generated_tokens_sum=5 * 4,
                request_generated_tokens_count=5,
                request_input_length_sum=5 * length,
                request_total_tokens_sum=5 * (length + 4),
                request_max_new_tokens_sum=5 * 4,
                request_raw_input_length_sum=5 * length,
                request_duration_count=5, request_queue_duration_count=5,
                request_inference_duration_count=5,
                request_mean_time_per_token_duration_count=5,
                time_to_first_token_duration_count=5,
                inter_token_duration_count=5 * 3,
                request_failure__validation=0):
            self.one(stopping=exactly(4))
            self.server.generate(STORY, STORY, stopping=exactly(4))
            self.messages(stopping=exactly(4))
            self.messages(stopping=exactly(4))

    def test_23_of_ends(self):
        forced = {"length_penalty": {"start_index": 1, "decay_factor": 10}}
        text = self.one(stopping=exactly(8)).text
        with self.counted(request_success__EOS_TOKEN__single=1,
                          request_success__STOP_SEQUENCE__single=1,
                          request_success__TIME_LIMIT__stream=1):
            self.one(stopping={"max_new_tokens": 50}, decoding=forced)
            self.one(stopping={"max_new_tokens": 8, "stop_sequences": [
                text[2:5]]})
            self.messages(stopping={**exactly(self.info.max_new_tokens),
                                    "time_limit_millis": 1})

    def test_23_of_what_is_refused(self):
        """Calls count once, whatever their inputs."""
        bad = {"stopping": {"max_new_tokens": self.info.max_new_tokens + 1}}
        with self.counted(request_count__batch=1, request_count__stream=1,
                          request_input_count=4,
                          request_failure__validation=2,
                          request_success__MAX_TOKENS__batch=0):
            for call in (lambda: self.server.generate("a", "b", "c", **bad),
                         lambda: self.messages(**bad)):
                with self.assertRaises(grpc.RpcError):
                    call()

    def test_23_of_an_empty_batch_and_a_missing_request(self):
        with self.counted(request_count__batch=1,
                          request_failure__validation=0,
                          request_validation_duration_count=0):
            self.server.generate()
            with self.assertRaises(grpc.RpcError):
                list(self.server.stub.GenerateStream(
                    pb.SingleGenerationRequest()))

    def test_23_of_lengths_before_truncation(self):
        length = self.server.tokenize(STORY)[0].token_count
        with self.counted(request_raw_input_length_sum=length,
                          request_input_length_sum=2):
            self.one(truncate_input_tokens=2, stopping=exactly(1))

    def test_23_of_what_is_cancelled(self):
        with self.counted(request_failure__cancelled=1,
                          request_count__stream=1):
            with self.running():
                pass

    def test_23_of_tokenize(self):
        length = self.server.tokenize(STORY)[0].token_count
        with self.counted(tokenize_request_count=2,
                          tokenize_request_input_count=3,
                          tokenize_request_tokens_sum=3 * length,
                          tokenize_request_duration_count=2,
                          request_count__single=0):
            self.server.tokenize(STORY)
            self.server.tokenize(STORY, STORY)

    def test_23_of_steps(self):
        with self.counted(batch_inference_count__prefill=1,
                          batch_inference_success__prefill=1,
                          batch_inference_failure__prefill__error=0,
                          batch_next_tokens_count=1):
            self.one(stopping=exactly(3))


if __name__ == "__main__":
    unittest.main()
