"""Model cards as people and tools write them on the Hub: the texts that an edit must not damage."""

from __future__ import annotations

INDEX = """\
model-index:
- name: distilbert-base-uncased-finetuned-emotion
  results:
  - task:
      name: Text Classification
      type: text-classification
    dataset:
      name: emotion
      type: emotion
      config: split
      split: validation
      args: split
    metrics:
    - name: Accuracy
      type: accuracy
      value: 0.9265
    - name: F1
      type: f1
      value: 0.926429
"""
BODY = "# A model\n\nWhat it is for.\n"


def front(yaml: str, body: str = BODY) -> str:
    return f"---\n{yaml}---\n{body}"


CARDS: dict[str, str] = {
    "empty file": "",
    "line break only": "\n",
    "no front matter": "# Model\n\nSome words, no metadata.\n",
    "no front matter, no last line break": "# Model\n\nSome words",
    "front matter only": front("license: mit\n", ""),
    "front matter only, no last line break": "---\nlicense: mit\n---",
    "empty front matter": "---\n---\n# Model\n",
    "front matter of a blank line": "---\n\n---\n# Model\n",
    "comments only": front("# to be filled in\n#license: mit\n"),
    "mit": front("license: mit\n"),
    "apache, sorted": front("language: en\nlibrary_name: transformers\nlicense: apache-2.0\n"),
    "licence with a name": front(
        'license: other\nlicense_name: "llama-3 (community)"\nlicense_link: LICENSE\n'
    ),
    "tags": front("tags:\n- vision\n- image-classification\nlicense: mit\n"),
    "indented tags": front("tags:\n  - vision\n  - 'image-classification'\nlicense: mit\n"),
    "tags in flow": front('tags: [vision, "image-classification"]  # two\nlicense: mit\n'),
    "tags in flow over lines": front("tags: [\n  vision,\n  pytorch,\n]\nlicense: mit\n"),
    "one tag": front("tags: vision  # only one\nlicense: mit\n"),
    "no tags in a list": front("tags: []   # none yet\nlicense: mit\n"),
    "null tags": front("tags:   # none yet\nlicense: mit\n"),
    "our tags already": front("tags:\n- arxiv:2412.15511\n- resque\nlicense: mit\n"),
    "comments": front(
        "# who may use it\nlicense: mit # as the base\n\ntags: # for the filter\n"
        "# the first\n- vision # cameras\n# last comment of the list\n\nlanguage: en\n# the end\n"
    ),
    "quotes": front("language: 'no'\nlicense: \"mit\"\ntags:\n- \"a: b\"\n- 'it''s'\n"),
    "norwegian": front("language: no\nlicense: mit\n"),
    "many languages": front("language:\n- en\n- fr\n- zh\n- multilingual\nlicense: cc-by-4.0\n"),
    "emoji": front(
        "tags:\n- 🤗\n- vision 👀\nthumbnail: https://x.org/🐱.png\n", "# 🤗 Model 👩‍👩‍👧\n"
    ),
    "chinese": front(
        "language: zh\ntags:\n- 中文\n- 文本分类\n", "# 中文情感分类模型\n\n用于情感分类。\n"
    ),
    "japanese": front(
        "language: ja\nlicense: cc-by-sa-4.0\n", "# 日本語モデル\n\n全角　スペース\n"
    ),
    "arabic": front("language: ar\n", "# نموذج\n\nنص \u200f عربي\n"),
    "unusual blanks": front(
        "license: mit\n", "# A\u00a0model\n\nzero\u200bwidth\u2028line\u2029end\x0c\n"
    ),
    "block scalar": front(
        "license: mit\ndescription: |\n  Several lines,\n\n  one blank.\n\n\ninference: false\n"
    ),
    "block scalar at the end": front("license: mit\nextra_gated_prompt: >-\n  Be kind\n  to it.\n"),
    "kept line breaks at the end": front("license: mit\nnotes: |+\n  text\n\n\n"),
    "anchors": front("base: &b [en, de]\nlanguage: *b\ntags:\n- &t vision\n- pytorch\nx: *t\n"),
    "flow mapping": front("license: mit\nwidget: [{text: 'I love [MASK]'}, {text: \"a, b\"}]\n"),
    "widget": front(
        'widget:\n- text: "Paris is the [MASK] of France."\n  example_title: |-\n    Capital\n'
        "- src: https://x.org/a.jpg\n  example_title: 'Cat'\npipeline_tag: fill-mask\n"
    ),
    "gated": front(
        "extra_gated_heading: Please read\nextra_gated_fields:\n  Name: text\n"
        "  I agree: checkbox\nlicense: openrail\n"
    ),
    "trainer": front(
        "license: apache-2.0\nbase_model: distilbert\ntags:\n- generated_from_trainer\n"
        f"metrics:\n- accuracy\n- f1\n{INDEX}",
        "<!-- This model card has been generated automatically according to the information the "
        "Trainer had access to. You\nshould probably proofread and complete it, then remove this "
        "comment. -->\n\n# distilbert\n\n| Epoch | Loss |\n|:-----:|:----:|\n| 1.0   | 0.31 |\n",
    ),
    "index first": front(f"{INDEX}license: mit\n"),
    "index by hand": front(
        "license: mit\nmodel-index:\n  - name: 'My model'   # ours\n    results:\n"
        "      # measured by hand\n      -   task: {type: image-classification}\n"
        "          dataset: {type: cifar10, name: CIFAR-10}\n          metrics:\n"
        "            - {type: accuracy, value: 97.1, verified: false}\n"
        "      - task:\n          type: image-classification\n        dataset:\n"
        '          type: cifar10\n          name: "CIFAR-10 🐸"\n        metrics:\n'
        "        - type: resque_dist\n          value: 0.1   # not ours\n\ntags:\n  - vision\n"
    ),
    "index of two models": front(
        "model-index:\n- name: a\n  results:\n  - task: {type: x}\n"
        "    dataset: {type: d, name: D}\n"
        "    metrics:\n    - {type: f1, value: .5}\n- name: digits-resnet\n  results:\n"
        "  - task: {type: x}\n    dataset: {type: d, name: d}\n    metrics:\n"
        "    - {type: f1, value: 1}\nlicense: mit\n"
    ),
    "index in flow": front(
        "model-index: [{name: m, results: [{task: {type: t}, dataset: {type: d, name: D}, "
        "metrics: [{type: f1, value: 0.5}]}]}]\nlicense: mit\n"
    ),
    "index without results": front("model-index:\n- name: digits-resnet\nlicense: mit\n"),
    "index with no results": front("model-index:\n- name: m\n  results: []\nlicense: mit\n"),
    "empty index": front("model-index: []\nlicense: mit\n"),
    "null index": front("license: mit\nmodel-index:\n"),
    "emissions as a number": front("co2_eq_emissions: 0.0345  # by AutoTrain\nlicense: mit\n"),
    "emissions as a mapping": front(
        'license: mit\nco2_eq_emissions:\n  emissions: 149200\n  source: "Code Carbon"\n'
        "  training_type: pre-training\n  geographical_location: 'Quebec, Canada'\n"
        "  hardware_used: 8 x A100\n"
    ),
    "emissions in flow": front("co2_eq_emissions: {emissions: 1.5, source: mlco2}\ntags: [a]\n"),
    "windows": front("license: mit\ntags:\n- vision\n", "# Model\n\nText\n").replace("\n", "\r\n"),
    "windows front matter only": front("license: mit\n").partition("# A")[0].replace("\n", "\r\n")
    + "# A model\n\nUnix text\n",
    "byte order mark": "\ufeff" + front("license: mit\n"),
    "byte order mark, no front matter": "\ufeff# Model\n",
    "blank lines before": "\n\n" + front("license: mit\n"),
    "blanks after the fence": "---\nlicense: mit\n---  \n# Model\n",
    "tabs in the body": front("license: mit\n", "# M\n\n\tcode by a tab\n\n1.\tone\n2.\ttwo\n"),
    "trailing blanks": front("license: mit   \ntags: \n- a  \n", "# M  \n\nbreak  \nhere\n\n\n\n"),
    "rules in the body": front("license: mit\n", "# M\n\n---\n\ntext\n\n---\nmore\n\n***\n"),
    "code in the body": front(
        "license: mit\n", "# M\n\n```python\nprint('---')\n```\n\n~~~\n``` not closed\n~~~\n"
    ),
    "markers shown in code": front(
        "license: mit\n",
        "# M\n\n```md\n<!-- resque:begin -->\n<!-- resque:end -->\n```\n\n"
        "    <!-- resque:begin -->\n\nand `<!-- resque:end -->` in a line\n",
    ),
    "markers": front(
        "license: mit\n",
        "# M\n\n<!-- resque:begin -->\nold words\n<!-- resque:end -->\n\n## After\n",
    ),
    "markers, empty": front("license: mit\n", "<!-- resque:begin -->\n<!-- resque:end -->\n# M\n"),
    "markers, indented, last": front(
        "license: mit\n", "# M\n\n  <!-- resque:begin -->  \nold\n\n <!-- resque:end -->"
    ),
    "html": front(
        "license: mit\n",
        '<p align="center">\n  <img src="x.png" width="400">\n</p>\n\n<details><summary>More'
        "</summary>\n\ntext\n\n</details>\n\n$$ \\alpha_1 $$\n",
    ),
    "list at the end": front("license: mit\n", "# M\n\n- one\n- two\n  - three"),
    "numbers and dates": front(
        "license: mit\nreleased: 2024-01-31\nversion: 1.10\nsize: 1_000\noctal: 010\nnan: .nan\n"
        "yes: on\nempty: ''\n? odd key\n: value\n"
    ),
    "indented root": "---\n  license: mit\n  tags:\n  - a\n---\n# M\n",
    "flow root": "---\n{license: mit, tags: [a]}\n---\n# M\n",
}

