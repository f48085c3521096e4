"""The text of an answer and why it ends (points 5, 6, 7, 9 and 10)."""

import functools
import random
import unittest

from scripted_model import EOS, ScriptedModel, scripts
from target import LONG_STORY, STORY, ConformanceTest, exactly, pb, reason

# Makes EOS the best candidate of any model soon after token `start_index`.
FORCED_EOS = {"length_penalty": {"start_index": 3, "decay_factor": 10}}


def texts_of(messages):
    """The text of each message that tells of a token."""
    return [m.text for m in messages if m.generated_token_count]


def stopped(pieces, stops, include, most, least=0):
    """Section 6.3 for the pieces of text a model says: what is shown of them,
    how many tokens that takes, the reason and the stop sequence."""
    text = ""
    for number, piece in enumerate(pieces[:most], 1):
        begin, text = len(text), text + piece
        if number < least:
            continue
        ends = []
        for order, stop in enumerate(stops):
            at = text.find(stop, max(0, begin - len(stop) + 1))
            if at >= 0:
                ends.append((at + len(stop), order, stop))
        if ends:
            end, _, stop = min(ends)
            shown = text[:end if include else end - len(stop)]
            return shown, number, "STOP_SEQUENCE", stop
    return text, min(most, len(pieces)), "MAX_TOKENS", ""


class EndTest(ConformanceTest):

    def test_05_eos_is_counted_and_in_tokens_but_not_in_the_text(self):
        answer, messages = self.both(stopping={"max_new_tokens": 60},
                                     decoding=FORCED_EOS,
                                     response={"generated_tokens": True})
        number = answer.generated_token_count
        self.assertEqual(reason(answer), "EOS_TOKEN")
        self.assertEqual(answer.stop_sequence, "")
        self.assertLess(number, 60)
        self.assertEqual(len(answer.tokens), number)
        without = self.one(stopping={"max_new_tokens": number - 1},
                           decoding=FORCED_EOS,
                           response={"generated_tokens": True})
        self.assertEqual(reason(without), "MAX_TOKENS")
        self.assertEqual(answer.text, without.text)
        self.assertEqual(answer.tokens[:-1], without.tokens[:])
        self.assertNotEqual(answer.tokens[-1].text, "")
        self.assertEqual(messages[-1].generated_token_count, number)
        self.assertEqual(messages[-1].text, "")
        self.assertEqual(messages[-1].stop_reason, pb.EOS_TOKEN)

    def test_05_eos_comes_after_min_new_tokens_at_the_earliest(self):
        answer, messages = self.both(
            stopping={"max_new_tokens": 60, "min_new_tokens": 12},
            decoding=FORCED_EOS)
        self.assertGreaterEqual(answer.generated_token_count, 13)
        self.assertEqual(reason(answer), "EOS_TOKEN")
        self.assertEqual(messages[-1].generated_token_count,
                         answer.generated_token_count)

    def test_06_as_many_tokens_as_min_and_max_say(self):
        for number in (1, 2, 30):
            for method in ("GREEDY", "SAMPLE"):
                answer, messages = self.both(
                    method=method, stopping=exactly(number),
                    decoding=FORCED_EOS, response={"generated_tokens": True})
                for last in (answer, messages[-1]):
                    self.assertEqual(last.generated_token_count, number)
                    self.assertEqual(reason(last), "MAX_TOKENS")
                self.assertEqual(len(answer.tokens), number)
                self.assertEqual(len(texts_of(messages)), number)


