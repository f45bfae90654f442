"""The edits of rebuild.py, each as {path: a function from the file's text to the new text}."""

from io import StringIO

from ruamel.yaml import YAML


def params_of(change):
    """An edit of params.yaml by a function that changes it as data."""

    def edited(text):
        yaml, out = YAML(), StringIO()
        params = yaml.load(text)
        change(params)
        yaml.dump(params, out)
        return out.getvalue()

    return {"params.yaml": edited}


def rate_of(step):
    def change(params):
        arguments = params["steps"][step]["args"]
        arguments["learning_rate"] = float(arguments["learning_rate"]) * 1.1

    return params_of(change)


def more(path, line):
    return {path: lambda text: text + line + "\n"}


def comment(path):
    return {path: lambda text: text + "# a comment\n"}


def without_last(text):
    return "".join(text.splitlines(keepends=True)[:-1])


# by the hash of the prompt on the side of train
PAIR = '{"prompt": "Say eleven again.", "chosen": "eleven", "rejected": "No."}'
VOTE = '{"prompt": "Say eleven again.", "completion": "eleven", "label": true}'
EDITS = {
    "a word in README.md": more("README.md", "One more word."),
    "the reason of a waiver": params_of(lambda p: p["steps"]["align"].setdefault("waive", {}).update(beta="tried")),
    "learning rate of the last step": rate_of("align"),
    "learning rate of the first step": rate_of("sft"),
    "the method of the last step, never built": params_of(lambda p: p["steps"].update(align=p["methods"]["orpo"])),
    "a raw row added, of data that a step trains on": more("data/raw/pairs/pairs.jsonl", PAIR),
    "a raw row added, of data that no step trains on": more("data/raw/feedback/feedback.jsonl", VOTE),
    "a raw row removed, one that eval holds": {"data/raw/pairs/pairs.jsonl": without_last},
    "a comment in a validator": comment("validators/kto.py"),
    "a comment in the reward functions, no GRPO step": comment("validators/rewards.py"),
    "a comment in stages/train.py": comment("stages/train.py"),
    "a setting of evaluate": params_of(lambda p: p["evaluate"].update(max_rows=p["evaluate"]["max_rows"] // 2)),
    "a dataset added": params_of(lambda p: p["datasets"].update(more=dict(p["datasets"]["pairs"]))),
    "the seed: another split and another training": params_of(lambda p: p.update(seed=8)),
}
