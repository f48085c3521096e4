"""Seeds, and that nobody's neighbours change an answer (points 13 to 15)."""

import concurrent.futures
import unittest

from target import (LONG_STORY, MARGIN, STORY, ConformanceTest, exactly,
                    needs_own_server)

ANIMALS = ("fox", "crow", "wolf", "king", "mouse", "frog", "child", "stork")


class SeedsTest(ConformanceTest):

    def test_13_a_greedy_answer_has_no_seed(self):
        answer, messages = self.both(sampling={"seed": 5})
        self.assertEqual(answer.seed, 0)
        self.assertEqual({m.seed for m in messages}, {0})

    def test_13_a_seed_that_was_sent_is_echoed(self):
        for seed in (1, 99, 2**63 + 7):
            answer, messages = self.both(method="SAMPLE",
                                         sampling={"seed": seed})
            self.assertEqual(answer.seed, seed)
            self.assertEqual((messages[0].seed, messages[-1].seed),
                             (seed, seed))
            self.assertEqual({m.seed for m in messages[1:-1]} - {0}, set())

    def test_13_a_seed_that_was_not_sent_is_drawn_and_told(self):
        answers = self.server.generate(*[STORY] * 5, method="SAMPLE",
                                       stopping=exactly(20))
        self.assertEqual(len({a.seed for a in answers}), 5)
        self.assertEqual(len({a.text for a in answers}), 5)
        self.assertLess(max(a.seed for a in answers), 2**32)
        messages = self.messages(method="SAMPLE", stopping=exactly(20))
        self.assertEqual(messages[0].seed, messages[-1].seed)
        again = self.one(method="SAMPLE", stopping=exactly(20),
                         sampling={"seed": messages[0].seed})
        self.assertEqual("".join(m.text for m in messages), again.text)

    def test_13_a_seed_is_for_every_input_of_a_batch(self):
        first, second = self.server.generate(
            STORY, STORY, method="SAMPLE", sampling={"seed": 12},
            stopping=exactly(10))
        self.assertEqual(first, second)


class LoadTest(ConformanceTest):

    def load(self, pool):
        """Long prompts, short answers, penalties, streams that are dropped:
        what is to be waited for."""
        def dropped(seed):
            stream = self.server.stream(STORY, method="SAMPLE",
                                        sampling={"seed": seed},
                                        stopping=exactly(100))
            for _ in range(seed % 7):
                next(stream)
            stream.cancel()

        def long_prompt(number):
            self.one(LONG_STORY, truncate_input_tokens=100 + 37 * number,
                     stopping=exactly(3 + number),
                     decoding={"repetition_penalty": 1.2})

        return [pool.submit(call, number) for number in range(8)
                for call in (dropped, long_prompt)]

    def beside_load(self, call, arguments):
        """The results of calls that are all made at once, in their order."""
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            load = self.load(pool)
            answers = list(pool.map(call, arguments))
            for future in load:
                future.result()
        return answers

    @needs_own_server
    def test_14_the_same_seed_says_the_same_under_any_load(self):
        """Of a draw's margin a client sees nothing: in float32, none of these
        has one that the shape of a batch could matter to."""
        def draw(number):
            return self.one(f"{STORY} a {ANIMALS[number % 8]}",
                            method="SAMPLE", sampling={"seed": number},
                            stopping=exactly(24))

        together = self.beside_load(draw, range(16))
        for number in range(0, 16, 3):
            self.assertEqual(draw(number), together[number])

    @needs_own_server
    def test_14_64_streams_at_once_each_get_their_own_text(self):
        def text(number):
            return "".join(m.text for m in self.messages(
                f"{STORY} there were {number} mice", method="SAMPLE",
                sampling={"seed": 11}, stopping=exactly(24)))

        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            together = list(pool.map(text, range(64)))
        for number in range(0, 64, 16):
            self.assertEqual(text(number), together[number])

    @needs_own_server
    def test_14_the_same_seed_says_the_same_in_any_batch(self):
        fields = {"method": "SAMPLE", "sampling": {"seed": 4},
                  "stopping": exactly(8)}
        alone = [self.one(animal, **fields) for animal in ANIMALS]
        self.assertEqual(list(self.server.generate(*ANIMALS, **fields)), alone)

    def test_15_greedy_answers_are_the_same_under_load(self):
        """As far as the two best candidates are not as good as equal."""
        def tell(animal):
            answer = self.one(
                f"{STORY} a {animal}", stopping=exactly(40),
                response={"generated_tokens": True, "token_logprobs": True,
                          "top_n_tokens": 2})
            return answer.tokens

        together = self.beside_load(tell, ANIMALS)
        num_compared = 0
        for animal, crowded in zip(ANIMALS, together):
            for alone, other in zip(tell(animal), crowded):
                best, second = [t.logprob for t in alone.top_tokens[:2]]
                if best - second < MARGIN and alone.text != other.text:
                    break
                self.assertEqual(alone.text, other.text, animal)
                self.assertAlmostEqual(alone.logprob, other.logprob,
                                       delta=MARGIN)
                num_compared += 1
        self.assertGreater(num_compared, 10 * len(ANIMALS))


if __name__ == "__main__":
    unittest.main()
