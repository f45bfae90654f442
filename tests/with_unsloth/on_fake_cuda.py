"""For tests alone: a torch that says it has a GPU, and computes all on the CPU. Import it before Unsloth, with TRITON_INTERPRET=1.

So Unsloth takes the way that it takes on a GPU: its subclasses of TRL's configs and trainers, its own forward passes and its
Triton kernels, which Triton's interpreter runs. Nothing is said of speed, memory, or what CUDA itself computes.
TILTH_FAKE_CUDA=7.5 is a GPU without bfloat16, 9.0 one with it.
"""

import contextlib
import os
import types

import numpy as np
import torch

CAPABILITY = tuple(map(int, os.environ.get("TILTH_FAKE_CUDA", "9.0").split(".")))
MEMORY = 80 * 1024**3
NAME = f"a GPU that is none, of capability {CAPABILITY[0]}.{CAPABILITY[1]}"
PROPERTIES = types.SimpleNamespace(
    name=NAME, major=CAPABILITY[0], minor=CAPABILITY[1], total_memory=MEMORY, multi_processor_count=132, warp_size=32,
    is_integrated=False, gcnArchName="", L2_cache_size=50 * 1024**2, regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048, shared_memory_per_block_optin=232448, shared_memory_per_multiprocessor=233472,
)  # fmt: skip


def giving(value):
    return lambda *_, **__: value


class Nothing:
    """A stream, an event: whatever is done with it does nothing."""

    cuda_stream = 0

    def __init__(self, *_, **__):
        pass

    def __getattr__(self, name):
        return giving(None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def is_capturing(self):
        return False


class Device(contextlib.nullcontext):
    def __init__(self, index=0):
        super().__init__()
        self.idx = 0


def patch_cuda():
    """torch.cuda and torch.accelerator as where there is one GPU."""
    cuda, bfloat16 = torch.cuda, CAPABILITY >= (8, 0)
    given = {
        "is_available": True, "is_initialized": False, "device_count": 1, "_lazy_init": None, "init": None,
        "get_device_capability": CAPABILITY, "get_device_properties": PROPERTIES, "get_device_name": NAME,
        "get_arch_list": [f"sm_{CAPABILITY[0]}{CAPABILITY[1]}"], "mem_get_info": (MEMORY, MEMORY), "current_device": 0,
        "is_bf16_supported": bfloat16, "memory_stats": {}, "is_current_stream_capturing": False,
        "set_rng_state": None, "set_rng_state_all": None,
        "get_rng_state": torch.zeros(16, dtype=torch.uint8), "get_rng_state_all": [torch.zeros(16, dtype=torch.uint8)],
    }  # fmt: skip
    given |= dict.fromkeys(("max_memory_reserved", "max_memory_allocated", "memory_allocated", "memory_reserved"), 0)
    given |= dict.fromkeys(
        ("set_device", "synchronize", "empty_cache", "reset_peak_memory_stats", "ipc_collect", "manual_seed",
         "manual_seed_all", "reset_max_memory_allocated")
    )  # fmt: skip
    for name, value in given.items():
        setattr(cuda, name, giving(value))
    for name in ("get_rng_state", "get_rng_state_all", "set_rng_state", "set_rng_state_all"):
        setattr(cuda.random, name, getattr(cuda, name))
    cuda.Stream = cuda.Event = Nothing
    cuda.current_stream = cuda.default_stream = giving(Nothing())
    cuda.stream, cuda.device = giving(contextlib.nullcontext()), Device
    torch._C._cuda_getCurrentRawStream = giving(0)
    accelerator = torch.accelerator
    for name, value in {
        "current_stream": Nothing(), "current_device_index": 0, "current_accelerator": torch.device("cuda"),
        "is_available": True, "device_count": 1, "synchronize": None, "empty_cache": None,
    }.items():  # fmt: skip
        setattr(accelerator, name, giving(value))
    fork = torch.random.fork_rng
    torch.random.fork_rng = lambda devices=None, *arguments, **options: fork([], *arguments, **options)
    torch.Tensor.pin_memory = lambda self, *_, **__: self


def patch_autocast():
    """Autocast of "cuda" is that of the CPU."""

    class Autocast(torch.autocast):
        def __init__(self, device_type="cuda", *arguments, **options):
            super().__init__("cpu" if device_type == "cuda" else device_type, *arguments, **options)

    enabled, dtype = torch.is_autocast_enabled, torch.get_autocast_dtype
    torch.autocast = torch.amp.autocast = torch.amp.autocast_mode.autocast = Autocast
    torch.is_autocast_enabled = lambda device=None: enabled("cpu")
    torch.get_autocast_dtype = lambda device: dtype("cpu")


def on_cpu(value):
    """A device, or what names one: the CPU where it is a GPU."""
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and (value == "cuda" or value.startswith("cuda:")) else value


class OnCpu(torch.overrides.TorchFunctionMode):
    """Whatever asks for a tensor on the GPU gets it on the CPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.device and args and type(args[0]) is int:
            return func("cuda", args[0])  # a name, whose number Unsloth counts by
        args = tuple(on_cpu(value) for value in args)
        if func is torch.Tensor.to and len(args) > 1 and type(args[1]) is int:
            args = (args[0], "cpu", *args[2:])
        if "device" in kwargs:
            kwargs["device"] = "cpu" if type(kwargs["device"]) is int else on_cpu(kwargs["device"])
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        return func(*args, **kwargs)


def patch_interpreter():
    """Triton's interpreter keeps bfloat16 as bits and computes with these; here it computes in float32."""
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


def patch_driver():
    """No libcuda: where there is none Unsloth, run by root, would have the system look for it."""
    from triton.backends.nvidia import driver

    driver.libcuda_dirs = giving([])


os.environ["TORCHDYNAMO_DISABLE"] = os.environ["UNSLOTH_COMPILE_DISABLE"] = "1"  # a compiler for a GPU that is none
os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # weights are loaded in this thread, the one that OnCpu is for
patch_cuda()
patch_autocast()
OnCpu().__enter__()  # for the whole process
patch_interpreter()
patch_driver()
