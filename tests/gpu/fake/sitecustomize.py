"""A CUDA device that is none: torch says that there is one, and every tensor stays on the CPU. For tests alone.

    TILTH_FAKE_CUDA=tests/gpu/fake pytest -n 0 -m gpu tests/gpu
    PYTHONPATH=tests/gpu/fake TILTH_FAKE_CAPABILITY=7.5 python ...       a GPU without bfloat16; 9.0, the default, has it
    PYTHONPATH=tests/gpu/fake TRITON_INTERPRET=1 python ...              with Unsloth: Triton's interpreter runs its kernels

It shows that the code runs, never how fast, how exact or in how much memory. Python imports this module at its start where
the folder is on PYTHONPATH; torch is changed when it is first imported. Unsloth takes the way that it takes on a GPU: its
subclasses of TRL's configs and trainers, its own forward passes and its kernels.
"""

import contextlib
import importlib.abc
import importlib.machinery
import os
import sys
from types import SimpleNamespace

CAPABILITY = tuple(map(int, os.environ.get("TILTH_FAKE_CAPABILITY", "9.0").split(".")))
NAME = f"a GPU that is none, of capability {CAPABILITY[0]}.{CAPABILITY[1]}"
MEMORY = 80 * 1024**3
FACTS = SimpleNamespace(
    name=NAME, major=CAPABILITY[0], minor=CAPABILITY[1], total_memory=MEMORY, multi_processor_count=132, warp_size=32,
    is_integrated=False, gcnArchName="", L2_cache_size=50 * 1024**2, regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048, shared_memory_per_block_optin=232448, shared_memory_per_multiprocessor=233472,
)  # fmt: skip
DONE = (
    "_lazy_init", "init", "set_device", "synchronize", "empty_cache", "reset_peak_memory_stats", "reset_max_memory_allocated",
    "ipc_collect", "manual_seed", "manual_seed_all", "set_rng_state", "set_rng_state_all", "set_per_process_memory_fraction",
)  # fmt: skip


class AfterTorch(importlib.abc.MetaPathFinder):
    """Finds torch as ever, and has it changed once it is there."""

    def find_spec(self, name, path, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def execute_and_change(module):
            execute(module)
            have_a_device(module)
            stay_on_cpu(module)
            if os.environ.get("TRITON_INTERPRET") == "1":
                interpret_bfloat16()
                hide_driver()

        spec.loader.exec_module = execute_and_change
        return spec


def gives(value):
    return lambda *arguments, **options: value


class Nothing:
    """In place of a stream or an event: whatever is asked of it does nothing."""

    cuda_stream = 0

    def __init__(self, *arguments, **options):
        pass

    def __getattr__(self, name):
        return gives(None)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def is_capturing(self):
        return False


class Device(contextlib.nullcontext):
    def __init__(self, index=0):
        super().__init__()
        self.idx = 0


def have_a_device(torch):
    """torch.cuda and torch.accelerator as where there is one GPU."""
    cuda, state = torch.cuda, torch.zeros(16, dtype=torch.uint8)
    values = {
        "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0, "get_device_name": NAME,
        "get_device_capability": CAPABILITY, "get_device_properties": FACTS, "get_arch_list": ["sm_{}{}".format(*CAPABILITY)],
        "is_bf16_supported": CAPABILITY >= (8, 0), "mem_get_info": (MEMORY, MEMORY), "memory_stats": {},
        "get_rng_state": state, "get_rng_state_all": [state], "is_current_stream_capturing": False, "stream": contextlib.nullcontext(),
    }  # fmt: skip
    values |= dict.fromkeys(("max_memory_reserved", "max_memory_allocated", "memory_allocated", "memory_reserved"), 0)
    for name, value in (values | dict.fromkeys(DONE)).items():
        setattr(cuda, name, gives(value))
    for name in ("get_rng_state", "get_rng_state_all", "set_rng_state", "set_rng_state_all"):
        setattr(cuda.random, name, getattr(cuda, name))
    cuda.Stream = cuda.Event = Nothing
    cuda.current_stream = cuda.default_stream = gives(Nothing())
    cuda.device = Device
    torch._C._cuda_getCurrentRawStream = gives(0)
    accelerator = {
        "current_device_index": 0, "current_accelerator": torch.device("cuda"), "is_available": True, "device_count": 1,
        "synchronize": None, "empty_cache": None, "current_stream": Nothing(),
    }  # fmt: skip
    for name, value in accelerator.items():
        setattr(torch.accelerator, name, gives(value))
    fork = torch.random.fork_rng
    torch.random.fork_rng = lambda devices=None, *arguments, **options: fork([], *arguments, **options)
    torch.Tensor.pin_memory = lambda self, *arguments, **options: self


def stay_on_cpu(torch):
    """Whatever asks for a CUDA device gets the CPU; autocast is the CPU's."""
    enabled, dtype, plain = torch.is_autocast_enabled, torch.get_autocast_dtype, torch.autocast

    class Autocast(plain):
        def __init__(self, device_type="cuda", *arguments, **options):
            super().__init__("cpu" if device_type == "cuda" else device_type, *arguments, **options)

    torch.autocast = torch.amp.autocast = torch.amp.autocast_mode.autocast = Autocast
    torch.is_autocast_enabled = lambda device=None: enabled("cpu")
    torch.get_autocast_dtype = lambda device: dtype("cpu")

    def on_cpu(given):
        if isinstance(given, torch.device) and given.type == "cuda":
            return torch.device("cpu")
        return "cpu" if isinstance(given, str) and given.partition(":")[0] == "cuda" else given

    class OnCpu(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), options=None):
            options = dict(options or {})
            if function is torch.Tensor.cuda:
                return arguments[0]
            if function is torch.device and arguments and type(arguments[0]) is int:
                return function("cuda", arguments[0])  # a name, whose number Unsloth counts by
            arguments = tuple(on_cpu(each) for each in arguments)
            if function is torch.Tensor.to and len(arguments) > 1 and type(arguments[1]) is int:
                arguments = (arguments[0], "cpu", *arguments[2:])
            if "device" in options:
                options["device"] = "cpu" if type(options["device"]) is int else on_cpu(options["device"])
            if options.get("pin_memory"):
                options["pin_memory"] = False
            return function(*arguments, **options)

    OnCpu().__enter__()  # for the whole process, in this thread


