"""accelerate cuts weights into pieces between GPUs alone: here its CPU processes are given out as some. For tests alone.

Python imports this module at its start where the folder is on PYTHONPATH. TILTH_KILL_AT=6: the last process is killed before its
seventh optimizer step, by the kernel, with no chance to tidy up.
"""

import os
import signal

from accelerate import state

make = state.PartialState.__init__


def as_if_on_gpus(self, *arguments, **options):
    first = not self._shared_state
    make(self, *arguments, **options)
    if not first or self.distributed_type != state.DistributedType.MULTI_CPU:
        return
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        self.distributed_type = state.DistributedType.MULTI_GPU
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        from deepspeed import comm

        comm.init_distributed(
            dist_backend="gloo", auto_mpi_discovery=False
        )  # with the processes that torch has connected
        self.distributed_type = state.DistributedType.DEEPSPEED
        os.environ.pop("ACCELERATE_USE_CPU", None)
    if "TILTH_KILL_AT" in os.environ and self.process_index == self.num_processes - 1:
        kill_at(int(os.environ["TILTH_KILL_AT"]))


def kill_at(number):
    from transformers import Trainer

    train_step = Trainer.training_step

    def train_or_end(self, *arguments, **options):
        if self.state.global_step >= number:
            os.kill(os.getpid(), signal.SIGKILL)
        return train_step(self, *arguments, **options)

    Trainer.training_step = train_or_end


state.PartialState.__init__ = as_if_on_gpus
