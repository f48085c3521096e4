"""Makes the byte-level tokenizers of tokenizers/ that CASES below names, and
what Hugging Face's tokenizers make of TEXTS with them.
tests/tokenizer/byte_level_golden_test.cc compares ours with it.

    python3 -m venv goldens-venv
    goldens-venv/bin/pip install tokenizers==0.23.2
    goldens-venv/bin/python tests/testdata/make_tokenizer_goldens.py

Writes NAME_tokenizer.json and golden_NAME.json, the same bytes each time. The
tokenizers are small, trained on CORPUS, and laid out as the published ones of
their family: pattern, normalizer, special tokens, post-processor. (The files of
`llama3_style` are not made here.)

In a golden, `tokens` are the pieces of `ids`, `offsets` count code points, and
`decoded` is without special tokens.
"""

import json
import pathlib
import random
import typing

import tokenizers
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models,
                        normalizers, pre_tokenizers, processors, trainers)

FOLDER = pathlib.Path(__file__).parent / "tokenizers"

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
NEMO_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+")

CORPUS = """\
The old ferry crosses the river twice a day, and nobody knows who paid for it.
She said that they're waiting, that he'd come, that I've seen it and we'll see.
There was a fox in the garden; the dog's bowl was empty and the gate was open.
When the rain stopped, the children ran down to the water and threw stones.
It isn't the first time that the bridge was closed, and it won't be the last.
Every winter the baker's daughter writes a letter to her brother in the city.
If you count the steps from the station to the market, there are 1234 of them.
In 1999 the town had 45,678 people; in 2024 it had 91,011, more or less.
HTTP requests and JSON answers: getUserName, parseHTML, XMLHttpRequest.
    def add(first, second):
        return first + second  # the sum of both
for (int i = 0; i < 10; ++i) { std::cout << values[i] << "\\n"; }
https://example.org/path/to/page?query=value&other=42#fragment
Où est la gare, s'il vous plaît ? L'été dernier, nous étions près de la mer.
Ein größerer Fluß fließt südlich der Brücke, über die früher Züge fuhren.
El niño pequeño comió piñas y después durmió; ¿qué más quería el señor?
Příliš mnoho řek teče přes tuto zemi, a každá má své jméno i příběh.
Việt Nam có nhiều sông, và mỗi con sông đều có một câu chuyện riêng.
Река течёт через город, и мосты над ней открываются каждую ночь.
Ο ποταμός περνά μέσα από την πόλη και τα παιδιά παίζουν δίπλα του.
النهر يمر عبر المدينة والأطفال يلعبون بجانبه كل يوم.
הנהר עובר דרך העיר והילדים משחקים לידו בכל יום.
नदी शहर से होकर बहती है और बच्चे उसके पास खेलते हैं।
แม่น้ำไหลผ่านเมืองและเด็กๆเล่นอยู่ข้างๆทุกวัน
川は町を流れ、子供たちは毎日そのそばで遊びます。カタカナも少し。
河流穿过城市，孩子们每天在旁边玩耍。今天天气很好，我们去散步吧！
강은 도시를 지나 흐르고 아이들은 매일 그 옆에서 놉니다.
😀 😂 🦙🦙 👩‍👩‍👧 🇩🇪 ✅ → ← — “quotes” ‘single’ … € £ ¥ № ½ ²
""".split("\n")