class StopCase(ConformanceTest):
    """Stop sequences taken from what the model says, whatever it is."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pieces = texts_of(cls.server.stream(
            STORY, stopping={"max_new_tokens": 40},
            response={"generated_tokens": True}))
        cls.text = "".join(cls.pieces)
        if len(cls.pieces) < 20 or len(cls.text) < 40:
            raise unittest.SkipTest("the model says too little to be stopped")

    def check(self, stops, include=True, most=40, least=0, asked=None):
        """`asked`, if not None, is what the request says of `include`."""
        want = stopped(self.pieces, stops, include, most, least)
        stopping = {"max_new_tokens": most, "min_new_tokens": least,
                    "stop_sequences": stops}
        if asked is not None:
            stopping["include_stop_sequence"] = asked
        with self.subTest(stopping):
            answer, messages = self.both(stopping=stopping,
                                         response={"generated_tokens": True})
            self.assertEqual((answer.text, answer.generated_token_count,
                              reason(answer), answer.stop_sequence), want)
            self.assertEqual(len(answer.tokens), answer.generated_token_count)
            self.assertEqual("".join(m.text for m in messages), want[0])
            self.assertEqual(messages[-1].generated_token_count, want[1])
            self.assertEqual(reason(messages[-1]), want[2])
            self.assertEqual(messages[-1].stop_sequence, want[3])
        return want

    def check_both(self, stops, **limits):
        for include in (True, False):
            want = self.check(stops, include, asked=include, **limits)
        return want

    def end_of(self, number):
        """Of the text of the first tokens."""
        return len("".join(self.pieces[:number]))


class StopTest(StopCase):

    def test_09_across_tokens(self):
        for first in (2, 7, 12):
            end = self.end_of(first)
            stop = self.text[end - 2:end + 2]
            self.assertEqual(self.check_both([stop])[2], "STOP_SEQUENCE")

    def test_09_inside_a_token(self):
        longest = max(range(1, 40), key=lambda i: len(
            self.pieces[i]) if i < len(self.pieces) else 0)
        self.assertGreater(len(self.pieces[longest]), 2)
        self.check_both([self.pieces[longest][1:-1]])

    def test_09_a_setting_of_the_servers_decides_if_the_request_does_not(self):
        self.check([self.text[10:14]], include=True, asked=None)

    def test_09_on_the_last_token(self):
        number = 9
        stop = self.text[self.end_of(number) - 4:self.end_of(number)]
        first = stopped(self.pieces, [stop], True, 40)[1]
        want = self.check_both([stop], most=first)
        self.assertEqual(want[1:], (first, "STOP_SEQUENCE", stop))
        if first > 1:
            want = self.check_both([stop], most=first - 1)
            self.assertEqual(want[2], "MAX_TOKENS")

    def test_09_during_min_new_tokens(self):
        """Not seen then nor later, but what begins then may end later."""
        stop = self.text[self.end_of(3):self.end_of(5)]
        first = stopped(self.pieces, [stop], True, 40)[1]
        for least in (first, first + 1, first + 2):
            self.check_both([stop], least=least, most=first + 8)

    def test_09_none_that_comes(self):
        """A beginning of one is held back and shown in the end."""
        self.assertEqual(self.check_both([self.text[5:9] + "\1"])[2],
                         "MAX_TOKENS")
        self.check_both([self.text[-3:] + "\1"])

    def test_09_whatever_the_stop_sequences(self):
        rng = random.Random(9)
        for _ in range(12):
            stops = []
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(self.text) - 8)
                stops.append(self.text[at:at + rng.randrange(1, 8)])
            include = rng.random() < 0.5
            self.check(stops, include, most=rng.randrange(1, 40),
                       least=0, asked=include)


class LimitedTest(StopCase):
    """The same where the server's setting is the other one, and a context that
    can be filled."""

    flags = ("--max-sequence-length", "64", "--default-include-stop-seqs",
             "false")

    def test_07_token_limit_or_max_tokens(self):
        for most, want in ((21, "MAX_TOKENS"), (22, "MAX_TOKENS"),
                           (23, "TOKEN_LIMIT"), (60, "TOKEN_LIMIT")):
            answer, messages = self.both(
                LONG_STORY, truncate_input_tokens=42,
                stopping={"max_new_tokens": most,
                          "min_new_tokens": min(most, 22)})
            for last in (answer, messages[-1]):
                self.assertEqual(last.generated_token_count, min(most, 22))
                self.assertEqual(reason(last), want)

    def test_09_a_setting_of_the_servers_decides_if_the_request_does_not(self):
        self.check([self.text[10:14]], include=False, asked=None)


class ScriptedCase(ConformanceTest):
    """What a model says is up to the test."""

    PIECES = ["▁", "▁1", "▁2", "▁3", "▁4", "▁5", "▁6", "▁7", "▁a", "▁b", "▁c",
              "▁de", "▁f", "▁g", "▁h", "é€", "ü§", "▁xyz", "▁s", "</", "s>",
              "▁é", "ß"]
    SCRIPTS = scripts(
        ["▁1", "<0xF0>", "<0x9F>", "<0xA6>", "<0x99>", "▁a"],
        ["▁2", "<0xE2>", "<0x82>", "▁b", "<0xFF>", "▁c"],
        ["▁3", "▁de", "<0xC3>"],
        ["▁4", "▁f", "é€", "ü§", "▁g"],
        ["▁5", "▁h", "▁xyz", "▁s"],
        ["▁6", "▁é", "<s>", "ß"],
    )
    LLAMA = "\N{LLAMA}"

    @classmethod
    @functools.cache
    def model(cls):
        return ScriptedModel(cls.PIECES, cls.SCRIPTS).folder

    def check(self, text, want, tokens=None, **stopping):
        answer, messages = self.both(text, stopping=stopping,
                                     response={"generated_tokens": True})
        self.assertEqual(answer.text, want)
        self.assertEqual("".join(texts_of(messages)), want)
        if tokens:
            self.assertEqual(texts_of(messages), tokens)
        return answer


class ScriptedTextTest(ScriptedCase):

    def test_05_06_eos_where_the_model_says_it(self):
        answer = self.check("3", " de", [" de", "", ""])
        self.assertEqual([t.text for t in answer.tokens],
                         ["▁de", "<0xC3>", EOS])
        self.assertEqual(reason(answer), "EOS_TOKEN")

    def test_10_a_character_of_several_tokens_is_shown_whole(self):
        self.check("1", self.LLAMA + " a",
                   ["", "", "", self.LLAMA, " a", ""])

    def test_10_what_is_no_character_is_replaced_and_a_rest_is_lost(self):
        self.check("2", "\ufffd b\ufffd c")
        self.check("3", " de")
        answer = self.check("1", "", max_new_tokens=3)
        self.assertEqual(reason(answer), "MAX_TOKENS")

    def test_09_stop_sequences_of_several_bytes(self):
        for stop, text in (("€", " fé"), ("€ü", " fé"), ("é€ü§", " f"),
                           ("§ g", " fé€ü")):
            answer = self.check("4", text, stop_sequences=[stop],
                                include_stop_sequence=False)
            self.assertEqual(answer.stop_sequence, stop)
            self.check("4", text + stop, stop_sequences=[stop])
        answer = self.check("1", "", stop_sequences=[self.LLAMA],
                            include_stop_sequence=False)
        self.assertEqual(answer.generated_token_count, 4)
        self.assertEqual(len(answer.tokens), 4)

    def test_09_two_that_match_at_once(self):
        """The one that ends first, then the one listed first."""
        for stops, match, text in ((["z", "y"], "y", " h xy"),
                                   (["y", "z"], "y", " h xy"),
                                   (["yz", "z"], "yz", " h xyz"),
                                   (["z", "yz"], "z", " h xyz"),
                                   (["xyz", "h x", "z"], "h x", " h x")):
            answer = self.check("5", text, stop_sequences=stops)
            self.assertEqual(answer.stop_sequence, match)
            self.check("5", text[:-len(match)], stop_sequences=stops,
                       include_stop_sequence=False)
            self.assertEqual(answer.generated_token_count, 2)
            self.assertEqual(len(answer.tokens), 2)

    def test_special_tokens_have_no_text_and_match_nothing(self):
        answer = self.check("6", " éß", [" é", "", "ß", ""],
                            stop_sequences=["<s>", "s>"])
        self.assertEqual([t.text for t in answer.tokens],
                         ["▁é", "<s>", "ß", EOS])


class SpecialTokensTest(ScriptedCase):
    """Shown by a server that is told to; EOS never is."""

    flags = ("--output-special-tokens",)

    def test_special_tokens_have_a_text_that_can_match(self):
        self.check("6", " é<s>ß", [" é", "<s>", "ß", ""])
        answer = self.check("6", " é<s>", stop_sequences=["s>"])
        self.assertEqual(answer.stop_sequence, "s>")
        self.check("6", " ", stop_sequences=["é<"],
                   include_stop_sequence=False)


if __name__ == "__main__":
    unittest.main()
