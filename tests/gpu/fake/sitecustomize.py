"""A CUDA device that is none: torch says that there is one, and every tensor stays on the CPU. For trials of tests/gpu alone.

    TILTH_FAKE_CUDA=tests/gpu/fake pytest -n 0 -m gpu tests/gpu

It shows that the code runs, never how fast, how exact or in how much memory. Python imports this module at its start where
the folder is on PYTHONPATH; torch is changed when it is first imported.
"""

import contextlib
import importlib.abc
import importlib.machinery
import sys
from types import SimpleNamespace

GB = 1024**3


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
            change(module)

        spec.loader.exec_module = execute_and_change
        return spec


def gives(value):
    return lambda *arguments, **options: value


class Nothing:
    """In place of a stream, an event or a guard: whatever is asked of it does nothing."""

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


def change(torch):
    """Have torch tell of one device, of capability 9.0 with 80 GB, and compute on the CPU what is asked of it."""
    cuda = torch.cuda
    state = torch.zeros(16, dtype=torch.uint8)
    facts = SimpleNamespace(
        name="no device", major=9, minor=0, total_memory=80 * GB, multi_processor_count=132, warp_size=32, is_integrated=False,
        gcnArchName="", L2_cache_size=50 * 2**20, regs_per_multiprocessor=65536, max_threads_per_multi_processor=2048,
        shared_memory_per_block_optin=232448, shared_memory_per_multiprocessor=233472,
    )  # fmt: skip
    values = {
        "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0, "get_device_capability": (9, 0),
        "get_device_properties": facts, "get_device_name": facts.name, "get_arch_list": ["sm_90"], "mem_get_info": (70 * GB, 80 * GB),
        "memory_stats": {}, "is_bf16_supported": True, "get_rng_state": state, "get_rng_state_all": [state],
        "is_current_stream_capturing": False, "stream": contextlib.nullcontext(),
    } | dict.fromkeys(("max_memory_reserved", "max_memory_allocated", "memory_allocated", "memory_reserved"), 0) | dict.fromkeys((
        "_lazy_init", "init", "set_device", "synchronize", "empty_cache", "reset_peak_memory_stats", "ipc_collect", "manual_seed",
        "manual_seed_all", "set_rng_state", "set_rng_state_all", "set_per_process_memory_fraction",
    ))  # fmt: skip
    for name, value in values.items():
        setattr(cuda, name, gives(value))
    for name in ("get_rng_state", "get_rng_state_all", "set_rng_state", "set_rng_state_all"):
        setattr(cuda.random, name, getattr(cuda, name))
    cuda.Stream = cuda.Event = cuda.device = Nothing
    cuda.current_stream = cuda.default_stream = Nothing
    torch._C._cuda_getCurrentRawStream = gives(0)
    fork = torch.random.fork_rng
    torch.random.fork_rng = lambda devices=None, *arguments, **options: fork([], *arguments, **options)
    torch.Tensor.pin_memory = lambda self, *arguments, **options: self
    accelerator = {
        "current_device_index": 0, "current_accelerator": torch.device("cuda"), "is_available": True, "device_count": 1,
        "synchronize": None, "empty_cache": None, "current_stream": Nothing(),
    }  # fmt: skip
    for name, value in accelerator.items():
        setattr(torch.accelerator, name, gives(value))
    stay_on_cpu(torch)


def stay_on_cpu(torch):
    """Whatever asks for a CUDA device gets the CPU; autocast is the CPU's."""
    enabled, dtype, plain = torch.is_autocast_enabled, torch.get_autocast_dtype, torch.autocast

    class Autocast(plain):
        def __init__(self, device_type, *arguments, **options):
            super().__init__("cpu" if device_type == "cuda" else device_type, *arguments, **options)

    torch.autocast = torch.amp.autocast = torch.amp.autocast_mode.autocast = Autocast
    torch.is_autocast_enabled = lambda device=None: enabled("cpu")
    torch.get_autocast_dtype = lambda device: dtype("cpu")

    def cpu(given):
        if isinstance(given, torch.device) and given.type == "cuda":
            return torch.device("cpu")
        return "cpu" if isinstance(given, str) and given.partition(":")[0] == "cuda" else given

    class OnCpu(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), options=None):
            options = dict(options or {})
            if function is torch.Tensor.cuda:
                return arguments[0]
            arguments = tuple(cpu(each) for each in arguments)
            if function is torch.Tensor.to and len(arguments) > 1 and type(arguments[1]) is int:
                arguments = (arguments[0], "cpu", *arguments[2:])
            if "device" in options:
                options["device"] = "cpu" if type(options["device"]) is int else cpu(options["device"])
            if options.get("pin_memory"):
                options["pin_memory"] = False
            return function(*arguments, **options)

    OnCpu().__enter__()


sys.meta_path.insert(0, AfterTorch())