# Written by hand, each for something that could go wrong.
TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", " \n", "\n ",
    "a", "A", "é", "🦙", "Hello world", "Hello, World!", " leading", "trailing ",
    "  two  spaces  ", "a\nb", "a\n\nb", "a\r\nb\r\n\r\nc", "a \n b", "a\n  b",
    "a\t\tb", "tabs\t and \tspaces", "   \n   \n   x", "x   \n", " \t \n \t x",
    "it's", "It'S they'RE we'Ve I'M he'Ll she'D don'T", "'s 't 're", "''s",
    "rock'n'roll o'clock 'tis", "'\u017f", "it'\u017f", "\u2019s it\u2019s",
    "1", "12", "123", "1234", "12345678901234567890", "3.14159", "1,000,000",
    "v2.0.1-rc3", "0x1F", "a1b2c3", "½ ² Ⅷ ٣ ४ 五 ①", "１２３", "10\u00a0000",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case", "iPhone McDonald",
    "XMLHttpRequest getHTTPResponseCode HTMLElement", "ABCdefGHIjkl", "aB Ab aBc",
    "def f(x):\n    return x ** 2\n", "if (a && b) {\n\t++i;\n}\n", "<div/>//\n//",
    "https://example.org/a/b?c=d&e=f#g", "user@example.org", "C:\\path\\file",
    "!!!", "...", "?!?!", "-- --", "***bold***", "a/b/c", "path/\n/next", "//\r\n",
    "(parentheses) [brackets] {braces}", "\"double\" 'single' `back`", "#hash $5 %",
    "naïve café résumé", "nai\u0308ve cafe\u0301 re\u0301sume\u0301",
    "e\u0301", "e\u0301\u0323", "e\u0323\u0301", "\u0301e", "\u0301", " \u0301",
    "a\u0308\u0304", "a\u0304\u0308", "o\u031b\u0309", "q\u0307\u0323",
    "q\u0323\u0307", "x\u0315\u0300\u05ae\u0062", "\u00c5 \u212b A\u030a",
    "\u2126 \u03a9", "\u0344", "\u0958 \u0915\u093c", "\u09c7\u09be \u09cb",
    "\u1e9b\u0323", "\u1100\u1161\u11a8 \uac00\u11a8 \uac01", "\u1161\u11a8",
    "\ufb01 \ufb03 \u2460 \u33a5", "\uf900 \u8c48", "\U0001d15e x",
    "\u2000\u2001 x", "\u1dfb\u0334 \u1df6\u0334", "\u0340\u0341", "z\u0335\u0327\u0324\u0300\u0301z",
    "Z\u0351\u036b\u0343\u036a\u0302 zalgo", "\u0f73\u0f75", "\u0fb2\u0f80",
    "日本語のテキスト", "日本語と English の mix", "中文，标点。", "你好世界！123", "한국어 텍스트",
    "\u304b\u3099\u304d\u3099", "ガギグ", "\uff76\uff9e", "漢字かな交じり文\n改行",
    "مرحبا بالعالم", "السَّلَامُ عَلَيْكُمْ", "שלום עולם", "שָׁלוֹם", "नमस्ते दुनिया", "क्षत्रिय",
    "สวัสดีชาวโลก", "Привет, мир!", "Γειά σου Κόσμε", "Việt Nam", "Vie\u0323\u0302t",
    "İstanbul ıİiI", "ǅ ǈ ǋ", "ʰʷ ªº", "Straße STRASSE", "ﬁn", "ꙮ", "𐍈𐌰𐌹", "𝒳𝔘",
    "😀", "😀😀😀", "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪🇯🇵", "❤️", "❤", "a😀b", " 😀 ", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "\u200b", "a\u200bb", "a\u200db", "\ufeff", "\ufeffx", "\u00ad", "a\u00adb",
    "\u00a0", "a\u00a0b", "\u00a0 \u00a0", "\u1680 \u2003 \u3000 \u205f", "\u180e",
    "a\u180eb \u180e c", "\u0085", "a\u0085b", "\u2028 \u2029", "\v\f", "\x1c\x1d\x1e\x1f",
    "\x00", "a\x00b", "\x01\x02\x7f", "\x1b[0m", "\ufffd", "a\ufffdb", "\ufffe\uffff",
    "\U0010ffff", "\ue000", "\ud7ff", "\u0300" * 20, "a" + "\u0300" * 20,
    " " * 40, " " * 40 + "x", "\n" * 20, "\n" * 20 + "x", "\t" * 17, "a" * 100,
    "ab" * 60, "the" * 40, " the" * 40, "=" * 80, "-" * 33 + "\n", "\r\n" * 9,
    "é" * 30, "日" * 30, "🦙" * 12, "0" * 50, "A" * 50, "Aa" * 25, "!?" * 20,
    "<|endoftext|>", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|><|im_start|>", "<|im_start|", "|im_start|>", "< |im_start|>",
    "a<|im_end|>b", " <|im_end|> ", "<|IM_END|>", "<<|im_end|>>", "e<|im_end|>\u0301",
    "<tool_call>\n{\"name\": \"f\"}\n</tool_call>", "<tool_call", "x<tool_call>y",
    "<s>", "</s>", "<s>[INST] Hi [/INST] there</s>", "[INST", "[INST][/INST]",
    "<unk>", "<pad>", "[AVAILABLE_TOOLS] []", "a<s>b", "<s><s>", "\n<s>\n",
    "The quick brown fox jumps over the lazy dog.", "Once upon a time, there was",
    "Où est la gare, s'il vous plaît ?", "größere Straßen", "Příliš žluťoučký kůň",
]

