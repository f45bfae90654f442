"""A training by Unsloth that was killed goes on from its checkpoint, and ends as one that was not."""

import hashlib

import pytest
from trainings import LORA, steps_of

pytestmark = pytest.mark.long
pytest_plugins = ["trainings"]

KILLED = """\
from transformers import Trainer
step = Trainer.training_step
def killed(self, *arguments, **options):
    if self.state.global_step == 4:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments, **options)
Trainer.training_step = killed
"""


def hashes(project):
    paths = [project.folder / "scores/sft.csv", *(project.folder / "models/sft").rglob("*.safetensors")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_a_killed_training_ends_as_one_that_was_not(prepare, train, lora):
    def steps(params):
        return steps_of(params, lora, {"max_steps": 6}, ("sft",))

    whole, project = prepare("whole", "unsloth", steps), prepare("killed", "unsloth", steps)
    train(whole, ["sft"], "cpu")
    first = "import os\nos.environ.setdefault('UNSLOTH_COMPILE_LOCATION', os.path.abspath('.work/_unsloth'))\n"
    train(project, ["sft"], "cpu", first + "import unsloth\n" + KILLED, fails=True, TILTH_CHECKPOINT_S="0")
    again = train(project, ["sft"], "cpu", TILTH_CHECKPOINT_S="0")
    assert "resumes from" in again.output and "checkpoint-4" in again.output
    assert hashes(project) == hashes(whole)
