"""Single trainings of tests/gpu, each in a process of its own, in a folder that benchmarks/gpu.py has prepared.

    python gpu_trainings.py STEP '{"backend": "unsloth", "out": ".work/a", "kill_at": 7}'   # the last line is JSON: {losses, resumed}

kill_at: the process kills itself before that optimizer step. memory_gb: no more than this of the GPU. args: of TRL, beside the step's.
"""

import json
import os
import signal
import sys
from pathlib import Path


def main(name, wanted):
    given = json.loads(Path("preflight", f"{name}.json").read_text(encoding="utf-8"))
    given |= {"args": given["args"] | wanted.get("args", {})} | {key: wanted[key] for key in ("lora",) if key in wanted}
    from stages.training.backends import choose_backend

    given["backend"] = choose_backend(wanted["backend"])  # Unsloth is imported before anything that it patches
    import torch

    from stages import train
    from validators.problems import Problems

    if "memory_gb" in wanted:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(wanted["memory_gb"] * 1e9 / total)
    if "kill_at" in wanted:
        kill_at(train, wanted["kill_at"])
    folder = Path(wanted["out"])
    folder.mkdir(parents=True, exist_ok=True)
    resumed = any(folder.glob("checkpoint-*/complete.json"))
    try:
        trainer, result = train.train(name, given, folder)
    except Problems as problems:
        print(json.dumps({"problems": str(problems)}))
        return 1
    trainer.save_model(str(folder / "model"))  # sharded weights are gathered from all processes
    if trainer.is_world_process_zero():
        losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
        print(json.dumps({"losses": losses, "resumed": resumed, "steps": result.global_step}))
    return 0


def kill_at(train, step):
    """Have this process killed before an optimizer step: by the kernel, with no chance to tidy up."""
    from transformers import TrainerCallback

    class Kill(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == step:
                os.kill(os.getpid(), signal.SIGKILL)

    make = train.make_trainer

    def make_to_kill(*arguments):
        trainer = make(*arguments)
        trainer.add_callback(Kill)
        return trainer

    train.make_trainer = make_to_kill


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
