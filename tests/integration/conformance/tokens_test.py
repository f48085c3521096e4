"""What is told of each token, and of which distribution (points 11 and 12)."""

import functools
import itertools
import math
import unittest

from scripted_model import ScriptedModel
from target import ConformanceTest, exactly

DETAILS = {"token_logprobs": True, "token_ranks": True, "top_n_tokens": 3}
RELATIVE = 5e-4  # of a log-probability, as TGIS's own tests compare them


class TokensTest(ConformanceTest):

    def test_11_nothing_is_known_of_the_first_token_of_a_prompt(self):
        first, *rest = self.one(stopping=exactly(1), response={
            "input_tokens": True, **DETAILS}).input_tokens
        self.assertTrue(math.isnan(first.logprob))
        self.assertEqual((first.rank, len(first.top_tokens)), (0, 0))
        self.assertGreater(len(rest), 0)
        for record in rest:
            self.check_record(record)

    def test_11_ranks_and_candidates_agree(self):
        for fields in ({}, {"method": "SAMPLE", "sampling": {"seed": 5}},
                       {"decoding": {"repetition_penalty": 1.5}},
                       {"method": "SAMPLE",
                        "sampling": {"seed": 6, "temperature": 1.5,
                                     "top_p": 0.95}}):
            answer, messages = self.both(
                **fields, stopping=exactly(20),
                response={"generated_tokens": True, **DETAILS})
            self.assertEqual(len(answer.tokens), 20)
            self.assertEqual([t for m in messages for t in m.tokens],
                             list(answer.tokens))
            for record in answer.tokens:
                self.check_record(record)
                if fields.get("method") != "SAMPLE":
                    self.assertEqual(record.rank, 1)

    def check_record(self, record):
        self.assertGreaterEqual(record.rank, 1)
        self.assertLessEqual(record.logprob, 0)
        values = [top.logprob for top in record.top_tokens]
        self.assertEqual(values, sorted(values, reverse=True))
        better = sum(value > record.logprob for value in values)
        if record.rank <= len(values):
            self.assertEqual(better, record.rank - 1)
            self.assertIn((record.text, record.logprob),
                          [(t.text, t.logprob) for t in record.top_tokens])
        else:
            self.assertEqual(better, len(values))
        self.assertLessEqual(sum(map(math.exp, values)), 1 + 1e-4)

    def test_11_only_what_was_asked_for(self):
        for sides in itertools.product((False, True), repeat=2):
            for details in itertools.product((False, True), repeat=3):
                if any(details) and not any(sides):
                    continue
                with self.subTest(sides=sides, details=details):
                    self.check_fields(sides, details)

    def check_fields(self, sides, details):
        of_input, of_output = sides
        logprobs, ranks, top = details
        answer = self.one(stopping=exactly(2), response={
            "input_tokens": of_input, "generated_tokens": of_output,
            "token_logprobs": logprobs, "token_ranks": ranks,
            "top_n_tokens": 2 if top else 0})
        self.assertEqual(len(answer.input_tokens),
                         answer.input_token_count if of_input else 0)
        self.assertEqual(len(answer.tokens), 2 if of_output else 0)
        for record in [*answer.input_tokens[1:], *answer.tokens]:
            self.assertNotEqual(record.text, "")
            self.assertEqual(record.logprob != 0, logprobs)
            self.assertEqual(record.rank != 0, ranks)
            self.assertEqual(len(record.top_tokens) >= 2, top)
            for candidate in record.top_tokens:
                self.assertEqual(candidate.logprob != 0, logprobs)
        if of_input and not logprobs:
            self.assertEqual(answer.input_tokens[0].logprob, 0)

    def test_11_one_that_is_alone_is_certain(self):
        answer = self.one(method="SAMPLE", sampling={"seed": 1, "top_k": 1},
                          stopping=exactly(5),
                          response={"generated_tokens": True, **DETAILS})
        for record in answer.tokens:
            self.assertEqual((record.logprob, record.rank), (0, 1))
            # Nor is it -0, which would be sent.
            self.assertNotIn("logprob",
                             {f.name for f, _ in record.ListFields()})
            self.assertEqual([(t.text, t.logprob) for t in record.top_tokens],
                             [(record.text, 0)])

    def test_11_the_candidates_are_those_that_were_left(self):
        answer = self.one(method="SAMPLE", sampling={"seed": 1, "top_k": 2},
                          stopping=exactly(10),
                          response={"generated_tokens": True, **DETAILS})
        for record in answer.tokens:
            values = [top.logprob for top in record.top_tokens]
            self.assertEqual(len(values), 2)
            self.assertAlmostEqual(sum(map(math.exp, values)), 1, delta=1e-4)


