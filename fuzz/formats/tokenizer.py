"""tokenizer.json: the JSON tree, and components that the tokenizers crate takes badly."""

import json

from . import json_tree, values
from .json_tree import Object

CONFIG = json.dumps({
    "add_bos_token": True, "add_eos_token": False, "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
    "model_max_length": 64, "tokenizer_class": "GPT2Tokenizer",
    "added_tokens_decoder": {"0": {"content": "<|endoftext|>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}},
    "chat_template": "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<|a|>{% endif %}",
})


def variants(data):
    """The learned tokenizer, and the same with components of other families."""
    plain = json.loads(data)
    begin = {
        "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    splits = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\s?\\p{L}+|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ]}
    words = ["<unk>", "▁The", "▁capital", "▁of", "▁France", "▁is", "▁", "s", "a"] + [f"<0x{b:02X}>" for b in range(256)]
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [[w, -float(i + 1)] for i, w in enumerate(words)], "byte_fallback": True}
    spaces = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    words_alone = {"type": "WordLevel", "vocab": {"The": 0, "capital": 1, "of": 2, "France": 3, "is": 4, "[UNK]": 5}, "unk_token": "[UNK]"}
    decoder = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]}
    made = {
        "plain": plain,
        "begin": plain | {"post_processor": begin},
        "normalised": plain | {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": False}]}},
        "split": plain | {"pre_tokenizer": splits},
        "unigram": plain | {"model": unigram, "normalizer": spaces, "pre_tokenizer": None, "decoder": decoder, "post_processor": None, "added_tokens": []},
        "words": plain | {"model": words_alone, "pre_tokenizer": {"type": "Whitespace"}, "decoder": None, "post_processor": None, "added_tokens": []},
    }
    return {name: json.dumps(value, ensure_ascii=False).encode() for name, value in made.items()}


def numbers(size):
    """A tokenizer whose tokens are the numbers below `size`."""
    model = {"type": "WordLevel", "vocab": {str(i): i for i in range(size)}, "unk_token": "0"}
    return json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": model}).encode()


def vocabulary(data):
    """vocab.json and merges.txt of the same BPE."""
    model = json.loads(data)["model"]
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    return json.dumps(model["vocab"], ensure_ascii=False), "\n".join(["#version: 0.2", *pairs, ""])


def part(rng):
    """A component, by the key that it belongs under."""
    pattern = rng.choice([{"String": ""}, {"String": "a"}, {"Regex": ""}, {"Regex": "(a+)+$"}, {"Regex": "("}, {"Regex": ".*"}, {"Regex": "(?=a)"}, {"String": " "}])
    content = rng.choice(["", "aa", "b" * 1000, "a" * 100_000, "\u0000", "▁"])
    normalizer = rng.choice([
        {"type": "Precompiled", "precompiled_charsmap": rng.choice(["AAAA", "", "////", "AAAAAAAA", "BAAAAAAAAAA="])},
        {"type": "Replace", "pattern": pattern, "content": content}, {"type": "Prepend", "prepend": content},
        {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        {"type": "Nmt"}, {"type": "ByteLevel"},
    ])
    split = rng.choice([
        {"type": "Split", "pattern": pattern, "behavior": rng.choice(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]), "invert": rng.random() < 0.5},
        {"type": "Metaspace", "replacement": rng.choice(["▁", "", "ab"]), "prepend_scheme": rng.choice(["always", "never", "first"]), "split": True},
        {"type": "Digits", "individual_digits": True}, {"type": "CharDelimiterSplit", "delimiter": rng.choice([" ", "", "ab"])},
        {"type": "Punctuation", "behavior": "Isolated"}, {"type": "UnicodeScripts"}, {"type": "BertPreTokenizer"}, {"type": "WhitespaceSplit"},
        {"type": "FixedLength", "length": rng.choice([0, 1, 5, 2**40])},
    ])
    times = rng.choice([1, 2, 30])
    after = {
        "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}] * times + [{"Sequence": {"id": "A", "type_id": 0}}] * rng.choice([0, 1, 2, 1000]),
        "pair": [], "special_tokens": rng.choice([{}, {"x": {"id": "x", "ids": [rng.choice([0, 5, 10**6, 2**32 - 1])] * rng.choice([0, 1, 100_000]), "tokens": ["x"]}}]),
    }
    return rng.choice([
        ("normalizer", normalizer), ("normalizer", {"type": "Sequence", "normalizers": [normalizer] * times}), ("pre_tokenizer", split),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [split] * times}), ("post_processor", after),
        ("truncation", {"direction": "Right", "max_length": rng.choice([0, 1, 3]), "strategy": "LongestFirst", "stride": rng.choice([0, 1, 5])}),
        ("padding", {"strategy": rng.choice(["BatchLongest", {"Fixed": rng.choice([0, 100, 10**9])}]), "direction": "Left", "pad_to_multiple_of": rng.choice([None, 0, 8]), "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}),
        ("added_tokens", [{"id": rng.choice([0, 1, 419, 10**6, 2**32 - 1]), "content": rng.choice(["", " ", "the", "<x>", "a"]), "single_word": rng.random() < 0.5, "lstrip": rng.random() < 0.5, "rstrip": rng.random() < 0.5, "normalized": rng.random() < 0.5, "special": rng.random() < 0.5}] * times),
    ])


def mutate(rng, data):
    if rng.random() < 0.3:
        root = json_tree.parse(data.decode())
        key, value = part(rng)
        value = json_tree.parse(json.dumps(value))
        root = Object([(k, value if k == key else v) for k, v in root] + ([] if any(k == key for k, _ in root) else [(key, value)]))
        if rng.random() < 0.3:
            root = json_tree.change(rng, root)
        return json_tree.dump(root).encode("utf-8", "surrogatepass")
    if rng.random() < 0.05:
        return values.raw(rng, data)
    return json_tree.mutate(rng, data)
