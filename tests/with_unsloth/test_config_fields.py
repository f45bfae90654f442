"""TRL's configs as Unsloth patches them on a GPU, told TRL's defaults: they decide as TRL's own do."""

import json
import os
import subprocess

import pytest
from trainings import FAKE, HERE, METHODS, ROOT, WAYS

pytestmark = pytest.mark.long
pytest_plugins = ["trainings"]

# how many processes map rows, which are mapped before; how activations are computed anew, which is Unsloth's own; and
# `epsilon_high`, said as a number: it is that of `epsilon`, as TRL takes it where none is said
NAMED = {"dataset_num_proc", "gradient_checkpointing_kwargs", "epsilon_high"}
COMPARE = """\
import json, dataclasses
from stages.training.unsloth_backend import import_unsloth
import_unsloth()
from stages.training.trl import CONFIG_CLASSES, make_config, trl_class, original_class, trl_defaults
found = {}
def plain(value):
    value = getattr(value, "value", value)
    return value if isinstance(value, (bool, int, float, str, type(None))) else repr(value)
for method in CONFIG_CLASSES:
    kind = trl_class(CONFIG_CLASSES[method])
    own = original_class(kind)
    args = {"max_steps": 3}
    config = make_config("here", {"method": method, "seed": 7, "args": args}, "out")
    forced = {key: getattr(config, key) for key in ("output_dir", "report_to", "seed", "disable_tqdm", "save_strategy")}
    forced |= {"logging_nan_inf_filter": False} | ({"assistant_only_loss": True} if method == "sft" else {})
    reference = own(**(forced | args))
    untold = kind(**(forced | args))
    names = [field.name for field in dataclasses.fields(own)]
    found[method] = {
        "patched": own is not kind,
        "differs": {n: [plain(getattr(reference, n)), plain(getattr(config, n))] for n in names if plain(getattr(reference, n)) != plain(getattr(config, n))},
        "untold": sorted(n for n in names if plain(getattr(reference, n)) != plain(getattr(untold, n))),
    }
print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def fields(unsloth_python, tmp_path_factory):
    """What differs by method: told (as a step has it), and untold (as Unsloth would have it)."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | WAYS["gpu"]
    environment |= {"PYTHONPATH": f"{ROOT}:{HERE}:{FAKE}", "TRITON_INTERPRET": "1", "HF_HUB_OFFLINE": "1"}
    folder = tmp_path_factory.mktemp("fields")
    done = subprocess.run([unsloth_python, "-c", COMPARE], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.split("FOUND")[1])


@pytest.mark.parametrize("method", METHODS)
def test_every_field_is_that_of_trl(fields, method):
    assert fields[method]["patched"]  # else nothing is compared
    assert fields[method]["differs"].keys() <= NAMED, fields[method]["differs"]
    if method == "grpo":
        assert fields[method]["differs"]["epsilon_high"] == [None, 0.2]


@pytest.mark.parametrize("method", METHODS)
def test_without_being_told_unsloth_would_train_otherwise(fields, method):
    wanted = {"per_device_train_batch_size", "gradient_accumulation_steps", "optim", "learning_rate", "weight_decay"}
    assert wanted <= set(fields[method]["untold"]), fields[method]["untold"]