class KnownScoresCase(ConformanceTest):
    """A model whose scores the test has chosen: after each piece those below,
    and 0 for the rest of the vocabulary."""

    PIECES = ["▁", "▁1", "▁2", "▁3", "▁4", "▁a", "▁b", "▁c", "▁d", "▁e"]
    SCORES = {
        "▁1": {"▁d": 9.0, "▁b": 9.0, "▁e": 8.0, "▁a": 8.0, "▁c": 8.0},
        "▁2": {"▁a": 9.0, "▁b": 8.0, "▁c": 7.0, "▁d": 4.0},
        "▁b": {"▁b": 6.0, "</s>": 2.0},
        "▁3": {"▁a": 9.0, "▁3": 9.5, "</s>": 4.0},
        "▁4": {"</s>": 10.0, "▁a": 9.0, "▁b": 8.5},
    }

    @classmethod
    @functools.cache
    def scripted(cls):
        return ScriptedModel(cls.PIECES, cls.SCORES)

    @classmethod
    def model(cls):
        return cls.scripted().folder

    def expected(self, scores, candidates):
        """The candidates' pieces with the logarithms of their shares."""
        total = math.log(sum(map(math.exp, scores.values())))
        return [(piece, scores[piece] - total) for piece in candidates]

    def all_scores(self, last):
        return {piece: self.SCORES[last].get(piece, 0.0)
                for piece in self.scripted().vocabulary}

    def record(self, text, top_n=3, least=0, **fields):
        (record,) = self.one(
            text, stopping={"max_new_tokens": 1, "min_new_tokens": least},
            response={"generated_tokens": True, **DETAILS,
                      "top_n_tokens": top_n}, **fields).tokens
        return record

    def check(self, record, want):
        got = [(t.text, t.logprob) for t in record.top_tokens]
        self.assertEqual([piece for piece, _ in got],
                         [piece for piece, _ in want])
        for (piece, value), (_, expected) in zip(got, want):
            self.assertAlmostEqual(value, expected, msg=piece,
                                   delta=RELATIVE * abs(expected) + 1e-6)
        self.assertIn(record.logprob, [value for piece, value in got
                                       if piece == record.text])


