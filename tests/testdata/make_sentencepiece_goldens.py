"""Makes tokenizers/golden_special_tokens.json: what transformers'
LlamaTokenizerFast makes of TEXTS with the demo model's tokenizer.model and a
tokenizer_config.json beside it. tests/tokenizer/sentencepiece_golden_test.cc
compares ours with it.

    python3 -m venv goldens-venv
    goldens-venv/bin/pip install transformers==4.46.3 tokenizers==0.20.3 \
        sentencepiece==0.2.3 protobuf==7.36.2
    goldens-venv/bin/python tests/testdata/make_sentencepiece_goldens.py

Writes the same bytes each time. Without "legacy" a text that begins with a
space is another one to the fast tokenizer than to sentencepiece: there is none
in TEXTS.
"""

import json
import pathlib
import shutil
import tempfile

import transformers

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parents[1] / "models/fables-7m/tokenizer.model"


def added_token(content, **flags):
    defaults = {"lstrip": False, "normalized": False, "rstrip": False,
                "single_word": False, "special": True}
    return {"content": content, **defaults, **flags}


CONFIGS = {
    "legacy": {"legacy": True},
    "not_legacy": {"legacy": False},
    # White space beside a token goes with it.
    "stripping": {
        "legacy": True,
        "added_tokens_decoder": {
            "1": added_token("<s>", rstrip=True),
            "2": added_token("</s>", lstrip=True, rstrip=True)}},
    "no_bos": {"legacy": True, "add_bos_token": False},
}

TEXTS = [
    "",
    "The fox",
    "<s>",
    "</s>",
    "<s><s></s>",
    "<s>[INST] Tell me a story. [/INST]",
    "<s>[INST] a [/INST] b </s><s>[INST] c [/INST]",
    "<s> not special </s>",
    "a</s>b",
    "a </s> b",
    "a  </s>\n  b",
    "é</s>é",
    "日本</s>🦙 <unk>x",
    "<unk>",
    "Once</s>\n",
    "Once</s> ",
    "<s",
    "<<s>>",
    "< s>",
    "</s",
    "<S>",
    "<0x0A>",
    "x<s>The very old fox</s>The very old fox",
]


def byte_offsets(text, offsets):
    ends = [0]
    for character in text:
        ends.append(ends[-1] + len(character.encode()))
    return [[ends[begin], ends[end]] for begin, end in offsets]


def main():
    configs = []
    for name, changes in CONFIGS.items():
        config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>",
                  "eos_token": "</s>", "unk_token": "<unk>", **changes}
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(MODEL, folder)
            pathlib.Path(folder, "tokenizer_config.json").write_text(
                json.dumps(config))
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        assert tokenizer.is_fast
        cases = []
        for text in TEXTS:
            encoding = tokenizer(text, return_offsets_mapping=True)
            cases.append({
                "text": text,
                "ids": encoding["input_ids"],
                "offsets": byte_offsets(text, encoding["offset_mapping"])})
        configs.append({"name": name, "tokenizer_config": config,
                        "cases": cases})
    golden = {"source": f"transformers {transformers.__version__}, "
                        "LlamaTokenizerFast",
              "offsets": "UTF-8 bytes", "configs": configs}
    path = HERE / "tokenizers/golden_special_tokens.json"
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
