"""What becomes of a prompt: truncation and Tokenize (points 8 and 19)."""

import functools
import re
import unittest

from scripted_model import ScriptedModel
from target import LONG_STORY, STORY, ConformanceTest, exactly

LLAMA = "\N{LLAMA}"
TEXTS = ("The very first", "é a", "naïve façade, Zürich", f"a {LLAMA} b",
         f"{LLAMA}{LLAMA}", "\n\nx", "日本語 text", "\t tab", "  two  spaces ",
         "a\0b", "\u200d", "e\u0301", "x")


class TruncationTest(ConformanceTest):

    def pieces(self, text):
        return list(self.server.tokenize(text, return_tokens=True)[0].tokens)

    def test_08_the_last_tokens_are_kept_and_bos_before_them(self):
        whole = self.pieces(LONG_STORY)
        begin = self.pieces("")  # BOS, if the model has one
        for number in (1, 2, 7, 40):
            answer, messages = self.both(
                LONG_STORY, truncate_input_tokens=number, stopping=exactly(1),
                response={"input_text": True, "input_tokens": True})
            want = whole[-number:]
            want[:len(begin)] = begin
            self.assertEqual([t.text for t in answer.input_tokens], want)
            self.assertEqual(answer.input_token_count, number)
            self.assertEqual(messages[0].input_token_count, number)
            self.assertEqual(messages[1].input_tokens[1:],
                             answer.input_tokens[1:])

    def test_08_the_echo_is_not_truncated(self):
        answer, messages = self.both(STORY + " é", truncate_input_tokens=2,
                                     stopping=exactly(2),
                                     response={"input_text": True})
        self.assertTrue(answer.text.startswith(STORY + " é"))
        self.assertEqual(messages[0].text, STORY + " é")
        self.assertEqual("".join(m.text for m in messages), answer.text)

    def test_08_what_is_short_enough_stays_as_it_is(self):
        number = self.server.tokenize(STORY)[0].token_count
        for limit in (0, number, number + 1, 2**32 - 1):
            self.assertEqual(
                self.one(truncate_input_tokens=limit, stopping=exactly(5)),
                self.one(stopping=exactly(5)))

    def test_08_what_is_left_decides_the_answer(self):
        """As if it alone had been sent, where the tokens are the same."""
        story = LONG_STORY.strip()
        tail = " ".join(story.split()[-6:])
        number = self.server.tokenize(tail)[0].token_count
        if self.pieces(tail)[1:] != self.pieces(story)[1 - number:]:
            self.skipTest("the end of a text has other tokens alone")
        self.assertEqual(
            self.one(story, truncate_input_tokens=number,
                     stopping=exactly(8)).text,
            self.one(tail, stopping=exactly(8)).text)


class TokenizeTest(ConformanceTest):

    def test_19_offsets_are_of_the_texts_bytes(self):
        answers = self.server.tokenize(*TEXTS, return_tokens=True,
                                       return_offsets=True)
        (empty,) = self.server.tokenize("", return_tokens=True)
        for text, answer in zip(TEXTS, answers):
            with self.subTest(text):
                self.assertEqual(answer.tokens[:len(empty.tokens)],
                                 empty.tokens)
                self.check_offsets(text, answer, len(empty.tokens))

    def check_offsets(self, text, answer, num_special):
        ranges = [(o.start, o.end) for o in answer.offsets]
        self.assertEqual(len(ranges), answer.token_count)
        self.assertEqual(len(answer.tokens), answer.token_count)
        self.assertEqual(ranges[:num_special], [(0, 0)] * num_special)
        borders = {len(text[:end].encode()) for end in range(len(text) + 1)}
        covered = set()
        for piece, (start, end) in zip(answer.tokens[num_special:],
                                       ranges[num_special:]):
            self.assertLess(start, end, piece)
            if re.fullmatch("<0x..>", piece):  # whole characters
                self.assertLessEqual({start, end}, borders, piece)
            covered |= set(range(start, end))
        self.assertEqual(ranges[num_special:], sorted(ranges[num_special:]))
        if " " * 2 not in text and not text.endswith(" "):
            self.assertEqual(covered, set(range(len(text.encode()))))

    def test_19_words_have_the_space_before_them(self):
        (answer,) = self.server.tokenize("a b", return_tokens=True,
                                         return_offsets=True)
        ranges = [(o.start, o.end) for o in answer.offsets][-2:]
        self.assertEqual(ranges, [(0, 1), (1, 3)])

    def test_19_truncation_keeps_the_last_without_bos(self):
        text = f"The very é {LLAMA} first"
        (whole,) = self.server.tokenize(text, return_tokens=True,
                                        return_offsets=True)
        for number in (1, 2, 5, whole.token_count, whole.token_count + 1):
            (answer,) = self.server.tokenize(text, return_tokens=True,
                                             return_offsets=True,
                                             truncate_input_tokens=number)
            self.assertEqual(answer.token_count,
                             min(number, whole.token_count))
            self.assertEqual(answer.tokens[:], whole.tokens[-number:])
            self.assertEqual(answer.offsets[:], whole.offsets[-number:])

    def test_19_each_is_given_only_if_asked_for(self):
        for tokens in (False, True):
            for offsets in (False, True):
                (answer,) = self.server.tokenize(
                    STORY, return_tokens=tokens, return_offsets=offsets)
                number = answer.token_count
                self.assertEqual(len(answer.tokens), number if tokens else 0)
                self.assertEqual(len(answer.offsets), number if offsets else 0)
        self.assertEqual(len(self.server.tokenize()), 0)

    def test_19_it_counts_as_generate_does(self):
        for text in TEXTS:
            self.assertEqual(self.server.tokenize(text)[0].token_count,
                             self.one(text, stopping=exactly(1))
                             .input_token_count)


class KnownPiecesTest(ConformanceTest):
    """A sentencepiece model of which the test knows every piece."""

    PIECES = ["▁", "a", "é", "▁a", "▁ab", "b", "ab"]

    @classmethod
    @functools.cache
    def model(cls):
        return ScriptedModel(cls.PIECES, {}).folder

    def test_19_pieces_and_offsets_are_these(self):
        llama = ["<0xF0>", "<0x9F>", "<0xA6>", "<0x99>"]
        rows = [
            ("ab a", [("▁ab", 0, 2), ("▁a", 2, 4)]),
            ("é a", [("▁", 0, 2), ("é", 0, 2), ("▁a", 2, 4)]),
            (f"a{LLAMA}b", [("▁a", 0, 1), *((p, 1, 5) for p in llama),
                            ("b", 5, 6)]),
            (LLAMA, [("▁", 0, 4), *((p, 0, 4) for p in llama)]),
            ("\n", [("▁", 0, 1), ("<0x0A>", 0, 1)]),
        ]
        for text, want in rows:
            (answer,) = self.server.tokenize(text, return_tokens=True,
                                             return_offsets=True)
            got = [(piece, o.start, o.end)
                   for piece, o in zip(answer.tokens, answer.offsets)]
            self.assertEqual(got, [("<s>", 0, 0), *want], text)


if __name__ == "__main__":
    unittest.main()