class KnownScoresTest(KnownScoresCase):

    def test_12_ties_at_the_boundary_are_all_there(self):
        """Equal ones by id, which is the order of the vocabulary here."""
        tied = ["▁b", "▁d", "▁a", "▁c", "▁e"]
        want = self.expected(self.all_scores("▁1"), tied)
        for top_n, number in ((1, 2), (2, 2), (3, 5), (4, 5), (5, 5)):
            record = self.record("1", top_n)
            self.check(record, want[:number])
            self.assertEqual((record.text, record.rank), ("▁b", 1))

    def test_12_without_logprobs_they_come_by_id(self):
        (record,) = self.one("1", stopping=exactly(1),
                             response={"generated_tokens": True,
                                       "top_n_tokens": 3}).tokens
        self.assertEqual([(t.text, t.logprob) for t in record.top_tokens],
                         [(piece, 0) for piece in
                          ("▁a", "▁b", "▁c", "▁d", "▁e")])

    def test_12_ties_share_the_best_rank_in_a_prompt_too(self):
        for text, rank in (("1 b", 1), ("1 d", 1), ("1 a", 3), ("1 e", 3),
                           ("1 1", 6)):
            record = self.one(text, stopping=exactly(1), response={
                "input_tokens": True, **DETAILS}).input_tokens[-1]
            self.assertEqual(record.rank, rank, text)
            want = self.expected(self.all_scores("▁1"),
                                 ["▁b", "▁d", "▁a", "▁c", "▁e"])
            self.assertEqual([t.text for t in record.top_tokens],
                             [piece for piece, _ in want])

    def test_12_of_very_many_ties_four_times_as_many_as_asked_for(self):
        """After BOS every score is 0."""
        record = self.record("", top_n=2)
        vocabulary = self.scripted().vocabulary
        self.assertEqual((record.text, record.rank), (vocabulary[0], 1))
        self.check(record, [(piece, -math.log(len(vocabulary)))
                            for piece in vocabulary[:8]])

    def test_11_scores_are_those_after_temperature_and_filters(self):
        scores = self.all_scores("▁2")
        rows = [
            ({"temperature": 0.5}, {p: 2 * s for p, s in scores.items()}, 4),
            ({"top_k": 2}, {"▁a": 9.0, "▁b": 8.0}, 2),
            ({"top_p": 0.7}, {"▁a": 9.0, "▁b": 8.0}, 2),
            ({"top_k": 4, "temperature": 2},
             {"▁a": 4.5, "▁b": 4.0, "▁c": 3.5, "▁d": 2.0}, 4),
        ]
        for sampling, left, number in rows:
            with self.subTest(sampling):
                record = self.record("2", 4, method="SAMPLE",
                                     sampling={"seed": 8, **sampling})
                self.check(record, self.expected(
                    left, ["▁a", "▁b", "▁c", "▁d"][:number]))

    def test_11_a_repetition_penalty_is_of_prompt_and_output(self):
        scores = self.all_scores("▁3")
        scores["▁3"] /= 2
        record = self.record("3", decoding={"repetition_penalty": 2})
        self.check(record, self.expected(scores, ["▁a", "▁3", "</s>"]))

    def test_11_eos_is_banned_before_min_new_tokens(self):
        scores = self.all_scores("▁4")
        self.check(self.record("4"),
                   self.expected(scores, ["</s>", "▁a", "▁b"]))
        del scores["</s>"]
        self.check(self.record("4", top_n=2, least=1),
                   self.expected(scores, ["▁a", "▁b"]))

    def test_11_a_length_penalty_grows_with_each_token(self):
        """The second token is the first that has one: g > start_index = 0."""
        answer = self.one("b", stopping={"max_new_tokens": 9},
                          decoding={"length_penalty": {"start_index": 0,
                                                       "decay_factor": 1.5}},
                          response={"generated_tokens": True, **DETAILS})
        self.assertEqual([t.text for t in answer.tokens],
                         ["▁b", "▁b", "▁b", "</s>"])
        for number, record in enumerate(answer.tokens):
            scores = self.all_scores("▁b")
            scores["</s>"] += 2.0 * (1.5**number - 1)
            self.assertAlmostEqual(
                record.logprob,
                self.expected(scores, [record.text])[0][1], delta=1e-3)


class RawScoresTest(KnownScoresCase):
    flags = ("--raw-logprobs",)

    def test_11_scores_are_the_models_own_if_the_server_is_told_so(self):
        raw = self.expected(self.all_scores("▁2"), ["▁a", "▁b", "▁c", "▁d"])
        for sampling in ({"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.7}):
            record = self.record("2", 4, method="SAMPLE",
                                 sampling={"seed": 8, **sampling})
            self.check(record, raw)
        raw = self.expected(self.all_scores("▁3"), ["▁3", "▁a", "</s>"])
        record = self.record("3", decoding={"repetition_penalty": 2})
        self.check(record, raw)
        self.assertEqual((record.text, record.rank), ("▁a", 2))


if __name__ == "__main__":
    unittest.main()