def interpret_bfloat16():
    """Triton's interpreter keeps bfloat16 as bits and computes with these; here it computes in float32."""
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    builder, handle = interpreter.InterpreterBuilder, interpreter.TensorHandle

    def is_bfloat16(tensor):
        return tensor.dtype.scalar == tl.bfloat16

    def up(tensor):
        if is_bfloat16(tensor) and tensor.data.dtype == np.uint16:
            return (tensor.data.astype(np.uint32) << 16).view(np.float32)
        return tensor.data

    def down(values):
        bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)

    def in_float(original, count):
        def compute(self, *arguments):
            tensors, operation = arguments[:count], arguments[count]
            if not any(map(is_bfloat16, tensors)):
                return original(self, *arguments)
            values, dtype = operation(*map(up, tensors)), tensors[0].dtype.scalar
            return handle(down(values) if values.dtype != bool and dtype == tl.bfloat16 else values, dtype)

        return compute

    ternary, fused = builder.ternary_op, builder.create_fma
    builder.binary_op, builder.unary_op = in_float(builder.binary_op, 2), in_float(builder.unary_op, 1)
    builder.ternary_op = lambda self, one, two, three, operation: (
        handle(down(operation(up(one), up(two), up(three))), tl.bfloat16)
        if is_bfloat16(three) and operation is not np.where
        else ternary(self, one, two, three, operation)
    )
    builder.create_fma = lambda self, one, two, three: (
        handle(down(up(one) * up(two) + up(three)), tl.bfloat16) if is_bfloat16(three) else fused(self, one, two, three)
    )


def hide_driver():
    """No libcuda: where there is none Unsloth, run by root, would have the system look for it."""
    from triton.backends.nvidia import driver

    driver.libcuda_dirs = lambda: []


os.environ["TORCHDYNAMO_DISABLE"] = os.environ["UNSLOTH_COMPILE_DISABLE"] = "1"  # a compiler for a GPU that is none
os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # weights are loaded in this thread, the one that OnCpu is for
sys.meta_path.insert(0, AfterTorch())
