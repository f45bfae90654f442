"""For tests alone: Unsloth takes the way that it takes on a GPU, on the GPU that is none of tests/gpu/fake. Import it before Unsloth.

Its subclasses of TRL's configs and trainers, its own forward passes and its Triton kernels run, these by Triton's interpreter
(TRITON_INTERPRET=1). Nothing is said of speed, memory, or what CUDA itself computes.
"""

import os

import numpy as np
import torch


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

    driver.libcuda_dirs = lambda: []


assert torch.cuda.is_available(), "tests/gpu/fake is not on PYTHONPATH"
os.environ["TORCHDYNAMO_DISABLE"] = os.environ["UNSLOTH_COMPILE_DISABLE"] = "1"  # a compiler for a GPU that is none
patch_interpreter()
patch_driver()