BROKEN: dict[str, tuple[str, str]] = {
    "tab for indentation": (front("license: mit\ntags:\n\t- a\n"), "line 4 of the card"),
    "quote not closed": (front('license: mit\nlicense_name: "open\n'), "line [34] of the card"),
    "colon in a value": (front("license: mit\ntitle: a: b\n"), "line 3 of the card"),
    "unknown alias": (front("a: 1\nb: [1, 2\n"), "line [34] of the card"),
    "a list": (front("- a\n- b\n"), "no mapping"),
    "a sentence between rules": ("---\nHello there\n---\ntext\n", "no mapping"),
    "two documents": ("---\na: 1\n--- \nb: 1\n---\n\n<!-- resque:end -->\n", "markers"),
    "control character": (front("license: mit\x07\n"), "no YAML"),
    "index comes twice": (front("model-index: []\na: 1\nmodel-index: []\n"), "comes twice"),
    "index is text": (front("model-index: soon\n"), "no list of models"),
    "index is an alias": (front("a: &i []\nmodel-index: *i\n"), r"alias, \*i"),
    "tags are an alias": (front("a: &t [x]\ntags: *t\n"), r"alias, \*t.*line 3"),
    "tags have an alias": (front("tags: &t [x]\na: *t\n"), r"tags \(line 2.*elsewhere as \*t"),
    "two documents in one": (front("license: mit\n...\n"), "cannot be edited"),
    "tags are a mapping": (front("tags: {a: b}\n"), "tags are no list"),
    "begin alone": (front("a: b\n", "x\n\n<!-- resque:begin -->\ny\n"), "begin --> on line 6"),
    "end alone": (front("a: b\n", "<!-- resque:end -->\n"), "end --> on line 4"),
    "end before begin": (
        front("a: b\n", "<!-- resque:end -->\n<!-- resque:begin -->\n"), "begin --> on line 5",
    ),
    "begin twice": (
        front("a: b\n", "<!-- resque:begin -->\n\n<!-- resque:begin -->\n<!-- resque:end -->\n"),
        "on line 4, .* on line 6",
    ),
    "code never closed": (front("a: b\n", "# M\n\n```python\nx = 1\n"), "never closed"),
    "old line ends": ("---\rlicense: mit\r---\r# M\r", "carriage returns"),
    "nested too deeply": (front("a: " + "[" * 5000 + "\n"), "nested too deeply|no YAML"),
}  # fmt: skip