# Random texts are made of these.
FRAGMENTS = [
    " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "a", "the", "The", "ing",
    "HTTP", "river", "'s", "'LL", "'", "\"", "1", "23", "456", "½", ".", ",", "!",
    "/", "-", "_", "(", ")", "é", "e\u0301", "\u0301", "\u0323", "o\u0308", "ß",
    "ñ", "ệ", "я", "Ж", "Ω", "ǅ", "ʰ", "ª", "ش", "ّ", "שׁ", "न", "ि", "ก", "ำ", "川", "カ",
    "か\u3099", "한", "\u1112\u1161\u11ab", "😀", "👩‍👧", "🏽", "🇩🇪", "\u200d", "\ufe0f",
    "<|im_end|>", "<|im_start|>", "<tool_call>", "<s>", "[INST]", "<|", "\x00",
]
NUM_RANDOM = 150

# For tokens with flags, and for splits that nobody's family has.
FLAG_TEXTS = [
    "", " ", "a<l>b", "a <l> b", "a  \n<l>\t b", "<l>", " <l> ", "a<r>b", "a <r> b",
    "a <r>\n \u3000b", "<r> ", "<r> <l>", "<l> <r>", "<r>  <r>", "<l>  <l>",
    "a<lr>b", "a \u00a0<lr>  b", "<lr> <lr>", "word", "a word b", "aword", "worda",
    "word word", "word.word", "word_word", "word\u0301", "\u200dword", "1word",
    "éword", "word日", "(word)", "word<l>word", "<a>", "<ab>", "<a><ab><abc>", "<abd",
    "<abcd", "aḥa", "ah\u0323a", "a aḥa b", "AH\u0323A aḥas", "raw\u0301",
    "raw", "rawah\u0323a <l>", "  two  words  ", "\u3000wide\u3000", "it's 12 o'clock",
    "a\u0301 <l>", "x \u0301<l> e\u0301", "\t\ttabs", "né\u0301 ", "🦙 <r> 🦙", "  é",
    "<sp> x", "a <sp> ", "the end", " the end", "the\u00a0end", "  \u2000 x",
    "   <l>", "  <a>", "<r> pre", "<r>  pre  <l>", "a pre <r> b", "   V", "    x", " <a>", "\u3000<l>", "\u212b <l> \u212b", "\u0958<lr>\u0958 word",
]
SPLIT_TEXTS = [
    "", "-", "a-b", "--a--b--", "the-final--countdown", "_", "a_b", "__a__b__",
    "a.b", "..a..b..", "1a2b3", "12ab34", "a,b", ",,a,,b,,", "a;b", ";;a;;b;;",
    "-_.1,;", "x-_.1,;x", "日-本_語.1,;é", "a b-c d_e f.g h1i j,k l;m",
    "--__..11,,;;", "a--__b..11c,,;;d", " ", "no cuts at all", "- a", "-  a", "-- -a",
]


def random_texts():
    generator = random.Random(20261128)
    for _ in range(NUM_RANDOM):
        count = generator.randint(1, 14)
        yield "".join(generator.choice(FRAGMENTS) for _ in range(count))


def byte_level_bpe(pre_tokenizer, normalizer=None, first_tokens=(), **options):
    """Trained on CORPUS."""
    tokenizer = Tokenizer(models.BPE(**options))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700 + len(first_tokens), special_tokens=list(first_tokens),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(pattern, behavior, invert)


