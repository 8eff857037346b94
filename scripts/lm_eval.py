#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Runs EleutherAI's evaluation harness on an exported model, with tasks that lie on this machine; nothing is downloaded.
#
#   elastic.x export runs/quickstart/model.h5 --budget 0.5 --dtype fp32 --out half
#   scripts/lm_eval.py half --text text.jsonl --problems problems.jsonl --out half.json
#   scripts/lm_eval.py half --task mine.yaml
#
# text.jsonl       {"text": "..."} per line: bits per byte, each text after the token that begins one (task held_out_text)
# problems.jsonl   {"prompt": "...", "answer": "..."} per line: greedy answers, right if what follows the last # of the
#                  continuation is the answer (task held_out_problems)
# mine.yaml        a task of the harness; its data may lie beside it
#
# `elastic.x evaluate MODEL --harness FOLDER` does all of this for every budget. Needs Python 3.11 and the packages lm_eval,
# torch and transformers (pip install lm_eval torch transformers).
import argparse
import json
import os
import pathlib
import re
import sys
import tempfile

NEW_LINE = 10  # the token before a text where a vocabulary of bytes has no begin

TEXT_TASK = """task: held_out_text
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}, {metric: byte_perplexity}]
metadata: {version: 1}
"""
PROBLEM_TASK = """task: held_out_problems
dataset_path: json
dataset_kwargs: {data_files: {test: %s}}
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
target_delimiter: ""
generation_kwargs: {do_sample: false, max_gen_toks: %d, until: []}
filter_list:
  - name: answer
    filter: [{function: regex, regex_pattern: "#([^#]*)$"}, {function: take_first}]
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
metadata: {version: 1}
"""


def arguments():
    parser = argparse.ArgumentParser(description="Runs the evaluation harness on an exported model with local tasks.")
    parser.add_argument("model", type=pathlib.Path, metavar="FOLDER", help="Hugging Face folder (elastic.x export)")
    parser.add_argument("--text", type=pathlib.Path, metavar="FILE", help='JSONL of {"text"}: bits per byte')
    parser.add_argument("--problems", type=pathlib.Path, metavar="FILE", help='JSONL of {"prompt", "answer"}: exact answers')
    parser.add_argument("--task", type=pathlib.Path, metavar="FILE", action="append", default=[],
                        help="a task of the harness in YAML; may be repeated")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="JSON of all numbers")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N of every task")
    parser.add_argument("--max-tokens", type=int, default=256, metavar="N", help="longest answer (256)")
    parser.add_argument("--max-length", type=int, metavar="N", help="longest sequence; without it: that of config.json")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="sequences computed together (16)")
    return parser.parse_args()


def fail(message):
    sys.exit(f"lm_eval.py: {message}")


def check_lines(path, keys):
    """A mistake of a line is told before a model is read."""
    try:
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path}: cannot be read: {error}")
    if lines == [""]:
        fail(f"{path}: holds no lines; expected one JSON object per line")
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
        except ValueError as error:
            fail(f"{path}:{number}: is no JSON: {error}")
        if not isinstance(found, dict) or any(not isinstance(found.get(key), str) for key in keys):
            fail(f"{path}:{number}: expected an object with the texts {', '.join(keys)}")


def name_of_task(path):
    try:
        found = re.search(r"^task:\s*[\"']?([\w./-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path}: cannot be read: {error}")
    if not found:
        fail(f"{path}: expected a task of the harness, with a line 'task: NAME'")
    return found[1]


def write_tasks(given, folder):
    """Names of all tasks, and the folders that their YAML files lie in."""
    names, places = [], []
    for path, keys, text in ((given.text, ("text",), TEXT_TASK), (given.problems, ("prompt", "answer"), PROBLEM_TASK)):
        if path is None:
            continue
        check_lines(path, keys)
        where = json.dumps(str(path.resolve()))
        name = re.match("task: (.*)", text)[1]
        (folder / f"{name}.yaml").write_text(text % ((where,) if text is TEXT_TASK else (where, given.max_tokens)))
        names.append(name)
        places = [folder]
    for path in given.task:
        names.append(name_of_task(path))
        places.append(path.resolve().parent)
    if not names:
        fail("no tasks; expected --text, --problems or --task")
    if len(set(names)) < len(names):
        fail(f"two tasks of one name: {', '.join(names)}")
    return names, list(dict.fromkeys(map(str, places)))


def load_model(given):
    """The exported model as the harness wants it."""
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM
    transformers.utils.logging.set_verbosity_error()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(given.model)
    except Exception as error:  # of many kinds
        fail(f"{given.model}: has no tokenizer that transformers reads: {error}")
    model = transformers.AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if tokenizer.pad_token_id is None:  # only masked places hold it
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    length = given.max_length or model.config.max_position_embeddings

    class Exported(HFLM):
        """A text on its own gets the token that begins it once, as what comes before it, and never as a part of it."""
        def loglikelihood_rolling(self, requests, disable_tqdm=False):
            begins, self.add_bos_token = self.add_bos_token, False
            try:
                return super().loglikelihood_rolling(requests, disable_tqdm)
            finally:
                self.add_bos_token = begins

    return Exported(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=given.batch, max_length=length,
                    add_bos_token=tokenizer.bos_token_id is not None, prefix_token_id=NEW_LINE if begin is None else begin)


def evaluate(given, folder):
    """{task: {metric: value}}."""
    names, places = write_tasks(given, folder)
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager
        model = load_model(given)
    except ImportError as error:
        fail(f"a package is missing ({error}); pip install lm_eval torch transformers")
    tasks = TaskManager(include_path=places, include_defaults=False)
    results = lm_eval.simple_evaluate(model=model, tasks=names, task_manager=tasks, bootstrap_iters=0, limit=given.limit,
                                      log_samples=False)
    return {name: {metric.partition(",")[0]: value for metric, value in results["results"][name].items()
                   if isinstance(value, (int, float)) and "_stderr" not in metric and metric != "sample_len"}
            for name in names}


def main():
    given = arguments()
    if not (given.model / "config.json").exists():
        fail(f"{given.model}: expected a Hugging Face folder with config.json (elastic.x export)")
    if given.limit is not None and given.limit < 1 or given.max_tokens < 1 or given.batch < 1:
        fail("expected --limit, --max-tokens and --batch of at least 1")
    with tempfile.TemporaryDirectory() as temporary:
        # Before the packages are loaded: nothing comes from the network, nothing of an earlier call is taken.
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_DATASETS_CACHE=temporary,
                          HF_HUB_DISABLE_PROGRESS_BARS="1", TOKENIZERS_PARALLELISM="false")
        results = evaluate(given, pathlib.Path(temporary))
    if given.out:
        given.out.write_text(json.dumps(results, indent=2) + "\n")
    for task, metrics in results.items():
        for metric, value in metrics.items():
            print(f"{task:<24} {metric:<20} {value:.6f}")


if __name__ == "__main__":
    # As a script: its own name is that of the package.
    here = pathlib.Path(__file__).resolve().parent
    sys.path[:] = [path for path in sys.path if pathlib.Path(path or ".").resolve() != here]
    main()
