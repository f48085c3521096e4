"""What the demo model says through the real binaries. conformance/ is about the
API, whatever a model says."""

import json
import math
import unittest

from drover_server import MODEL, Server, pb

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


if __name__ == "__main__":
    unittest.main()
