"""The messages of a stream and their order (points 3 and 4)."""

import itertools
import random
import unittest

from target import STORY, ConformanceTest, exactly, pb


def names(message):
    return {field.name for field, _ in message.ListFields()}


class StreamTest(ConformanceTest):

    def test_03_the_order_of_messages_for_every_combination_of_details(self):
        for asked in itertools.product((False, True), repeat=3):
            for method in ("GREEDY", "SAMPLE"):
                with self.subTest(asked, method=method):
                    self.check_order(*asked, method)

    def check_order(self, echo, input_tokens, generated_tokens, method):
        seed = {"seed"} if method == "SAMPLE" else set()
        first, *rest = self.messages(
            method=method, sampling={"seed": 99}, stopping=exactly(3),
            response={"input_text": echo, "input_tokens": input_tokens,
                      "generated_tokens": generated_tokens})
        self.assertEqual(names(first), {"input_token_count"} | seed |
                         ({"text"} if echo else set()))
        if echo:
            self.assertEqual(first.text, STORY)
        if input_tokens:
            second = rest.pop(0)
            self.assertEqual(names(second),
                             {"input_token_count", "input_tokens"})
            self.assertEqual(second.input_token_count,
                             len(second.input_tokens))
            self.assertEqual(second.input_token_count, first.input_token_count)
        # Without token records, what waits for the writer may be merged.
        counts = [message.generated_token_count for message in rest]
        if generated_tokens:
            self.assertEqual(counts, [1, 2, 3])
        self.assertEqual(counts, sorted(set(counts)))
        self.assertEqual(counts[-1], 3)
        token = {"generated_token_count"} | (
            {"tokens"} if generated_tokens else set())
        for message in rest[:-1]:
            self.assertEqual(names(message) - {"text"}, token)
            self.assertTrue(message.text or message.tokens)
        last = rest[-1]
        self.assertEqual(names(last) - {"text"}, token | seed | {"stop_reason"})
        self.assertEqual(last.stop_reason, pb.MAX_TOKENS)
        self.assertEqual({last.seed, first.seed}, {99 if seed else 0})
        for message in rest if generated_tokens else ():
            self.assertEqual(len(message.tokens), 1)

    def test_04_a_stream_adds_up_to_the_unary_text(self):
        for method in ("GREEDY", "SAMPLE"):
            for echo in (False, True):
                answer, messages = self.both(
                    method=method, sampling={"seed": 7, "temperature": 0.8},
                    stopping={"max_new_tokens": 40},
                    response={"input_text": echo})
                self.check_sum(answer, messages)
                self.assertEqual(answer.text.startswith(STORY), echo)

    def test_04_whatever_the_parameters(self):
        base = self.one(stopping={"max_new_tokens": 40}).text
        for seed in range(20):
            fields = random_fields(random.Random(seed), base)
            with self.subTest(seed=seed, fields=fields):
                self.check_sum(*self.both(**fields))

    def check_sum(self, answer, messages):
        self.assertEqual("".join(m.text for m in messages), answer.text)
        self.assertEqual(messages[0].input_token_count,
                         answer.input_token_count)
        counts = [m.generated_token_count for m in messages
                  if m.generated_token_count]
        self.assertEqual(counts, sorted(set(counts)))
        for field in ("generated_token_count", "stop_reason", "stop_sequence",
                      "seed"):
            self.assertEqual(getattr(messages[-1], field),
                             getattr(answer, field), field)
        self.assertEqual([t for m in messages for t in m.tokens],
                         list(answer.tokens))


def random_fields(rng, text):
    """Parameters under which a request has one answer."""
    most = rng.randrange(1, 25)
    begin = rng.randrange(max(1, len(text) - 8))
    flag = lambda: rng.random() < 0.5
    return {
        "method": rng.choice(("GREEDY", "SAMPLE")),
        "sampling": {"seed": rng.randrange(2**32),
                     "temperature": rng.choice((0, 0.2, 1.5)),
                     "top_k": rng.choice((0, 3)),
                     "top_p": rng.choice((0, 0.9)),
                     "typical_p": rng.choice((0, 0.7))},
        "stopping": {"max_new_tokens": most,
                     "min_new_tokens": rng.choice((0, most // 2)),
                     "stop_sequences": [
                         text[begin:begin + rng.randrange(1, 8)] or "x"
                         for _ in range(rng.randrange(3))],
                     "include_stop_sequence": flag()},
        "decoding": {"repetition_penalty": rng.choice((0, 1.3)),
                     "length_penalty": {"start_index": rng.randrange(20),
                                        "decay_factor": 1.5}},
        "response": {"generated_tokens": flag(), "input_text": flag()},
        "truncate_input_tokens": rng.randrange(3),
    }


if __name__ == "__main__":
    unittest.main()