def bytes_only():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def pattern_then_bytes(pattern):
    return pre_tokenizers.Sequence([split(Regex(pattern)), bytes_only()])


def qwen_style():
    tokenizer = byte_level_bpe(pattern_then_bytes(QWEN_PATTERN),
                               normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.add_special_tokens(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([
        AddedToken("<tool_call>", normalized=False),
        AddedToken("</tool_call>", normalized=False)])
    return tokenizer


def nemo_style():
    tokenizer = byte_level_bpe(
        pattern_then_bytes(NEMO_PATTERN), ignore_merges=True,
        first_tokens=("<unk>", "<s>", "</s>", "[INST]", "[/INST]",
                      "[AVAILABLE_TOOLS]", "<pad>"))
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B",
            special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])])
    return tokenizer


def added_flags():
    """GPT-2's own pattern, tokens with every flag, offsets trimmed."""
    tokenizer = byte_level_bpe(
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        normalizers.Sequence([normalizers.NFC()]))
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=True, trim_offsets=True)
    tokenizer.add_tokens([
        AddedToken("<l>", lstrip=True, normalized=False),
        AddedToken("<r>", rstrip=True, normalized=False),
        AddedToken("<lr>", lstrip=True, rstrip=True, normalized=True),
        AddedToken("word", single_word=True, normalized=False),
        AddedToken("<a>", normalized=False),
        AddedToken("<ab>", normalized=False),
        AddedToken("<abc", normalized=False),
        AddedToken("ah\u0323a", normalized=True),
        AddedToken("raw\u0301", normalized=False),
        AddedToken("the end", normalized=True, single_word=True),
        AddedToken("<sp> ", normalized=False),
        AddedToken(" pre", normalized=False),
        AddedToken("\u65e5\u672c", normalized=False)])
    return tokenizer


def split_behaviors():
    tokenizer = byte_level_bpe(pre_tokenizers.Sequence([
        split("-", "removed"),
        split(Regex("_+"), "removed", invert=False),
        split(".", "merged_with_previous"),
        split(Regex(r"\d"), "merged_with_next"),
        split(",", "contiguous"),
        split(Regex("[^;]+"), "isolated", invert=True),
        split(Regex("(?<=m)|x?"), "isolated"),
        bytes_only()]))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


class Case(typing.NamedTuple):
    make: typing.Callable
    texts: list
    old_merges: bool = False  # "a b" instead of ["a", "b"]


CASES = [
    Case(qwen_style, TEXTS + list(random_texts())),
    Case(nemo_style, TEXTS + list(random_texts()), old_merges=True),
    Case(added_flags, FLAG_TEXTS),
    Case(split_behaviors, SPLIT_TEXTS),
]


def golden_of(tokenizer, text):
    encoding = tokenizer.encode(text)
    return {"text": text, "ids": encoding.ids,
            "tokens": [tokenizer.id_to_token(i) for i in encoding.ids],
            "offsets": encoding.offsets,
            "decoded": tokenizer.decode(encoding.ids)}


def write(name, content):
    text = json.dumps(content, separators=(",", ":"))
    (FOLDER / name).write_text(text + "\n", encoding="utf-8")


def main():
    for case in CASES:
        name = case.make.__name__
        description = json.loads(case.make().to_str())
        if case.old_merges:
            description["model"]["merges"] = [
                " ".join(pair) for pair in description["model"]["merges"]]
        write(f"{name}_tokenizer.json", description)
        # As it is in the file, not as it was trained.
        tokenizer = Tokenizer.from_file(str(FOLDER / f"{name}_tokenizer.json"))
        assert all("\ud800" > c or c > "\udfff" for t in case.texts for c in t)
        write(f"golden_{name}.json", {
            "source": f"tokenizers {tokenizers.__version__}",
            "offsets": "unicode code points of the input",
            "cases": [golden_of(tokenizer, text) for text in case.texts]})
        print(f"{name}: {len(case.texts)} texts")


if __name__ == "__main__":
    main()
