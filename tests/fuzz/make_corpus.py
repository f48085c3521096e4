"""Makes the seeds of corpus/ from the test data of this tree: small files of
every kind that the targets tell apart. Writes the same bytes each time.

    python3 tests/fuzz/make_corpus.py        # needs protoc

What a fuzzer found lies beside them, under the name of what was wrong, and is
left alone.
"""

import json
import pathlib
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests/fuzz/corpus"


def write(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed_{name}").write_bytes(content)


# --- parameters: a SingleGenerationRequest, in protobuf's text form ----------

REQUESTS = {
    "empty": "",
    "greedy": 'request { text: "Once" } params { method: GREEDY }',
    "sampling": """params { method: SAMPLE sampling {
        temperature: 0.7 top_k: 40 top_p: 0.9 typical_p: 0.5 seed: 42 } }""",
    "explicit_zero": "params { method: SAMPLE sampling { temperature: 0 } }",
    "not_numbers": """params { method: SAMPLE sampling {
        temperature: nan top_p: inf typical_p: -inf }
        decoding { repetition_penalty: nan
                   length_penalty { decay_factor: nan } } }""",
    "stopping": """params { stopping {
        max_new_tokens: 30 min_new_tokens: 5 time_limit_millis: 4294967295
        stop_sequences: "\\n\\n" stop_sequences: "é"
        include_stop_sequence: false } truncate_input_tokens: 4294967295 }""",
    "seven_stops": "params { stopping {" + ' stop_sequences: "a"' * 7 + "} }",
    "long_stop": f"params {{ stopping {{ stop_sequences: \"{'s' * 241}\" }} }}",
    "details": """params { response {
        input_text: true generated_tokens: true input_tokens: true
        token_logprobs: true token_ranks: true top_n_tokens: 10 } }""",
    "penalties": """params { decoding { repetition_penalty: 1.2
        length_penalty { start_index: 4294967295 decay_factor: 1.5 } } }""",
    "guided": 'params { decoding { json_schema: "{}" } }',
    "prefix": 'prefix_id: "a/b-c_1" adapter_id: "lora"',
    "bad_prefix": 'prefix_id: "é \\n"',
}


def make_requests():
    for name, text in REQUESTS.items():
        encoded = subprocess.run(
            ["protoc", f"--proto_path={ROOT}/proto",
             "--encode=fmaas.SingleGenerationRequest",
             f"{ROOT}/proto/generation.proto"],
            input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
        write("parameters", name, encoded)


# --- text_assembly: see text_assembly_fuzz.cc --------------------------------

EOS, LAST, TIME_OVER = 0x40, 0x80, 0xC0
INCLUDE = 1


def assembly(flags, min_new_tokens, stops, *tokens):
    content = bytes([flags, min_new_tokens, len(stops)])
    for stop in stops:
        content += bytes([len(stop.encode())]) + stop.encode()
    for token in tokens:
        header, text = token if isinstance(token, tuple) else (0, token)
        data = text if isinstance(text, bytes) else text.encode()
        content += bytes([header | len(data)]) + data
    return content


def make_assemblies():
    llama = "🦙".encode()
    for name, content in {
        "plain": assembly(INCLUDE, 0, [], "Once", " upon", (EOS, "")),
        "included": assembly(INCLUDE, 0, ["upon"], "Once up", "on a", " time"),
        "excluded": assembly(0, 0, ["upon", "a"], "Once up", "on a", " time"),
        "almost": assembly(0, 0, ["aab", "abab"], "aa", "a", "ba", "a", "bab"),
        "overlapping": assembly(0, 2, ["aba", "b"], "ab", "a", "ba"),
        "parts": assembly(0, 0, ["🦙!"], llama[:1], llama[1:3], llama[3:], "!"),
        "not_utf8": assembly(0, 0, ["\ufffd"], b"\xe2\x82", b"a\xff", b"\xc3"),
        "last": assembly(0, 1, ["end"], "the e", (LAST, "n")),
        "time": assembly(0, 9, ["end"], "the e", (TIME_OVER, "nd")),
    }.items():
        write("text_assembly", name, content)


# --- tokenizer_json: see tokenizer_json_fuzz.cc ------------------------------

def make_tokenizer_jsons():
    for path in sorted((ROOT / "tests/testdata/tokenizers").glob(
            "*_tokenizer.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        renumber_added_tokens(document)
        model = document["model"]
        single = {p for p in model["vocab"] if len(p) == 1}
        merges = [m for m in model["merges"]
                  if all(part in single for part in parts_of(m))][:8]
        vocab = {"".join(parts_of(m)): 256 + i for i, m in enumerate(merges)}
        model["vocab"] = {"@alphabet@": 0, **vocab}
        model["merges"] = merges
        text = json.dumps(document, ensure_ascii=False,
                          separators=(",", ":"))
        write("tokenizer_json", path.name.removesuffix("_tokenizer.json"),
              text.replace('"@alphabet@":0', "@alphabet@").encode())


def parts_of(merge):
    return merge.split(" ") if isinstance(merge, str) else merge


def renumber_added_tokens(document):
    ids = {}
    for i, token in enumerate(document["added_tokens"]):
        token["id"] = ids[token["content"]] = 264 + i
    processor = document["post_processor"] or {}
    for part in [processor, *processor.get("processors", [])]:
        for name, token in part.get("special_tokens", {}).items():
            token["ids"] = [ids[name]]


# --- sentencepiece: a tokenizer.model ----------------------------------------

UNKNOWN, CONTROL, USER, BYTE = 2, 3, 4, 6
UNIGRAM, BPE, WORD, CHAR = 1, 2, 3, 4


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([0x80 | value & 0x7F])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def charsmap():
    """A table that makes "a" a "b"; laid out as TrieFromAToB of the tests."""
    units = [1 << 31] * 256
    units[0] = 1 << 10
    units[1 ^ ord("a")] = (0x80 ^ 1 ^ ord("a")) << 10 | 1 << 8 | ord("a")
    units[0x80] = 1 << 31
    return struct.pack("<257I", 4 * len(units), *units) + b"b\0"


def model(kind, pieces, byte_fallback=False, table=b""):
    out = b""
    for piece in pieces:
        text, number = piece if isinstance(piece, tuple) else (piece, 1)
        out += field(1, field(1, text.encode()) + field(3, number))
    out += field(2, field(3, kind) + field(35, int(byte_fallback)))
    return out + field(3, field(2, table) if table else b"")


def fields_of(data):
    """The top-level fields of a message, each with its tag; all are strings."""
    at = 0
    while at < len(data):
        begin, at, size, shift = at, at + 1, 0, 0
        while True:
            byte, at = data[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        at += size
        yield data[begin:at]


def make_sentencepiece_models():
    special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    letters = ["▁", "O", "n", "c", "e", "ce", "nce", "▁t"]
    every_byte = [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    for name, content in {
        "bpe": model(BPE, special + letters),
        "bpe_bytes": model(BPE, special + every_byte + letters, True),
        "unigram": model(UNIGRAM, special + letters),
        "word": model(WORD, special + letters),
        "char": model(CHAR, special + letters),
        "user_defined": model(BPE, special + [("Once", USER)] + letters),
        "no_bos": model(BPE, special[:1] + letters),
        "charsmap": model(BPE, special + ["▁", "b"], table=charsmap()),
        "no_unknown": model(BPE, letters),
    }.items():
        write("sentencepiece", name, content)
    demo = (ROOT / "models/fables-7m/tokenizer.model").read_bytes()
    fields = list(fields_of(demo))
    pieces = [f for f in fields if f[0] == 0x0A]
    rest = [f for f in fields if f[0] != 0x0A]
    write("sentencepiece", "demo", b"".join(pieces[:300] + pieces[-80:] + rest))


if __name__ == "__main__":
    make_requests()
    make_assemblies()
    make_tokenizer_jsons()
    make_sentencepiece_models()
